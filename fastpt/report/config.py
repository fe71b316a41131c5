"""What a study claims: keys of its file. Imports nothing heavy, as every command on a study reads it."""

from typing import Literal, NamedTuple

from pydantic import Field

from fastpt.config import Section


class RightPart(NamedTuple):
    """The condition of training on what noise of a rate leaves right, alone."""

    rate: float


class Claim(Section):
    """A contrast of average accuracies over the tests of a setting, its claimed side, and what would be negligible."""

    name: str = Field(min_length=1)
    """What the page calls it."""
    estimand: Literal["mean", "mean - clean", "mean - right", "slope"]
    """Over the rates: the mean, the mean minus that after clean pre-training or after pre-training on the right part of
    the same rates (`keep: right`), or the least squares line through clean and all rates times the highest rate."""
    setting: Literal["id", "ood"]
    """In or out of domain."""
    method: str
    """Tuning method whose accuracy it is."""
    minus: str | None = None
    """Second method: the estimand is then of the differences between both, within each run."""
    rates: list[float] | None = Field(default=None, min_length=1)
    """Noise rates that it is about; by default all of the grid."""
    side: Literal["> 0", "< 0"]
    """What is claimed; the test against 0 is two-sided all the same."""
    margin: float = Field(gt=0)
    """In points: what lies within ± this is negligible."""
    recipe: str | None = None
    """Recipe of whose runs it is asked, as its file is called without .yaml; by default each of the grid."""
    tuning: str | None = None
    """Name of the tuning (`tune[].name`) whose results it is asked of; by default that without a name."""
    kind: str | None = None
    """Kind of noise of which it is asked; by default each of the grid."""

    def problems(self) -> list[str]:
        found = []
        if self.estimand == "mean" and self.minus is None:
            found.append("estimand: the mean of one method's accuracy is above 0 anyhow. Name a second one in minus.")
        if self.minus == self.method:
            found.append(f"minus: {self.minus} minus itself is 0. Name another method.")
        rates = self.rates or []
        if not all(0 < one < 1 for one in rates) or len(set(rates)) < len(rates):
            found.append(f"rates: {rates} should be different noise rates between 0 and 1; clean is in the estimand.")
        return found

    @property
    def methods(self) -> list[str]:
        """Whose accuracies it is about."""
        return [one for one in (self.method, self.minus) if one]

    @property
    def needs_clean(self) -> bool:
        """Whether it compares with clean pre-training."""
        return self.estimand in ("mean - clean", "slope")

    def is_about(self, recipe: str, kind: str) -> bool:
        """Whether it is asked of the runs of a recipe and a kind of noise."""
        return self.recipe in (None, recipe) and self.kind in (None, kind)
