"""The paper that the report is about (Chen et al., ICLR 2024): the methods it names, and its claims.

Nothing else in the report knows a method by name.
"""

from functools import partial

from fastpt.report.claims import Arm
from fastpt.report.compare import DOMAINS, accuracies
from fastpt.report.config import Claim

LP, MLP, NMTUNE = "lp", "mlp", "nmtune"
BEST_PROBE = "best-probe"  # of each set, by its validation part
COMPARED = ((NMTUNE, LP), (NMTUNE, MLP), (NMTUNE, BEST_PROBE))  # whose differences at the same noise are looked at
SLIGHT = 0.1  # the largest noise rate that may pass for slight


def claims(arm: Arm, suite: str) -> list[Claim]:
    """What is asked where a study declares nothing: the paper's claims, of what the arm has results for."""
    tables = {domain: accuracies(arm.family, suite, domain) for domain in DOMAINS}
    measured = {(domain, method) for domain, table in tables.items() if table for method in table.methods}
    clean = any(one.kind is None for one in arm.family.conditions)
    return [
        one
        for one in _claims([rate for rate in arm.rates if rate <= SLIGHT])
        if {(one.setting, one.method), (one.setting, one.minus or one.method)} <= measured
        and (clean or one.estimand == "mean")
    ]


def _claims(slight: list[float]) -> list[Claim]:
    gain = partial(Claim, setting="ood", method=NMTUNE, side="> 0", margin=0.5)
    helps = partial(Claim, name="slight noise helps in domain", estimand="mean - clean", setting="id", method=LP)
    return [
        *([helps(rates=slight, side="> 0", margin=0.5)] if slight else []),
        Claim(name="noise hurts out of domain", estimand="slope", setting="ood", method=LP, side="< 0", margin=1.0),
        *(gain(name="the paper's method is better under noise", estimand="mean", minus=other) for _, other in COMPARED),
        gain(name="it repairs: the gain is larger under noise than without", estimand="mean - clean", minus=MLP),
    ]
