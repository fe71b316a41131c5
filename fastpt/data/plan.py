"""The noise plan's file: what each sample of a split is shown, in place of its own target or picture.

A plan is <name>.json, which says what it is and what was measured, and <name>.npy: int32 [N], the label that each
sample is shown, int64 [N], the row whose caption it is shown, or, of pictures, int64 [N], the row of another split
whose picture is shown with the sample's own target, -1 for its own picture. Plans lie in the folder noise/ of their
split.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from fastpt.errors import DamagedData, FastptError
from fastpt.files import atomic_write, file_sha256, read_sealed_json, write_sealed_json
from fastpt.registry import Origin

FORMAT = "2.1"
Targets = Literal["labels", "captions"]
Changed = Literal["labels", "captions", "pictures"]
"""What a plan can change."""


class ClassNoise(NamedTuple):
    """The samples of a class of a split, and those that are shown another label."""

    name: str
    samples: int
    wrong: int


@dataclass(frozen=True)
class NoisePlan:
    """What a plan's JSON says, and its array (see above)."""

    name: str
    of: Changed
    kind: str
    rate: float  # asked for, or what the file holds that the plan was made from
    realised_rate: float
    realised_per_class: list[float] | None  # of labels, and of pictures that have some
    largest_deviation: ClassNoise | None  # the class that is furthest from `rate`, in samples
    seed: int | None  # None if nothing was drawn
    source: str | None  # where the file is from that it was made from
    source_sha256: str | None  # of that file; of pictures, the identity of the split that they are of
    package: Origin | None  # the package that gave the kind
    array: np.ndarray
    pictures: str | None = None  # of pictures: where their split lies, an address or as from the folder of this one
    array_sha256: str = ""  # of the array's file, once there is one

    @property
    def identity(self) -> str:
        """A sha256 over what is shown: equal arrays show different pictures where these are of different splits."""
        if self.of != "pictures":
            return self.array_sha256
        return hashlib.sha256(f"{self.array_sha256} {self.source_sha256}".encode()).hexdigest()

    def provenance(self) -> dict[str, Any]:
        """What a run records of the noise it saw."""
        return {
            "plan": self.name,
            "of": self.of,
            "kind": self.kind,
            "rate": self.rate,
            "realised_rate": self.realised_rate,
            "seed": self.seed,
            **({"source": self.source} if self.source else {}),
            **({"source_sha256": self.source_sha256} if self.source_sha256 else {}),
            "array_sha256": self.array_sha256,
            **({"package": self.package._asdict()} if self.package else {}),
        }

    def as_dict(self) -> dict[str, Any]:
        """All that is known of the plan, but for its array."""
        most = self.largest_deviation
        return {
            "source_sha256": None,
            **self.provenance(),
            **({"pictures": self.pictures} if self.pictures else {}),
            "largest_deviation": most._asdict() if most else None,
            "realised_per_class": self.realised_per_class,
        }


def misfit(of: Changed, array: np.ndarray, count: int, limit: int) -> str | None:
    """What is wrong with an array of noise of a split of `count` samples, whatever its kind: "is no ..."; or None.

    Its numbers are below `limit`: classes of labels, rows of captions, rows of the split that pictures are of.
    """
    least, dtype = -1 if of == "pictures" else 0, np.int32 if of == "labels" else np.int64
    right = array.shape == (count,) and array.dtype == dtype and array.min() >= least and array.max() < limit
    if not right:
        return f"is no array of {count} numbers from {least} to {limit - 1} in {dtype.__name__}"
    shown = array[array >= 0]
    return "shows a picture twice" if of == "pictures" and len(np.unique(shown)) < len(shown) else None


def check_rate(rate: float) -> float:
    """Return `rate` if it is a share in [0, 1); raise FastptError otherwise."""
    if not 0 <= rate < 1:
        hint = f" For {rate:g} % write {rate / 100:g}." if 1 <= rate < 100 else ""
        raise FastptError(f"a noise rate is a share of samples, at least 0 and below 1; found {rate:g}.{hint}")
    return float(rate)


