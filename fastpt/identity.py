"""What produced a figure, field by field, and what a comparison does with each kind of field: told here and only here.

replicate       what is averaged over: seeds, and the sums of weights and noise plans, which follow from them. The same
                one twice is no second one.
condition       what is compared: the noise of pre-training.
setting         what has to be equal: figures that differ in one are shown apart, under names that say so.
circumstance    what should not matter: averaged over, and said.

Fields are called by dotted names. One that no table below names is a setting, so that what is new is never averaged
over unseen.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fastpt.printable import finite, listed, mapping, one_line, percentage

Role = Literal["replicate", "condition", "setting", "circumstance"]
Values = dict[str, Any]  # JSON's scalars, and lists of them, by dotted name

FREE = (
    "data.threads",
    "data.prep",
    "checkpoint",
    "evaluate.every_epochs",
    "evaluate.batch_size",
    "log_every",
    "record",
    "tune",
)
"""Keys of a recipe that touch neither the weights nor what a measure means: a resumed run may change them."""
FREE_OF_TASK = "memorization_samples"
"""The same, in the section of any task."""
OF_MACHINE = ("device", "machine", "precision")
"""What the kind of machine that trained a run decides. `precision` is what it made of engine.precision, a setting."""
# A name stands for all below it; of several that fit, the longest holds.
RUN: Mapping[str, Role] = {
    **dict.fromkeys(FREE, "circumstance"),
    "seed": "replicate",
    "noise": "condition",
    "data.keep": "condition",
    "noise.seed": "replicate",
    "noise.array_sha256": "replicate",
    "data.decoder": "circumstance",
    "versions": "circumstance",
    "git": "circumstance",
    **dict.fromkeys(OF_MACHINE, "circumstance"),
    "world_size": "circumstance",
}
RESULT: Mapping[str, Role] = {
    "encoder.weights_sha256": "replicate",
    "encoder.decoder": "circumstance",
    "versions": "circumstance",
    "heads.device": "circumstance",
    "code": "circumstance",
    "packages": "circumstance",
}
OF_ENCODER = ("encoder.", "weights.")
"""What results say of the encoder: it differs between recipes as it must, and is held equal within one."""


@dataclass(frozen=True)
class Identity:
    """The fields of a run or of tuning results."""

    values: Values
    roles: Mapping[str, Role]

    def of(self, role: Role) -> Values:
        """The fields of one kind."""
        return {name: value for name, value in self.values.items() if self.role(name) == role}

    def role(self, name: str) -> Role:
        """By the longest name in the table that it stands under."""
        if name.endswith(f".{FREE_OF_TASK}"):
            return "circumstance"
        while name:
            if name in self.roles:
                return self.roles[name]
            name = name.rpartition(".")[0]
        return "setting"


def of_run(recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> Identity:
    """What produced a run's weights: its recipe and the record of what was really read and used."""
    settings = flat({key: value for key, value in recipe.items() if key not in ("seed", "tune")})
    for name in ("data.noise", "data.prep"):  # the plan itself is recorded
        settings.pop(name, None)
    if settings.get("data.keep") == "all":  # as before there was the key
        del settings["data.keep"]
    # Which samples and pictures counts, not where they lay.
    measured = {name: mapping(one) for name, one in mapping(provenance.get("measured_on")).items()}
    recorded = {one.get("data") for one in measured.values() if one.get("images_id")}
    settings = {name: value for name, value in settings.items() if not isinstance(value, str) or value not in recorded}
    if provenance.get("samples_id") and provenance.get("images_id") and isinstance(settings.get("data.train"), str):
        del settings["data.train"]
    noise = mapping(provenance.get("noise"))
    told = {name: noise.get(name) for name in ("kind", "of", "rate", "source", "source_sha256", "seed", "array_sha256")}
    if noise and noise.get("seed") is None:  # nothing was drawn, so another plan is another noise
        told["plan_sha256"] = told.pop("array_sha256")
    values = {
        "recipe": provenance.get("recipe"),
        **settings,
        **{name: provenance.get(name) for name in ("samples_id", "images_id")},
        **flat({name: {key: one.get(key) for key in ("samples_id", "images_id")} for name, one in measured.items()}),
        **_over_starts(provenance),
        **flat({"noise": told if noise else {}}),
        "seed": provenance.get("seed", recipe.get("seed")),
    }
    return Identity({name: value for name, value in values.items() if value is not None}, RUN)


