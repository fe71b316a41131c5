"""Readable names of class folders: those that a classes.json gives them, else those of the folders."""

from collections import Counter
from collections.abc import Collection, Sequence

from datasets_prep.inventory import Inventory
from fastpt.data.json_records import parse_record
from fastpt.data.labels import shown, text_of
from fastpt.errors import FastptError
from fastpt.printable import first_few, plural

MOST_NAMED = 3  # folders in a warning


def names_in_json(inventory: Inventory, name: str, classes: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """The names that the file `name` gives to classes, and what to say of the others.

    {"n01443537": "goldfish, Carassius auratus"}: the first synonym is taken. Raises FastptError if the file is another.
    """
    where = f"{name} in {inventory.files.root}"
    try:
        given = parse_record(text_of(inventory.read(name)))
    except ValueError as error:
        raise FastptError(f"{where} is not a JSON object of names ({error}). Mend it or take it away.") from None
    words: dict[str, str] = {}
    for folder, text in given.items():
        if not isinstance(text, str):
            raise FastptError(
                f"{where}: the name of {shown(folder)} is a {type(text).__name__}, {shown(text)}. Names are text: "
                '{"n01443537": "goldfish"}.'
            )
        words[folder] = text.split(",")[0].strip()
    warnings = []
    for found, what in (
        ([folder for folder in words if folder not in classes], "of no class folder"),
        ([folder for folder, text in words.items() if not text and folder in classes], "empty"),
    ):
        if found:
            are = "is" if len(found) == 1 else "are"
            named = first_few([shown(name) for name in found], MOST_NAMED)
            warnings.append(f"{plural(len(found), 'name')} in {where} {are} {what}: {named}")
    return words, warnings


def plain_names(classes: Sequence[str]) -> list[str]:
    """Names of class folders as people write them: the last part of a path, where it tells, with blanks for `_`."""
    last = Counter(name.rpartition("/")[2] for name in classes)
    texts = (name if last[name.rpartition("/")[2]] > 1 else name.rpartition("/")[2] for name in classes)
    plain = (" ".join(text.replace("_", " ").replace("-", " ").replace("/", " ").split()) for text in texts)
    return [text or name for name, text in zip(classes, plain, strict=True)]