def plan_name(kind: str, rate: float, seed: int) -> str:
    """The file name of a plan, such as `symmetric-0.05-seed0`."""
    return f"{kind}-{rate:.12g}-seed{seed}"


def plan_names(folder: Path) -> list[str]:
    """The names of the plans in `folder`, sorted."""
    return sorted(path.stem for path in folder.glob("*.json"))


def plans_of_rate(folder: Path, of: Targets, rate: float) -> list[str]:
    """The names of the plans in `folder` that change `of`, or pictures, at this rate.

    Raises DamagedData if one cannot be read.
    """
    wanted = f"{check_rate(rate):.12g}"
    found = {name: read_sealed_json(folder / f"{name}.json", FORMAT) for name in plan_names(folder)}
    return [name for name, plan in found.items() if plan["of"] in (of, "pictures") and f"{plan['rate']:.12g}" == wanted]


def load_plan(folder: Path, name: str, samples_id: str) -> NoisePlan:
    """Read a plan. Raises DamagedData if it changed, FastptError if it was made for other samples."""
    path, array_path = folder / f"{name}.json", folder / f"{name}.npy"
    plan = read_sealed_json(path, FORMAT)
    anew = "Delete both files and make the plan anew with `fastpt noise`."
    if not array_path.is_file() or file_sha256(array_path) != plan.get("array_sha256"):
        state = "does not match the sha256 in its plan" if array_path.is_file() else "is missing"
        raise DamagedData(f"{array_path} {state}. {anew}")
    try:
        own = name if plan["seed"] is None else plan_name(plan["kind"], plan["rate"], plan["seed"])
        if name != own:
            raise DamagedData(
                f"{path} says that it is {own}: it was renamed, or another's. Name it so, or make it anew."
            )
        if plan["of"] not in get_args(Changed):
            raise ValueError(f"it changes {plan['of']!r}")
        if plan["samples_id"] != samples_id:
            raise FastptError(
                f"{path} was made for other samples (its samples_id {plan['samples_id'][:12]}, here "
                f"{samples_id[:12]}). Delete it and make the plan anew with `fastpt noise`."
            )
        return NoisePlan(
            name=name,
            of=plan["of"],
            kind=plan["kind"],
            rate=plan["rate"],
            realised_rate=plan["realised_rate"],
            realised_per_class=plan.get("realised_per_class"),
            largest_deviation=ClassNoise(**plan["largest_deviation"]) if "largest_deviation" in plan else None,
            seed=plan["seed"],
            source=plan.get("source"),
            source_sha256=plan.get("source_sha256"),
            package=Origin(**plan["package"]) if "package" in plan else None,
            array=np.load(array_path),
            pictures=plan["pictures"] if plan["of"] == "pictures" else None,
            array_sha256=plan["array_sha256"],
        )
    except (
        KeyError,
        TypeError,
        ValueError,
        EOFError,
        MemoryError,
    ) as error:  # what a faulty writer left, seals and all
        raise DamagedData(f"{path} and its array are not those of a plan ({error!r}). {anew}") from None


def write_plan(folder: Path, samples_id: str, plan: NoisePlan) -> None:
    """Write a plan of these samples, which `load_plan` reads; what is None is left out, but for the seed."""
    folder.mkdir(exist_ok=True)
    array_path = folder / f"{plan.name}.npy"
    with atomic_write(array_path) as file:
        np.save(file, plan.array)
    stated = {
        "of": plan.of,
        "kind": plan.kind,
        "rate": plan.rate,
        "realised_rate": plan.realised_rate,
        "realised_per_class": plan.realised_per_class,
        "largest_deviation": plan.largest_deviation._asdict() if plan.largest_deviation else None,
        "seed": plan.seed,
        "source": plan.source,
        "source_sha256": plan.source_sha256,
        "package": plan.package._asdict() if plan.package else None,
        "pictures": plan.pictures,
    }
    document = {
        "format": FORMAT,
        **{key: value for key, value in stated.items() if value is not None or key == "seed"},
        "samples_id": samples_id,
        "array_sha256": file_sha256(array_path),
    }
    write_sealed_json(folder / f"{plan.name}.json", document)
