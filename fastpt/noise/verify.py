"""Is a noise plan the noise that it says it is? What no file is needed for is made again and compared."""

import numpy as np

from fastpt.data.dataset import Dataset
from fastpt.data.plan import NoisePlan
from fastpt.data.replaced import pictures_of
from fastpt.errors import DamagedData, FastptError
from fastpt.noise.kinds import KINDS
from fastpt.noise.store import NO_FILES, realised_rates


def verify_plans(dataset: Dataset) -> list[str]:
    """A line for each noise plan of a split that is not what it says."""
    lines = []
    for name in dataset.noise_plans():
        try:
            plan = dataset.noise_plan(name)
        except DamagedData as error:
            lines.append(str(error))
        else:
            problems = _problems(dataset, plan)
            lines += [f"{dataset.path}: noise plan {name} {problem.rstrip('.')}." for problem in problems]
    return lines


def _problems(dataset: Dataset, plan: NoisePlan) -> list[str]:
    stated = (plan.realised_rate, plan.realised_per_class, plan.largest_deviation)
    if stated != realised_rates(dataset, plan.of, plan.array, plan.rate):
        return ["states other realised rates than it has"]
    try:
        kind = KINDS.get(plan.kind)
    except FastptError as error:
        origin = f", of {plan.package.distribution} {plan.package.version}" if plan.package else ""
        return [f"cannot be checked without its kind{origin}: {error}"]
    if kind.takes_rate and plan.seed is None:
        return ["states no seed"]
    files = NO_FILES
    if plan.of == "pictures":
        try:
            files = {option: pictures_of(dataset, plan).path for option in kind.files}
        except FastptError as error:
            return [f"cannot be shown: {error}"]
    if plan.source_sha256 is None or plan.of == "pictures":
        with KINDS.blaming(plan.kind):
            again = kind.make(dataset, plan.of, plan.rate, plan.seed or 0, files).array
        if not np.array_equal(plan.array, again):
            return [f"is not the {plan.kind} noise of its rate and seed"]
    with KINDS.blaming(plan.kind):
        return kind.check(plan, dataset)
