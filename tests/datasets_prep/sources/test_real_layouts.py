"""Real pictures in every layout of ImageNet-1K and of YFCC15M: whatever the layout, the prepared samples are the same.

The pictures come from FASTPT_REAL_DATA; the layouts are built in a temporary folder.
"""

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets_prep.columns import Columns
from datasets_prep.convert import prepare
from datasets_prep.images.policy import ImagePolicy
from datasets_prep.listing import Found
from datasets_prep.records import RecordFormat
from datasets_prep.shard import Options
from datasets_prep.sources import Request
from datasets_prep.sources.imagenet import imagenet_splits
from datasets_prep.sources.list import listed_splits
from datasets_prep.sources.webdataset import webdataset_splits
from datasets_prep.tar_samples import Members
from fastpt import Dataset
from fastpt.data.verify import verify_deep
from tests.datasets_prep.sources.test_imagenet import hugging_face, kaggle, official, tree
from tests.datasets_prep.sources.test_webdataset import shard

CLASSES, TRAIN_OF_CLASS, VAL = 8, 24, 40
PHOTOS = 300


def seen(dataset: Dataset, rates: list[float], targets: str) -> dict[str, tuple]:
    """Of each key: its clean target, its stored checksum and size, and its target at each rate."""
    shown = [dataset.targets(rate, targets) for rate in (None, *rates)]
    if targets == "labels":
        shown = [[dataset.classes[label] for label in labels] for labels in shown]
    else:
        shown = [dataset.captions(rows) for rows in shown]
    samples = dataset.samples
    columns = (samples.xxh3.tolist(), samples.width.tolist(), samples.height.tolist(), *shown)
    return dict(zip(dataset.keys, zip(*columns, strict=True), strict=True))


def prepared_splits(found, out: Path, rates: list[float], **options) -> dict[str, Dataset]:
    done = prepare(found, out, "real", Options(**options), rates, 2, 0.0, lambda *_: None)
    return {dataset.split: dataset for dataset, _ in done}


@pytest.fixture(scope="module")
def mini_imagenet(real_data):
    """Pictures of train by `<wnid>/<wnid>_<n>.JPEG`, and of val by official name with their WordNet id."""
    train, val, count = {}, {}, {}
    with tarfile.open(real_data / "tinyimagenet100.tar") as tar:
        names = sorted(name for name in tar.getnames() if name.endswith((".jpg", ".JPEG")))
        wnids = sorted({name.split("/")[1] for name in names})[:CLASSES]
        for name in names:
            split, wnid, _ = name.split("/")
            if wnid in wnids and split == "train" and count.setdefault(wnid, 0) < TRAIN_OF_CLASS:
                train[f"{wnid}/{wnid}_{count[wnid]}.JPEG"] = tar.extractfile(name).read()
                count[wnid] += 1
            elif wnid in wnids and split == "val" and len(val) < VAL:
                val[f"ILSVRC2012_val_{len(val) + 1:08d}.JPEG"] = tar.extractfile(name).read(), wnid
    return train, val


def test_every_layout_of_imagenet_prepares_to_the_same_samples_and_noise(mini_imagenet, tmp_path):
    found = {}
    for layout in (official, kaggle, hugging_face, tree):
        root = tmp_path / layout.__name__
        root.mkdir()
        layout(root, *mini_imagenet)
        made = prepared_splits(
            imagenet_splits(root), tmp_path / f"{layout.__name__}-prepared", [0.1, 0.3], shard_samples=100
        )
        assert [problem for split in made.values() for problem in verify_deep(split.path, lambda *_: None)] == []
        found[layout.__name__] = seen(made["train"], [0.1, 0.3], "labels"), seen(made["val"], [], "labels")
    assert all(one == found["official"] for one in found.values())
    train, val = found["official"]
    assert (len(train), len(val)) == (CLASSES * TRAIN_OF_CLASS, VAL)
    assert all(key.startswith(clean) for key, (_, _, _, clean, *_) in train.items())
    wrong = [sum(shown[at] != shown[3] for shown in train.values()) for at in (4, 5)]
    assert wrong == [round(rate * CLASSES * TRAIN_OF_CLASS) for rate in (0.1, 0.3)]