def _over_starts(provenance: Mapping[str, Any]) -> Values:
    """What may differ from start to start of a run; where it does, the list. And what was changed on the way."""
    resumed = provenance.get("resumed")
    starts = [provenance, *map(mapping, listed(resumed))]
    told = [
        flat({name: start.get(name) for name in ("precision", "device", "world_size", "git", "versions")})
        for start in starts
    ]
    names = dict.fromkeys(name for one in told for name in one)
    every = {name: list(dict.fromkeys(one[name] for one in told if one.get(name) is not None)) for name in names}
    found: Values = {name: values[0] if len(values) == 1 else values for name, values in every.items() if values}
    changes = [
        f"from step {start.get('step')}: {change}"
        for start in starts[1:]
        for change in start.get("changes") or []
        if Identity({}, RUN).role(str(change).partition(" was ")[0]) != "circumstance"
    ]
    return found | ({"changes": changes} if changes else {})


def of_results(results: Mapping[str, Any]) -> Identity:
    """What produced tuning results besides the run, of which they are: suite, splits, training of heads, features."""
    encoder, made_with = mapping(results.get("encoder")), mapping(results.get("made_with"))
    names = ("precision", "preprocessing", "decoder", "features", "weights_sha256")
    export = mapping(encoder.get("export"))
    steps = () if export.get("chosen") == "best" else ("step",)  # of the best, it is what training made of it
    methods = {name: mapping(entry) for name, entry in mapping(results.get("methods")).items()}
    splits = results.get("splits")
    values = {
        "suite": results.get("suite"),
        **flat({"label_noise": mapping(results.get("config")).get("label_noise")}),
        **flat({name: entry.get("settings") or {} for name, entry in methods.items()}),
        **flat({"packages": {name: entry.get("origin") or {} for name, entry in methods.items()}}),
        **flat({"encoder": {name: encoder.get(name) for name in names}}),
        **flat({"weights": {name: export.get(name) for name in ("chosen", *steps)}}),
        **flat({_split(one): _of_split(one) for one in splits if isinstance(one, dict)} if splits else {}),
        **flat(
            {
                "versions": made_with.get("versions") or {},
                "heads": {"device": made_with.get("device")},
                "code": made_with.get("code"),
            }
        ),
    }
    return Identity({name: value for name, value in values.items() if value is not None}, RESULT)


def _split(entry: Mapping[str, Any]) -> str:
    return "/".join(one_line(entry.get(key) or "train") for key in ("domain", "set", "test")).replace(".", "·")


def _of_split(entry: Mapping[str, Any]) -> Values:
    return {
        name: entry.get(name) for name in ("samples_id", "images_id", "samples", "answers", "corruption", "trained")
    }


def flat(values: Mapping[Any, Any], prefix: str = "") -> Values:
    """Values by dotted name; entries of a list of mappings by their number. What is empty leaves nothing."""
    found: Values = {}
    for key, value in values.items():
        if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            value = dict(enumerate(value))
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def differing(identities: Sequence[Values], shared: bool = False) -> list[str]:
    """Names of fields of which two values are found; with `shared`, one that is absent differs from none."""
    names = dict.fromkeys(name for values in identities for name in values)
    return [name for name in names if len(_distinct(name, identities, shared)) > 1]


def _distinct(name: str, identities: Iterable[Values], shared: bool) -> set[str]:
    return {repr(values.get(name)) for values in identities if not shared or name in values}


def words(name: str, value: Any) -> str:
    """A field as names of figures say it: 'optim.lr 0.1', 'label_noise 60 %', 'id/pets/val.images_id 3f2a…'."""
    return f"{one_line(name)} {value_words(name, value)}"


def value_words(name: str, value: Any) -> str:
    """A field's value: shares as percentages, sums by their first digits."""
    if value is None:
        return "none"
    if name in ("label_noise", "noise.rate") and finite(value) is not None:
        return percentage(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value_words(name, one) for one in value) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    if name.endswith(("sha256", "_id", ".answers")):
        return one_line(value)[:12]
    return one_line(value)
