"""What the columns of a list of pictures mean, and which picture a row names."""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import click

from datasets_prep.records import RecordFormat
from fastpt.errors import FastptError
from fastpt.storage.names import well_formed

if TYPE_CHECKING:
    from fastpt.data.lists import ListFile


@dataclass(frozen=True)
class Columns:
    """What the columns of a list mean. A row's picture is in `path_column`, or is `image_pattern` filled with columns.

    Raises click.UsageError if they do not go together.
    """

    records: RecordFormat  # with no caption_columns, there are no captions
    path_column: str | None = None
    image_pattern: str | None = None
    label_column: str | None = None
    noisy_label_column: str | None = None
    split_column: str | None = None
    list_quotes: Literal["csv", "plain"] | None = None

    def __post_init__(self):
        if bool(self.path_column) == bool(self.image_pattern):
            raise click.UsageError("say how a row names its picture: --path-column or --image-pattern")
        if self.noisy_label_column and not self.label_column:
            raise click.UsageError("--noisy-label-column goes with --clean-label-column")
        meant = Counter((self.path_column, self.label_column, self.noisy_label_column, self.split_column))
        if twice := next((column for column, count in meant.items() if column and count > 1), None):
            raise click.UsageError(f"column {twice!r} is given for two things; a column has one meaning")

    def check_header(self, opened: "ListFile", find: Callable[[str], str | None]) -> None:
        """Raises FastptError if a column is missing, or a header that names a picture is no header."""
        if self.path_column and find(self.path_column):
            raise FastptError(
                f"{opened.name}: its first line names a picture, {self.path_column!r}, so it is a row. Write the names "
                "of the columns above it."
            )
        opened.require(self.wanted)

    def no_name(self, values: Mapping[str, object]) -> str:
        """Why a row names no picture."""
        named = {column: values.get(column) for column in self.in_pattern or [str(self.path_column)]}
        for column, value in named.items():
            if isinstance(value, list | dict | bytes | bool):
                return f"its {column} is a {type(value).__name__}, not the name of a picture"
        return "its row in the list names no picture"

    @property
    def wanted(self) -> list[str]:
        """The columns that have to be there."""
        names = (self.path_column, self.label_column, self.noisy_label_column, self.split_column)
        names = (*names, self.records.id_column, *self.records.caption_columns)
        return [*self.in_pattern, *(name for name in names if name)]

    @cached_property
    def in_pattern(self) -> list[str]:
        """The columns in the pattern. Raises FastptError if it cannot be read."""
        try:
            parsed = [part for part in string.Formatter().parse(self.image_pattern or "") if part[1] is not None]
        except ValueError as error:
            raise FastptError(f"--image-pattern {self.image_pattern!r} cannot be read: {error}.") from None
        fields, specs = [str(part[1]) for part in parsed], [str(part[2]) for part in parsed]
        if wide := next((spec for spec in specs if "{" in spec or re.search(r"\d{4}", spec)), None):
            raise FastptError(
                f"--image-pattern {self.image_pattern!r} has the format {wide!r}, which is no file name's."
            )
        if self.image_pattern and not fields:
            raise FastptError(f"--image-pattern {self.image_pattern!r} names no column, as '{{id}}.jpg' does.")
        return [re.split(r"[.\[]", name)[0] for name in fields]

    def picture(self, values: Mapping[str, object]) -> str | None:
        """The name of a row's picture; None if it has none."""
        named = {column: values.get(column) for column in self.in_pattern or [str(self.path_column)]}
        for column, value in named.items():
            if value is None or value == "" or value != value or isinstance(value, list | dict | bytes | bool):
                return None
            if isinstance(value, float) and value.is_integer():  # numbers of a column in which some are missing
                named[column] = int(value)
        return well_formed(
            self.image_pattern.format(**named) if self.image_pattern else str(named[str(self.path_column)])
        )
