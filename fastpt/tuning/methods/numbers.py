"""The type of options with values to choose from, in a file of its own: help needs no numpy for it."""

from __future__ import annotations

from typing import Any

import click


class Numbers(click.ParamType):
    """Numbers between commas."""

    name = "NUMBER,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        if not isinstance(value, str):
            return list(value)
        try:
            return [float(part) for part in value.split(",") if part]
        except ValueError:
            self.fail(f"{value!r} is no list of numbers, such as 0.1,1", param, ctx)
