"""What the commands share: types of options, and how errors and prepared splits are told."""

import errno
import math
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastpt.errors import FastptError, Preempted
from fastpt.printable import one_line, printable
from fastpt.storage.address import ADDRESS
from fastpt.storage.names import is_utf8

if TYPE_CHECKING:
    from fastpt.data.dataset import Dataset
    from fastpt.data.plan import NoisePlan

FOLDER = click.Path(path_type=Path)


class _Recorded(click.Path):
    """A path that records, pages and libraries name: what UTF-8 cannot hold is refused before the work."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not is_utf8(str(value)):
            self.fail(f"{value!r} is not UTF-8, which the records that name it are. Rename it.", param, ctx)
        return super().convert(value, param, ctx)


class _Output(_Recorded):
    """A path on this machine that is written. An address would be taken for a folder called `s3:`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if ADDRESS.match(str(value)):
            self.fail(f"{value!r} is an address, where nothing is written. Give a path here, and copy it.", param, ctx)
        return super().convert(value, param, ctx)


RECORDED = _Recorded(path_type=Path)
OUTPUT = _Output(path_type=Path)
SEED = click.IntRange(0, 2**63 - 1)
INTERRUPTED = 130  # the exit code of what SIGINT ended: 128 + 2, as shells have it
PATIENCE = 10.0  # seconds
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


class Commands(click.Group):
    """Lists commands in the order of the work, and tells a FastptError in one line instead of a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for before, word in zip(["", *args], args, strict=False):
            if not word or re.fullmatch("--[a-z-]+=", word):  # which would be taken for none, or for this folder
                option = word[:-1] or (before if before.startswith("-") else "an argument")
                raise click.UsageError(f"{option} is empty: a shell variable that is not set? Give a value.", ctx)
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **options: Any) -> Any:
        _open_closed_streams()
        try:
            return super().main(*args, **options)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            _drop_what_stdout_holds()
            told = f"Error: {error.strerror}, which is where standard output goes, or a file. Make room."
            click.echo(told, err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except FastptError as error:
            if isinstance(error, Preempted) and os.environ.get("RANK", "0") != "0":
                ctx.exit(error.exit_code)  # the first process says it
            let_others_tell(is_first=os.environ.get("LOCAL_RANK", "0") == "0")
            click.echo(f"Error: {printable(str(error))}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.filename is None:  # not about a file that the user named
                raise
            message = f"{error.filename}: {error.strerror}. Check that the path is right and that it may be written."
            raise click.ClickException(printable(message)) from None
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


def _open_closed_streams() -> None:
    """Let what is written to a stream that the caller closed (`>&-`) vanish, rather than go into the next opened file,
    which would get its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _drop_what_stdout_holds() -> None:
    """What could not be written would be tried, and complained of, once more as the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.__stdout__.fileno() if sys.__stdout__ else 1)
    os.close(nowhere)


def let_others_tell(is_first: bool) -> None:
    """Of the processes of one training that failed, the one that tells why: the first of the machine, or the only one
    that knows. The others wait here for their launcher to end them, which it does once one has failed."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not is_first:
        time.sleep(PATIENCE)


def claim(taken: dict[str, object], who: str, options: Iterable[click.Parameter]) -> None:
    """Add the flags and names of options to those `taken` by others. Raises FastptError if one is taken already."""
    for option in options:
        for word in (str(option.name), *option.opts, *option.secondary_opts):
            if taken.setdefault(word, option) is not option:
                raise FastptError(f"{who} has an option {option.opts[0]}, whose name {word} is taken. Rename it there.")


class FiniteRange(click.FloatRange):
    """A FloatRange, in which NaN and infinity, which click lets pass, do not lie."""

    def convert(self, value, param, ctx):
        if not math.isfinite(found := super().convert(value, param, ctx)):
            self.fail(f"{value} is not a finite number", param, ctx)
        return found


class Rate(click.ParamType):
    name = "rate"

    def convert(self, value, param, ctx):
        from fastpt.data.plan import check_rate

        try:
            return check_rate(float(value))
        except ValueError:
            self.fail(f"a noise rate is a number, such as 0.05; found {value!r}", param, ctx)
        except FastptError as error:
            self.fail(str(error), param, ctx)


class Noise(click.ParamType):
    """What samples are shown, as Python's `Dataset.targets` takes it: None for clean, a rate, or the name of a plan."""

    name = "noise"

    def convert(self, value, param, ctx):
        try:
            return None if value == "clean" else float(value)
        except ValueError:
            return value


def describe(dataset: "Dataset") -> str:
    shards = dataset.manifest["shards"]
    size = dataset.manifest["counts"]["bytes"] / 1e6  # of the pictures: FFCV files have holes, which take no disk
    parts = [f"{len(dataset):,} samples"]
    if dataset.has_labels:
        parts.append(f"{len(dataset.classes)} classes")
    if dataset.has_captions:
        parts.append("captions")
    parts.append(f"{size:,.1f} MB in {len(shards)} shard{'s' * (len(shards) != 1)}")
    rejected = dataset.manifest["counts"]["rejected"]
    if rejected:
        parts.append(f"{rejected} left out (see {dataset.path / 'rejected.jsonl'})")
    note = dataset.manifest["note"]
    return f"{dataset.path}: {', '.join(parts)}" + (f"\n  note: {note}" if note else "")


def describe_plan(plan: "NoisePlan", count: int) -> str:
    wrong = round(plan.realised_rate * count)
    asked = f"asked {plan.rate:.4g}, " if plan.seed is not None else ""
    text = f"  noise {plan.name}: {asked}realised {plan.realised_rate:.4g} ({wrong:,} wrong {plan.of}"
    most = plan.largest_deviation
    if most and abs(most.wrong - plan.rate * most.samples) >= 1:
        text += f"; furthest from it class {most.name} with {most.wrong:,} of {most.samples:,}"
    origin = f", from {plan.source}" if plan.source else ""
    origin += f", by {plan.package.distribution} {plan.package.version}" if plan.package else ""
    return f"{text}{origin})"


def describe_classes(dataset: "Dataset", plan: "NoisePlan") -> str:
    """The shares of wrong labels of the classes, from the least to the greatest; "" for captions."""
    import numpy as np

    if plan.realised_per_class is None:
        return ""
    there = np.flatnonzero(np.bincount(dataset.clean_labels, minlength=len(dataset.classes)))
    shares = np.array(plan.realised_per_class)[there]
    least, most = (one_line(dataset.class_names[there[i]]) for i in (shares.argmin(), shares.argmax()))
    ends = f"{shares.min():.4g} ({least}) to {shares.max():.4g} ({most}), median {np.median(shares):.4g}"
    return f"\n    of each class: {ends}; {(shares == 0).sum():,} of {len(shares):,} classes have none"
