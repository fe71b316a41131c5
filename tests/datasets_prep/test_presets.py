"""Data sets of the hub by a name, from a stand-in for it with small sets in the layouts that the hub's pages show."""

import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from datasets_prep.listing import Found
from datasets_prep.presets import PRESETS
from datasets_prep.sources import SOURCES
from fastpt import Dataset
from fastpt.cli import main
from fastpt.tuning.suite_files import load_suite
from tests.conftest import made_up, picture
from tests.servers import Hub

HERE = str(Path(__file__).parents[2])


@pytest.fixture
def hub(tmp_path):
    with Hub(tmp_path / "hub") as hub:
        yield hub


def prep(hub: Hub, folder: Path, *words: str, **env: str) -> tuple[int, str]:
    """`fastpt prep WORDS` in a folder, in a process of its own, which reads the hub's address when it starts."""
    known = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "HF_TOKEN": "", "PYTHONPATH": HERE}
    done = subprocess.run(
        [sys.executable, "-m", "fastpt", "prep", *words, "--workers", "2"],
        cwd=folder,
        env={**os.environ, **known, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


def parquet_file(path: Path, labels: list[int], names: list[str], image: str = "img", label: str = "label") -> None:
    """A file as `datasets` writes it, with the names of the classes in its schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": picture(i, (32, 32), format="PNG"), "path": None} for i in range(len(labels))]
    feature = {"info": {"features": {label: {"names": names, "_type": "ClassLabel"}}}}
    table = pa.table({image: rows, label: labels})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(feature)}), path)


def tar_file(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def clip_benchmark_set(folder: Path, shards: int = 2) -> None:
    """Tars of WebP pictures with class numbers, as CLIP_benchmark writes them."""
    for split in ("train", "test"):
        for shard in range(shards):
            members = {}
            for i in range(3 * shard, 3 * shard + 3):
                members |= {f"s{i:07d}.cls": str(i % 3).encode(), f"s{i:07d}.webp": picture(i, format="WEBP")}
            tar_file(folder / split / f"{shard}.tar", members)
        (folder / split / "nshards.txt").write_text(f"{shards}\n")
    (folder / "classnames.txt").write_text("forest\nannual crop land\nhighway or road\nriver\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of {c}.\n")


# --- the table ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_command_that_its_source_takes(name):
    preset = PRESETS[name]
    assert name not in SOURCES.names()
    assert preset.homepage.startswith("https://huggingface.co/datasets/")
    assert preset.licence
    context = main.commands["prep"].get_command(None, preset.source).make_context("x", shlex.split(preset.prep)[1:])
    assert bool(context.params["places"]) != bool(preset.how_to_get)


def test_presets_are_listed_with_counts_licence_and_page():
    output = CliRunner().invoke(main, ["prep", "--presets"]).output
    assert "cc3m  Conceptual Captions 3M" in output
    assert "samples: train 2,905,954, val 13,443" in output
    assert "licence: conceptual-captions" in output
    assert "as published, not verified here (https://huggingface.co/datasets/pixparse/cc3m-wds)" in output


def test_what_was_published_is_compared_with_what_is_found():
    cifar, cars = PRESETS["cifar10"], PRESETS["stanford_cars"]
    page = "https://huggingface.co/datasets/uoft-cs/cifar10"
    found = Found.only([made_up(20, classes=10), made_up(9, classes=10, name="val", is_train=False)])
    assert list(cifar.differences(found)) == [
        f"published with 50,000 samples of train ({page}); found 20",
        f"published with 10,000 samples of test ({page}); found 0",
        f"published without a split val ({page}); found 9 samples",
    ]
    exact = Found.only([made_up(8144, classes=195), made_up(8041, classes=195, name="test")])  # the page says 8.14k
    assert list(cars.differences(exact)) == [f"published with 196 classes ({cars.homepage}); found 195"]


# --- preparations -------------------------------------------------------------------------------------------------


def test_cifar_comes_by_its_name(hub, tmp_path):
    names = [f"kind {i}" for i in range(10)]
    for split, count in (("train", 20), ("test", 10)):
        where = hub.root / f"uoft-cs/cifar10/plain_text/{split}-00000-of-00001.parquet"
        parquet_file(where, [i % 10 for i in range(count)], names)
    code, output = prep(hub, tmp_path, "--noise", "0.1", "cifar10")
    assert code == 0, output
    assert "published with 50,000 samples of train" in output
    train = Dataset(tmp_path / "data/cifar10/train")
    assert (train.classes, len(train), len(Dataset(tmp_path / "data/cifar10/test"))) == (names, 20, 10)
    assert train.manifest["settings"]["policy"]["quality"] == 98
    assert len(list((tmp_path / "data/cifar10/train/noise").glob("*.npy"))) == 1


def test_options_that_are_given_go_before_those_of_a_preset(hub, tmp_path):
    parquet_file(tmp_path / "mine/train.parquet", [0, 1] * 5, ["a", "b"])
    code, output = prep(
        hub, tmp_path, "--quality", "80", "cifar10", "--source", "mine", "--name", "other", "--max-side", "20"
    )
    assert code == 0, output
    assert not hub.requests
    policy = Dataset(tmp_path / "data/other/train").manifest["settings"]["policy"]
    assert (policy["quality"], policy["max_side"]) == (80, 20)


def test_a_set_of_clip_benchmark_has_the_names_of_its_classes(hub, tmp_path):
    clip_benchmark_set(hub.root / "clip-benchmark/wds_vtab-eurosat")
    code, output = prep(hub, tmp_path, "vtab_eurosat", "--name", "eurosat")
    assert code == 0, output
    assert "published with 10 classes" in output
    train = Dataset(tmp_path / "data/eurosat/train")
    assert train.classes == ["0", "1", "2", "3"]
    assert train.class_names == ["forest", "annual crop land", "highway or road", "river"]


def test_resisc45_comes_with_the_splits_that_the_papers_suite_joins(hub, tmp_path):
    for split in ("train", "validation", "test"):
        parquet_file(
            hub.root / f"timm/resisc45/data/{split}-00000-of-00001.parquet",
            [0, 1, 1],
            ["airplane", "airport"],
            image="image",
        )
    code, output = prep(hub, tmp_path, "resisc45")
    assert code == 0, output
    assert "published with about 6,300 samples of val " in output
    (resisc45,) = (one for one in load_suite("paper_id").id if one.name == "resisc45")
    for split in [*resisc45.train.splits, *resisc45.test.splits]:
        assert len(Dataset(tmp_path / split)) == 3


def test_a_gated_set_says_what_to_accept(hub, tmp_path):
    parquet_file(hub.root / "ILSVRC/imagenet-1k/data/train-00000-of-00294.parquet", [0, 1], ["a", "b"], image="image")
    hub.gated = True
    code, output = prep(hub, tmp_path, "imagenet1k")
    told = "is gated. Accept its terms at https://huggingface.co/datasets/ILSVRC/imagenet-1k, then `hf auth login`"
    assert (code, told in output) == (1, True), output


def test_a_set_of_addresses_says_how_to_load_it_and_reads_what_was_loaded(hub, tmp_path):
    code, output = prep(hub, tmp_path, "datacomp12m")
    assert (code, "img2dataset --url_list datacomp12m_list --input_format parquet" in output) == (1, True), output
    members = {"000000000.jpg": picture(0), "000000000.txt": b"a caption", "000000000.json": b'{"status": "success"}'}
    tar_file(tmp_path / "datacomp12m_tars/00000.tar", members)
    code, output = prep(hub, tmp_path, *output.strip().splitlines()[-1].split()[2:])
    assert code == 0, output
    assert Dataset(tmp_path / "data/datacomp12m/train").has_captions


@pytest.mark.parametrize("name", ["cc3m", "cc12m"])
def test_conceptual_captions_come_by_name(hub, tmp_path, name):
    folder = hub.root / f"pixparse/{name}-wds"
    (folder / "x").mkdir(parents=True)
    (folder / "_info.json").write_text("{}")
    for split in ("train", "validation")[: len(PRESETS[name].samples)]:
        sample = {"000000000.jpg": picture(1), "000000000.json": b'{"url": "x"}', "000000000.txt": b"a river"}
        tar_file(folder / f"{name}-{split}-0000.tar", sample)
    code, output = prep(hub, tmp_path, name)
    assert code == 0, output
    assert sorted(path.name for path in (tmp_path / f"data/{name}").iterdir()) == sorted(PRESETS[name].samples)


def test_yfcc15m_comes_by_name_with_title_and_description_as_captions(hub, tmp_path):
    folder = hub.root / "justram/yfcc100m_openai_subset"
    (folder / "random_1m").mkdir(parents=True)
    (folder / "train").mkdir()
    rows = [
        {"photoid": 1, "title": "Gastown%2C+Vancouver", "description": "a <b>street</b>", "key": "ff", "image": 1},
        {"photoid": 2, "title": "", "description": "by the water", "key": "aa", "image": 2},
        {"photoid": 3, "title": "hills", "description": None, "key": "bb", "image": 3},
    ]
    table = pa.Table.from_pylist(
        [{**row, "image": {"bytes": picture(row["image"], format="WEBP"), "path": None}} for row in rows]
    )
    for number in range(2):
        pq.write_table(table, folder / f"train/all-{number:05d}-of-00002.parquet")
    pq.write_table(table, folder / "random_1m/random_1m-00000-of-00001.parquet")
    code, output = prep(hub, tmp_path, "yfcc15m_openai")
    assert code == 0, output
    train = Dataset(tmp_path / "data/yfcc15m_openai/train")
    captions = ["Gastown, Vancouver a street", "by the water", "hills"]
    assert sorted(train.captions(range(len(train)))) == [caption for caption in captions for _ in range(2)]
    assert "published with about 14,800,000 samples of train" in output


def test_an_unknown_name_is_told_with_the_nearest(hub, tmp_path):
    code, output = prep(hub, tmp_path, "cifar1O")
    assert (code, "did you mean cifar10?" in output) == (2, True), output
