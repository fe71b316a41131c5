"""Presets: data sets on the Hugging Face hub by a name, each the words of a `fastpt prep` that prepares it.

Addresses, columns and licences are those of the hub's pages; counts are, too, or those of public code that reads the
set. Nobody fetched them here, so whoever prepares one is told where what was found is not what was published. A new
preset is an entry of PRESETS.

The training splits of those called vtab_ are VTAB's: what is left of a set's own where VTAB validates on a part of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets_prep.listing import Found

ROUNDED = 0.005  # a page may say 2.94k for 2,944


@dataclass(frozen=True)
class Preset:
    """A data set that `fastpt prep NAME` prepares."""

    summary: str
    prep: str
    """The words of `fastpt prep` that it stands for, without --name: a source and its options."""
    samples: Mapping[str, int]
    """How many samples each split has, as published; {} if no count was found."""
    licence: str
    """As its page has it."""
    classes: int | None = None
    """None: captions."""
    is_rounded: bool = False
    """Whether the counts are known to three digits."""
    page: str = ""
    """The page of the set, if not that of the address in `prep`."""
    how_to_get: str = ""
    """What to do first, for a set whose pictures are not on the hub; `prep` then names no place."""

    @property
    def source(self) -> str:
        """The name of the source that reads it."""
        return self.prep.split()[0]

    @property
    def homepage(self) -> str:
        """The page of its address."""
        address = next((word for word in self.prep.split() if word.startswith("hf://")), "")
        return self.page or f"https://huggingface.co/{'/'.join(address.removeprefix('hf://').split('/')[:3])}"

    def differences(self, found: "Found") -> Iterator[str]:
        """What to say of splits that are not what was published."""
        there = {split.name: len(split) + len(split.rejected) for split in found.splits}
        for name, stated in self.samples.items():
            count, about = there.get(name, 0), "about " * self.is_rounded
            if abs(count - stated) > (ROUNDED * stated if self.is_rounded else 0):
                yield f"published with {about}{stated:,} samples of {name} ({self.homepage}); found {count:,}"
        for name in there if self.samples else ():
            if name not in self.samples:
                yield f"published without a split {name} ({self.homepage}); found {there[name]:,} samples"
        for classes in {len(split.classes) for split in found.splits if split.labels is not None}:
            if self.classes not in (None, classes):
                yield f"published with {self.classes:,} classes ({self.homepage}); found {classes:,}"


def _clip_benchmark(summary: str, name: str, classes: int, **rounded: int) -> Preset:
    """A set of https://huggingface.co/clip-benchmark, whose viewer shows three digits of the counts."""
    place = f"hf://datasets/clip-benchmark/wds_{name}"
    return Preset(summary, f"webdataset --source {place}", rounded, "none stated", classes, is_rounded=True)


SMALL = " --max-side none --quality 98"  # for pictures of 32 pixels, which both sets hold as PNG

PRESETS: dict[str, Preset] = {
    "imagenet1k": Preset(
        "ImageNet-1K; gated: its terms are accepted on its page",
        "imagenet --source hf://datasets/ILSVRC/imagenet-1k/data",
        {"train": 1_281_167, "val": 50_000},
        "ImageNet's terms of access: non-commercial research and education",
        1000,
    ),
    "cc3m": Preset(
        "Conceptual Captions 3M, those pictures that were left",
        "webdataset --source hf://datasets/pixparse/cc3m-wds",
        {"train": 2_905_954, "val": 13_443},
        "conceptual-captions",
    ),
    "cc12m": Preset(
        "Conceptual 12M, those pictures that were left",
        "webdataset --source hf://datasets/pixparse/cc12m-wds",
        {"train": 10_968_539},
        "conceptual-12m",
    ),
    "yfcc15m_openai": Preset(
        "YFCC15M, OpenAI's list, those that were left, at most 500 px",
        "parquet --source hf://datasets/justram/yfcc100m_openai_subset/train --caption-column title "
        "--caption-column description --strip-markup",
        {"train": 14_800_000},
        "none stated; each picture has its owner's Creative Commons licence",
        is_rounded=True,
    ),
    "datacomp12m": Preset(
        "DataComp-12M, whose pictures img2dataset loads",
        "webdataset",
        {},
        "cc-by-4.0, of addresses and captions",
        page="https://huggingface.co/datasets/BiggieW/DataComp-12M",
        how_to_get=(
            "its pictures lie all over the web. Load them with img2dataset, and give its output as --source:\n"
            "  hf download BiggieW/DataComp-12M --repo-type dataset --local-dir datacomp12m_list\n"
            "  img2dataset --url_list datacomp12m_list --input_format parquet --url_col url --caption_col ori_text "
            "--output_format webdataset --resize_mode no --output_folder datacomp12m_tars\n"
            "  fastpt prep datacomp12m --source datacomp12m_tars"
        ),
    ),
    "cifar10": Preset(
        "CIFAR-10",
        f"parquet --source hf://datasets/uoft-cs/cifar10/plain_text{SMALL}",
        {"train": 50_000, "test": 10_000},
        "unknown",
        10,
    ),
    "cifar100": Preset(
        "CIFAR-100, its fine labels",
        f"parquet --source hf://datasets/uoft-cs/cifar100/cifar100 --label-column fine_label{SMALL}",
        {"train": 50_000, "test": 10_000},
        "unknown",
        100,
    ),
    "food101": _clip_benchmark("Food-101", "food101", 101, train=75_800, test=25_300),
    "stanford_cars": _clip_benchmark("Stanford Cars", "cars", 196, train=8140, test=8040),
    "fgvc_aircraft": _clip_benchmark("FGVC Aircraft, its variants", "fgvc_aircraft", 100, train=3330, test=3330),
    "rendered_sst2": _clip_benchmark("Rendered SST2", "renderedsst2", 2, train=6920, test=1820),
    "flowers102": _clip_benchmark("Flowers-102", "vtab-flowers", 102),
    "dtd": _clip_benchmark("Describable Textures", "vtab-dtd", 47),
    "patch_camelyon": _clip_benchmark("PatchCamelyon", "vtab-pcam", 2, train=262_000, test=32_800),
    "resisc45": Preset(
        "NWPU-RESISC45",
        "parquet --source hf://datasets/timm/resisc45/data",
        {"train": 18_900, "val": 6300, "test": 6300},
        "unknown",
        45,
        is_rounded=True,
    ),
    "vtab_pets": _clip_benchmark("Oxford-IIIT Pets, as in VTAB", "vtab-pets", 37, train=2940, test=3670),
    "vtab_svhn": _clip_benchmark("SVHN, as in VTAB", "vtab-svhn", 10, train=65_900, test=26_000),
    "vtab_caltech101": _clip_benchmark("Caltech-101, as in VTAB", "vtab-caltech101", 102, train=2750, test=6090),
    "vtab_eurosat": _clip_benchmark("EuroSAT, as in VTAB", "vtab-eurosat", 10, train=16_200, test=5400),
    "vtab_resisc45": _clip_benchmark("RESISC45, as in VTAB", "vtab-resisc45", 45, train=18_900, test=6300),
}
