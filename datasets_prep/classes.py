"""The classes of splits that belong together: one list for all, and what to say of those without pictures."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from datasets_prep.listing import SplitListing
from fastpt.errors import FastptError
from fastpt.printable import first_few

MOST_NAMED = 5  # classes in a warning


def class_warnings(splits: Sequence[SplitListing]) -> list[str]:
    """What to say of classes that no picture, or no picture for training, has, and of those with one readable name.

    All splits with labels have the same classes.
    """
    counted = {
        split.name: np.bincount(split.labels[split.labels >= 0], minlength=len(split.classes))
        for split in splits
        if split.labels is not None
    }
    if not counted:
        return []
    labelled = next(split for split in splits if split.labels is not None)
    classes, total = labelled.classes, sum(counted.values())
    warnings = _named("has no picture", "have no picture", [classes[i] for i in np.flatnonzero(total == 0)])
    for split in splits:
        if split.is_train and split.name in counted:
            lacking = {
                classes[i]: ", ".join(f"{count[i]} in {name}" for name, count in counted.items() if count[i])
                for i in np.flatnonzero((counted[split.name] == 0) & (total > 0))
            }
            what = f"no picture in {split.name}"
            warnings += _named(f"has {what}", f"have {what}", [f"{name} ({there})" for name, there in lacking.items()])
    of_name: dict[str, list[str]] = {}
    for name, text in zip(classes, labelled.class_names, strict=True):
        of_name.setdefault(text, []).append(name)
    twice = [f"{text} ({', '.join(names[:MOST_NAMED])})" for text, names in of_name.items() if len(names) > 1]
    if twice:
        warnings.append(
            f"classes of one readable name, which zero-shot cannot tell apart: {first_few(twice, MOST_NAMED)}"
        )
    return warnings


def _named(of_one: str, of_many: str, names: Sequence[str]) -> list[str]:
    """A line of warning that names the first classes; none if there are no classes."""
    if not names:
        return []
    what = f"class {of_one}" if len(names) == 1 else f"classes {of_many}"
    return [f"{len(names):,} {what}: {first_few(names, MOST_NAMED)}"]


def with_same_classes(splits: Sequence[SplitListing]) -> tuple[list[SplitListing], list[str]]:
    """The splits with one list of classes, and what to say of it: whose numbers change, and which names differ.

    The list is that of a split which has all classes, train's before others; else all of them, sorted if each list is,
    or those of train and then what the others add. Raises FastptError where one split has numbers of classes, and
    another names.
    """
    labelled = sorted((split for split in splits if split.labels is not None), key=lambda split: not split.is_train)
    if len({(*split.classes, "", *split.class_names) for split in labelled}) < 2:
        return list(splits), []
    _refuse_numbers_beside_names(labelled)
    every = dict.fromkeys(name for split in labelled for name in split.classes)
    whole = next((split.classes for split in labelled if len(split.classes) == len(every)), None)
    in_order = all(split.classes == sorted(split.classes) for split in labelled)
    classes = whole or (sorted(every) if in_order else list(every))
    number = {name: i for i, name in enumerate(classes)}
    readable, differ = _one_name_each(labelled)
    warnings = [
        f"{len(differ):,} classes have two readable names, the first is taken: {first_few(differ, MOST_NAMED)}"
    ] * bool(differ)
    same = []
    for split in splits:
        if split.labels is not None:
            moved = sum(number[name] != i for i, name in enumerate(split.classes))
            if moved:
                what = "class gets" if moved == 1 else "classes get"
                warnings.append(f"{split.name}: {moved:,} {what} another number, the one that all splits share")
            of_old = np.array([*(number[name] for name in split.classes), -1], np.int64)  # -1 stays what it is
            noisy = split.noisy_labels and replace(split.noisy_labels, labels=of_old[split.noisy_labels.labels])
            names = [readable[name] for name in classes]
            labels = of_old[split.labels]
            split = replace(split, classes=classes, class_names=names, labels=labels, noisy_labels=noisy)
        same.append(split)
    return same, warnings


def _refuse_numbers_beside_names(splits: Sequence[SplitListing]) -> None:
    """Raises FastptError if the classes of one split are numbers, and another has names alone."""
    numbered = [split for split in splits if split.classes == [str(i) for i in range(len(split.classes))]]
    named = [split for split in splits if numbered and not set(split.classes) & set(numbered[0].classes)]
    if named:
        numbers, names = (first_few(split.classes, MOST_NAMED) for split in (numbered[0], named[0]))
        raise FastptError(
            f"the classes of split {numbered[0].name} are numbers ({numbers}), those of {named[0].name} are names "
            f"({names}). Name them in both, or prepare each by itself; files that are called after their splits, given "
            "without SPLIT=, share the names of one."
        )


def _one_name_each(splits: Sequence[SplitListing]) -> tuple[dict[str, str], list[str]]:
    """The readable name of each class, and the classes that have two: `n01: goldfish, carp`."""
    readable: dict[str, str] = {}
    differ: dict[str, str] = {}
    for split in splits:
        for name, text in zip(split.classes, split.class_names, strict=True):
            known = readable.setdefault(name, text)
            if known == name:  # which is no name of its own
                readable[name] = text
            elif text not in (known, name):
                differ[name] = f"{name} ({known}, {text})"
    return readable, list(differ.values())
