"""What a run of the benches is given."""

from dataclasses import dataclass
from pathlib import Path

DATA = "FASTPT_REAL_DATA"  # the variable that names the folder of tars


class MissingData(Exception):
    """What a stage measures with is not there."""


@dataclass(frozen=True)
class Options:
    """Inputs and sizes that stages share."""

    data: Path
    """Folder of tars of pictures: photos_fullsize.tar, sign_digits_64.tar, and what single stages name."""
    quick: bool
    """Fewer pictures and steps, for a look; figures to be told are without."""

    def sized(self, count: int, quick: int) -> int:
        """How many pictures, samples or steps."""
        return quick if self.quick else count

    def tar(self, name: str) -> Path:
        """A tar of the data. Raises MissingData if it is not there."""
        path = self.data / name
        if not path.is_file():
            raise MissingData(f"{name} is not in {self.data}. Give --data, or set {DATA}.")
        return path
