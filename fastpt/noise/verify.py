"""Is a noise plan the noise that it says it is? What no file is needed for is made again and compared."""

import numpy as np

from fastpt.data.dataset import Dataset
from fastpt.data.plan import NoisePlan, plan_name
from fastpt.errors import FastptError
from fastpt.noise.kinds import KINDS
from fastpt.noise.store import NO_FILES, malformed, realised_rates


def verify_plans(dataset: Dataset) -> list[str]:
    """A line for each noise plan of a split whose files are as written, and which is not what it says."""
    plans = [dataset.noise_plan(name) for name in dataset.noise_plans()]
    found = [(plan, problem) for plan in plans for problem in _problems(dataset, plan)]
    return [f"{dataset.path}: noise plan {plan.name} {problem.rstrip('.')}." for plan, problem in found]


def _problems(dataset: Dataset, plan: NoisePlan) -> list[str]:
    if wrong := malformed(dataset, plan.of, plan.array):
        return [wrong]
    stated = (plan.realised_rate, plan.realised_per_class, plan.largest_deviation)
    if stated != realised_rates(dataset, plan.of, plan.array, plan.rate):
        return ["states other realised rates than it has"]
    try:
        kind = KINDS.get(plan.kind)
    except FastptError as error:
        origin = f", of {plan.package.distribution} {plan.package.version}" if plan.package else ""
        return [f"cannot be checked without its kind{origin}: {error}"]
    if plan.source_sha256 is None:
        seed = plan.seed or 0
        named = plan_name(plan.kind, plan.rate, seed)
        if plan.name != named:
            return [f"holds {named}"]
        with KINDS.blaming(plan.kind):
            again = kind.make(dataset, plan.of, plan.rate, seed, NO_FILES).array
        if not np.array_equal(plan.array, again):
            return [f"is not the {plan.kind} noise of its rate and seed"]
    with KINDS.blaming(plan.kind):
        return kind.check(plan, dataset)
