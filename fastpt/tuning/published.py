"""What a set is as it was published: where it is from, under which licence, how many classes and pictures it has.

    published: {source: https://www.cs.toronto.edu/~kriz/cifar.html, licence: none stated, classes: 10, train: 50000,
                tests: {test: 10000}}

It is held against the prepared splits whenever they are used.
"""

from collections.abc import Iterator, Mapping

from pydantic import Field

from fastpt.config import Section


class Published(Section):
    """What a set is as it was published, and checked to be when it is used."""

    source: str
    """Address of the set's own page."""
    licence: str
    """Its licence or terms, or that none is stated."""
    classes: int = Field(ge=2)
    """Classes that heads are trained on; other splits are an error."""
    train: int = Field(ge=1)
    """Pictures to train on; other counts are told, and recorded in the results."""
    tests: dict[str, int] = {}
    """The same of the tests, by their names."""

    def check_classes(self, found: int) -> str | None:
        """What is wrong, if the training split has another number of classes."""
        if found == self.classes:
            return None
        return (
            f"the training split has {found:,} classes, and the set as published {self.classes:,} ({self.source}). "
            "Prepare the whole set, or change `published` where this is meant."
        )

    def departures(self, train: int, tests: Mapping[str, int]) -> Iterator[str]:
        """What splits of other counts are, a line each."""
        found = {"the training split": (train, self.train)}
        found = {name: (tests[name], count) for name, count in self.tests.items() if name in tests} | found
        for name, (count, wanted) in found.items():
            if count != wanted:
                yield f"{name} has {count:,} pictures, as published {wanted:,} ({self.source})"