@pytest.fixture(scope="module")
def photos(real_data):
    """Name, picture and caption of product photos."""
    with tarfile.open(real_data / "fashion20k.tar") as tar:
        rows = csv.DictReader(io.TextIOWrapper(tar.extractfile("captions.csv"), "utf-8"))
        captions = {row["id"]: row["caption"].strip() for row, _ in zip(rows, range(PHOTOS), strict=False)}
        return [(id, tar.extractfile(f"images/{id}.jpg").read(), text) for id, text in captions.items()]


def write_img2dataset(root: Path, photos) -> None:
    """Tars of .jpg, .json and .txt, each with a parquet file and statistics beside it."""
    for number in range(3):
        mine, members = photos[number::3], {}
        records = [{"caption": text, "url": f"http://x/{id}", "key": id, "status": "success"} for id, _, text in mine]
        for (id, jpeg, text), record in zip(mine, records, strict=True):
            members |= {f"{id}.jpg": jpeg, f"{id}.json": json.dumps(record).encode(), f"{id}.txt": text.encode()}
        shard(root / f"{number:05d}.tar", members)
        pq.write_table(pa.Table.from_pylist(records), root / f"{number:05d}.parquet")
        (root / f"{number:05d}_stats.json").write_text(json.dumps({"count": len(mine), "successes": len(mine)}))


def write_webdataset(root: Path, photos) -> None:
    for number in range(2):
        mine = photos[number::2]
        shard(
            root / f"photos-{number:06d}.tar",
            {
                f"{id}.{end}": content
                for id, jpeg, text in mine
                for end, content in (("jpg", jpeg), ("txt", text.encode()))
            },
        )


def write_list_and_zip(root: Path, photos) -> None:
    with zipfile.ZipFile(root / "photos.zip", "w") as archive:
        for id, jpeg, _ in photos:
            archive.writestr(f"photos/{id}.jpg", jpeg)
    lines = [f"{id}\t{text}" for id, _, text in photos]
    (root / "yfcc.tsv").write_text("\n".join(["photoid\ttitle", *lines]) + "\n", encoding="utf-8")


def tars_of(root: Path) -> Found:
    return webdataset_splits(Request((root,), None, root, 0, 1), Members())


def test_every_layout_of_yfcc_prepares_to_the_same_pictures_and_captions(photos, tmp_path):
    listed = {
        write_img2dataset: tars_of,
        write_webdataset: tars_of,
        write_list_and_zip: lambda root: listed_splits(
            Request((root / "photos.zip",), None, root, 0, 1),
            [(None, str(root / "yfcc.tsv"))],
            Columns(RecordFormat(("title",)), image_pattern="photos/{photoid}.jpg"),
        ),
    }
    wanted = {id: text for id, _, text in photos}
    pictures = []
    for layout, splits in listed.items():
        root = tmp_path / layout.__name__
        root.mkdir()
        layout(root, photos)
        made = prepared_splits(splits(root), tmp_path / f"{layout.__name__}-prepared", [0.2], shard_samples=120)[
            "train"
        ]
        assert verify_deep(made.path, lambda *_: None) == []
        found = {Path(key).stem: values for key, values in seen(made, [0.2], "captions").items()}
        assert {id: clean for id, (_, _, _, clean, _) in found.items()} == wanted
        wrong = [id for id, (*_, clean, shown) in found.items() if shown != clean]
        assert len(wrong) == round(0.2 * PHOTOS)
        assert {shown for *_, shown in found.values()} <= set(wanted.values())
        pictures.append({id: values[:3] for id, values in found.items()})
    assert pictures[0] == pictures[1] == pictures[2]


def test_noise_of_captions_is_the_same_at_another_size_format_and_order(photos, tmp_path):
    write_webdataset(tmp_path, photos)
    found = tars_of(tmp_path)
    large = prepared_splits(found, tmp_path / "large", [0.1, 0.2])["train"]
    small = prepared_splits(
        found, tmp_path / "small", [0.1, 0.2], policy=ImagePolicy(32), format="wds", order="source", shard_samples=70
    )["train"]
    assert large.keys != small.keys
    assert small.samples.width.max() <= 32 < large.samples.height.max()
    shown = [
        {key: values[3:] for key, values in seen(split, [0.1, 0.2], "captions").items()} for split in (large, small)
    ]
    assert shown[0] == shown[1]
