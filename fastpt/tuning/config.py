"""What `fastpt tune` is asked for: which methods, on which shares of the data, with which options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastpt.config import Section
from fastpt.errors import FastptError
from fastpt.tuning.methods import BASELINE, HEADS, METHODS, TrainsOn
from fastpt.tuning.methods.head_training import Variant


class Tune(Section):
    """What `fastpt tune` measures this run on by default."""

    suite: str
    """Name of a suite (recipes/suites) or the path of its file."""


@dataclass(frozen=True)
class TuningConfig:
    """Methods and what they are trained with. The baseline is always among the methods.

    Raises FastptError if it cannot be run.
    """

    methods: Sequence[str] = HEADS
    seeds: Sequence[int] = (0,)
    fractions: Sequence[float] = (1.0,)
    """Shares of each class of the training split; every head is trained on each."""
    label_noise: float = 0.0
    """Share of training labels flipped to another class, exactly that of each class, the same for every head."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the methods, by name; what is not there has its default."""

    def __post_init__(self) -> None:
        wanted = dict.fromkeys([BASELINE, *self.methods])
        known = [name for name in METHODS.table if name in wanted]
        object.__setattr__(self, "methods", (*known, *(name for name in wanted if name not in METHODS.table)))
        if not self.seeds or not self.fractions or len(set(self.fractions)) < len(self.fractions):
            raise FastptError(
                f"the fractions {list(self.fractions)} of the training data cannot be run. Give at least one, such as "
                "1, and none twice."
            )
        for method in self.methods:
            METHODS.get(method).check(**self.options_of(method))
        if stray := self.options.keys() - self._known().keys():
            name = min(stray)
            takers = [method for method in METHODS.names() if name in _defaults(method)]
            raise FastptError(
                f"{name} is no option of {', '.join(self.methods)}. "
                + (f"Add one of {', '.join(takers)}, or leave it out." if takers else "Leave it out.")
            )

    def options_of(self, method: str) -> dict[str, Any]:
        """The options that the method has, by name, with their values here."""
        return {name: self.options.get(name, default) for name, default in _defaults(method).items()}

    @property
    def variant(self) -> Variant:
        """Whether methods, and what sets are measured by, are the paper's or those of its authors' code."""
        return self.options.get("variant", "paper")

    def trained_on(self) -> dict[str, TrainsOn]:
        """Of each method what it trains on."""
        return {method: METHODS.get(method).trains_on(**self.options_of(method)) for method in self.methods}

    @property
    def views(self) -> int:
        """How many augmented views of each training picture the methods want, of which each takes the first."""
        return max((one for one in self.trained_on().values() if isinstance(one, int)), default=0)

    def as_dict(self) -> dict[str, Any]:
        """What the results record of it; methods are recorded by themselves."""
        values = {"seeds": list(self.seeds), "fractions": self.fractions, "label_noise": self.label_noise}
        values |= {**self._known(), **self.options}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def _known(self) -> dict[str, Any]:
        """Every option of the methods, with its default."""
        return {name: default for method in self.methods for name, default in _defaults(method).items()}


def _defaults(method: str) -> dict[str, Any]:
    return {str(option.name): option.to_info_dict()["default"] for option in METHODS.get(method).options}
