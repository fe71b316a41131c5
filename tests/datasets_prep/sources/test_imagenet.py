"""Each layout of ImageNet-1K, as a faithful miniature."""

import io
import json
import shutil
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.io import savemat

from datasets_prep.sources.imagenet import imagenet_splits
from fastpt.errors import FastptError
from tests.conftest import picture, prepared

WNIDS = ["n01440764", "n01443537", "n02123045"]  # tench, goldfish, tabby
TRAIN = {f"{wnid}/{wnid}_{j}.JPEG": picture(10 * i + j) for i, wnid in enumerate(WNIDS) for j in range(3)}
VAL = {f"ILSVRC2012_val_0000000{i + 1}.JPEG": (picture(100 + i), WNIDS[(i + 1) % 3]) for i in range(4)}


def tar_bytes(files: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write(root, files: dict[str, bytes]):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def wnids_of(train):
    return sorted({name.split("/")[0] for name in train})


def official(root, train=TRAIN, val=VAL):
    wnids = wnids_of(train)
    inner = {}
    for wnid in wnids:
        mine = {name.split("/")[1]: content for name, content in train.items() if name.startswith(wnid)}
        inner[f"{wnid}.tar"] = tar_bytes(mine)
    ilsvrc_ids = [*range(2, len(wnids) + 1), 1]  # not the sorted order: the devkit numbers the classes in its own way
    meta = io.BytesIO()
    synsets = np.array(list(zip(ilsvrc_ids, wnids, strict=True)), [("ILSVRC2012_ID", "O"), ("WNID", "O")])
    savemat(meta, {"synsets": synsets.reshape(-1, 1)})
    truth = "".join(f"{ilsvrc_ids[wnids.index(wnid)]}\n" for _, wnid in val.values())
    devkit = {
        "ILSVRC2012_devkit_t12/data/meta.mat": meta.getvalue(),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": truth.encode(),
    }
    write(
        root,
        {
            "ILSVRC2012_img_train.tar": tar_bytes(inner),
            "ILSVRC2012_img_val.tar": tar_bytes({name: content for name, (content, _) in val.items()}),
            "ILSVRC2012_devkit_t12.tar.gz": tar_bytes(devkit, "w:gz"),
        },
    )


def kaggle(root, train=TRAIN, val=VAL):
    write(root, {f"ILSVRC/Data/CLS-LOC/train/{name}": content for name, content in train.items()})
    write(root, {f"ILSVRC/Data/CLS-LOC/val/{name}": content for name, (content, _) in val.items()})
    rows = "".join(f"{name[:-5]},{wnid} 1 2 3 4 {wnid} 5 6 7 8\n" for name, (_, wnid) in val.items())
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + rows)


def tree(root, train=TRAIN, val=VAL):
    write(root, {f"train/{name}": content for name, content in train.items()})
    write(root, {f"val/{wnid}/{name}": content for name, (content, wnid) in val.items()})


def tree_in_a_tar(root):
    files = {f"train/{name}": content for name, content in TRAIN.items()}
    files |= {f"val/{wnid}/{name}": content for name, (content, wnid) in VAL.items()}
    root.rmdir()
    root.write_bytes(tar_bytes(files))


def hugging_face(root, train=TRAIN, val=VAL):
    wnids = wnids_of(train)
    names = {"names": [f"class {wnid}" for wnid in wnids], "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": names}}})}
    train = [(f"{name.split('/')[1][:-5]}_{name[:9]}.JPEG", content, name[:9]) for name, content in train.items()]
    val = [(f"{name[:-5]}_{wnid}.JPEG", content, wnid) for name, (content, wnid) in val.items()]
    files = {"train-00000-of-00002": train[:5], "train-00001-of-00002": train[5:], "validation-00000-of-00001": val}
    files["test-00000-of-00001"] = [("ILSVRC2012_test_00000001.JPEG", picture(0), None)]
    (root / "data").mkdir()
    for file, rows in files.items():
        images = pa.array([{"bytes": content, "path": path} for path, content, _ in rows])
        labels = pa.array([-1 if wnid is None else wnids.index(wnid) for _, _, wnid in rows])
        table = pa.table({"image": images, "label": labels}).replace_schema_metadata(metadata)
        pq.write_table(table, root / "data" / f"{file}.parquet", row_group_size=2)


@pytest.mark.parametrize("layout", [official, kaggle, tree, tree_in_a_tar, hugging_face])
def test_every_layout_gives_the_same_samples(layout, tmp_path):
    root = tmp_path / "imagenet"
    root.mkdir()
    layout(root)
    train, val = imagenet_splits(root).splits
    assert train.classes == val.classes == WNIDS
    assert train.class_names == ["tench", "goldfish", "tabby cat"]
    assert {key: train.read(i) for i, key in enumerate(train.keys)} == TRAIN
    assert [train.classes[label] for label in train.labels] == [key.split("/")[0] for key in train.keys]
    found = {key: (val.read(i), val.classes[val.labels[i]]) for i, key in enumerate(val.keys)}
    assert found == {f"{wnid}/{name}": (content, wnid) for name, (content, wnid) in VAL.items()}
    assert (train.is_train, val.is_train) == (True, False)


def test_a_count_that_is_not_imagenets_is_stated(tmp_path):
    tree(tmp_path)
    assert imagenet_splits(tmp_path).splits[0].note == (
        "9 pictures of 3 classes were found; ImageNet-1K has 1,281,167 of 1,000"
    )


@pytest.mark.parametrize(
    ("layout", "missing"),
    [
        (official, "ILSVRC2012_img_val.tar"),
        (official, "ILSVRC2012_devkit_t12.tar.gz"),
        (kaggle, "LOC_val_solution.csv"),
    ],
)
def test_a_missing_side_file_is_named(layout, missing, tmp_path):
    layout(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(FastptError, match=missing.replace(".", r"\.")):
        imagenet_splits(tmp_path)


def test_something_else_is_not_taken_for_imagenet(tmp_path):
    write(tmp_path, {"cat/a.jpg": picture(0)})
    with pytest.raises(FastptError, match="no layout of ImageNet-1K"):
        imagenet_splits(tmp_path)


@pytest.mark.parametrize("name", ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"])
def test_a_damaged_official_archive_is_named(tmp_path, name):
    official(tmp_path)
    (tmp_path / name).write_bytes(b"rubbish" * 1000)
    with pytest.raises(FastptError, match=name):
        imagenet_splits(tmp_path)


def test_a_kaggle_solution_that_is_none_is_named(tmp_path):
    kaggle(tmp_path)
    (tmp_path / "LOC_val_solution.csv").write_text("id,label\n1,2\n")
    with pytest.raises(FastptError, match=r"LOC_val_solution\.csv is not Kaggle's"):
        imagenet_splits(tmp_path)


def test_parquet_without_official_names_is_sent_elsewhere(tmp_path):
    images = pa.array([{"bytes": picture(0), "path": "0.jpg"}])
    pq.write_table(pa.table({"image": images, "label": [0]}), tmp_path / "train-00000-of-00001.parquet")
    with pytest.raises(FastptError, match="prep parquet"):
        imagenet_splits(tmp_path)


def test_a_png_named_jpeg_and_a_cmyk_picture_come_through(tmp_path):
    odd = {"train/n01440764/png.JPEG": picture(1, format="PNG"), "train/n01440764/cmyk.JPEG": picture(1, mode="CMYK")}
    write(tmp_path, odd | {"val/n01440764/a.JPEG": picture(1)})
    train = prepared(tmp_path / "out", imagenet_splits(tmp_path).splits[0])
    for i in range(2):
        with Image.open(io.BytesIO(train.jpeg(i))) as stored, Image.open(io.BytesIO(picture(1))) as expected:
            assert (stored.format, stored.mode) == ("JPEG", "RGB")
            assert np.abs(np.asarray(stored).astype(int) - np.asarray(expected)).mean() < 5


# --- trees as they are ----------------------------------------------------------------------------------------------

TREE = [f"train/{name}" for name in TRAIN] + [f"val/{wnid}/{name}" for name, (_, wnid) in VAL.items()]


def listed(root, names):
    write(root, dict.fromkeys(names, b"x"))
    found = imagenet_splits(root)
    found.check()
    return found


def moved(folder, names=TREE):
    return [f"{folder}/{name}" for name in names]


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (TREE, "train/<wnid>/ and val/<wnid>/"),
        ([name.replace("val/", "Validation/", 1) for name in TREE], "train/<wnid>/ and Validation/<wnid>/"),
        ([*moved("a/b"), "readme.md", "a/x.csv"], "a/b/train/<wnid>/ and a/b/val/<wnid>/"),
        (
            [*TREE, "train/.ipynb_checkpoints/0.JPEG", "__MACOSX/train/n01440764/._0.JPEG"],
            "train/<wnid>/ and val/<wnid>/",
        ),
    ],
)
def test_a_tree_is_found_by_its_folders_and_keeps_its_keys(tmp_path, names, layout):
    found = listed(tmp_path, names)
    assert found.layout == f"ImageNet in {layout}"
    assert [split.keys for split in found.splits] == [
        sorted(TRAIN),
        sorted(f"{w}/{name}" for name, (_, w) in VAL.items()),
    ]
    assert found.splits[0].classes == WNIDS
    assert found.warnings == ()


def test_archives_that_a_tree_may_lack_are_told(tmp_path):
    found = listed(tmp_path, [*TREE, "ILSVRC2012_img_train_t3.tar", f"train/{WNIDS[0]}.tar"])
    assert found.warnings == (f"2 archives not read: ILSVRC2012_img_train_t3.tar, train/{WNIDS[0]}.tar",)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "train/n01440764/deeper/x.JPEG",
            "1 picture outside train|val/<wnid>/, left out: train/n01440764/deeper 1",
        ),
        ("train/loose.JPEG", "1 picture outside train|val/<wnid>/, left out: train 1"),
        ("val/loose.JPEG", "1 picture outside train|val/<wnid>/, left out: val 1"),
        ("train/cat/x.JPEG", "1 picture outside train|val/<wnid>/, left out: train/cat 1"),
        ("train2/n01440764/x.JPEG", "1 picture outside train|val/<wnid>/, left out: train2/n01440764 1"),
        ("top.JPEG", "1 picture outside train|val/<wnid>/, left out: the top 1"),
        ("test/x.JPEG", "1 picture of test (no labels), left out: test 1"),
    ],
)
def test_pictures_elsewhere_in_a_tree_are_told_and_are_no_classes(tmp_path, more, said):
    found = listed(tmp_path, [*TREE, more])
    assert found.warnings == (said,)
    assert found.splits[0].classes == WNIDS
    assert sum(map(len, found.splits)) == len(TREE)


def test_a_loose_picture_of_kaggles_train_is_no_class(tmp_path):
    kaggle(tmp_path)
    write(tmp_path, {"ILSVRC/Data/CLS-LOC/train/loose.JPEG": b"x", "ILSVRC/Data/CLS-LOC/test/t.JPEG": b"x"})
    found = imagenet_splits(tmp_path)
    found.check()
    assert found.splits[0].classes == WNIDS
    assert len(found.warnings) == 2
    assert found.beside["read by the source"] == {"LOC_val_solution.csv": 1}


def test_classes_that_only_val_or_an_empty_folder_has_keep_their_place(tmp_path):
    (tmp_path / "train" / "n00000001").mkdir(parents=True)
    found = listed(tmp_path, [*TREE, "val/n00000002/x.JPEG", "train/n00000003/readme.txt"])
    assert found.splits[0].classes == ["n00000001", "n00000002", "n00000003", *WNIDS]


@pytest.mark.parametrize(("kept", "missing"), [("train", "val"), ("val", "train")])
def test_a_split_that_is_alone_is_prepared_and_told(tmp_path, kept, missing):
    found = listed(tmp_path, [name for name in TREE if name.startswith(kept)])
    assert [split.name for split in found.splits] == [kept]
    assert f"there is no {missing} in" in found.warnings[0]


def test_parquet_files_of_train_alone_are_prepared_and_told(tmp_path):
    hugging_face(tmp_path)
    (tmp_path / "data" / "validation-00000-of-00001.parquet").unlink()
    found = imagenet_splits(tmp_path)
    found.check()
    assert [split.name for split in found.splits] == ["train"]
    assert "there is no val in" in found.warnings[-1]


@pytest.mark.parametrize("name", ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"])
def test_an_official_archive_alone_is_sent_to_its_folder(tmp_path, name):
    official(tmp_path)
    with pytest.raises(FastptError, match="Give the folder in which the archives lie"):
        imagenet_splits(tmp_path / name)


def extracted(root):
    """The official archives, unpacked: val has no folders of classes."""
    official(root)
    write(root, {f"train/{name}": content for name, content in TRAIN.items()})
    write(root, {f"val/{name}": content for name, (content, _) in VAL.items()})
    with tarfile.open(root / "ILSVRC2012_devkit_t12.tar.gz") as devkit:
        devkit.extractall(root, filter="data")
    for name in ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"):
        (root / name).unlink()


def train_extracted(root):
    official(root)
    write(root, {f"train/{name}": content for name, content in TRAIN.items()})
    (root / "ILSVRC2012_img_train.tar").unlink()


def below_a_folder(root):
    official(root / "downloads")


def kaggle_zipped(root):
    kaggle(root / "x")
    files = {
        path.relative_to(root).as_posix(): path.read_bytes() for path in (root / "x").rglob("*.*") if path.is_file()
    }
    shutil.rmtree(root)
    with zipfile.ZipFile(root, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("layout", [extracted, train_extracted, below_a_folder, kaggle_zipped])
def test_layouts_are_recognised_where_they_lie_and_in_part(layout, tmp_path):
    root = tmp_path / "imagenet"
    root.mkdir()
    layout(root)
    found = imagenet_splits(root)
    found.check()
    train, val = found.splits
    assert {key: train.read(i) for i, key in enumerate(train.keys)} == TRAIN
    assert {key: val.read(i) for i, key in enumerate(val.keys)} == {
        f"{w}/{n}": content for n, (content, w) in VAL.items()
    }
    assert found.warnings == ()


@pytest.mark.parametrize("layout", [official, hugging_face])
def test_all_that_lies_in_archives_and_tables_is_counted(layout, tmp_path):
    layout(tmp_path)
    write(tmp_path, {"README.md": b"x", "data/.lock": b"x"})
    found = imagenet_splits(tmp_path)
    found.check()
    assert found.files > sum(map(len, found.splits))


def test_folders_beside_archives_are_told_and_not_read_twice(tmp_path):
    official(tmp_path)
    write(tmp_path, {f"train/{name}": b"x" for name in TRAIN})
    found = imagenet_splits(tmp_path)
    found.check()
    assert found.warnings == ("train is read from ILSVRC2012_img_train.tar: 9 pictures beside it are left out",)
    assert len(found.splits[0]) == 9


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([*TREE, *moved("b", TREE)], r"more than one ImageNet, in \./ and in b/"),
        ([*TREE, "validation/n01440764/x.JPEG"], "val/ and validation/ are one split"),
        ([name for name in TREE if name[0] == "t"] + ["LOC_val_solution.csv"], "labels of val .* but no val/"),
        ([*TREE, "val/ILSVRC2012_val_00000001.JPEG"], "the labels of 1 pictures of val.*neither Kaggle's"),
        (list(TRAIN), "give the folder above"),
        (["train/n01440764.tar"], "It holds a tar for each class"),
        (["train/n01440764/images/x.JPEG"], "prep imagefolder"),
        (["a/LOC_val_solution.csv", "b/LOC_val_solution.csv", "val/ILSVRC2012_val_00000001.JPEG"], "a/LOC.* and b/LOC"),
    ],
)
def test_what_is_unclear_in_a_tree_is_one_clear_error(tmp_path, names, said):
    with pytest.raises(FastptError, match=said):
        listed(tmp_path, names)
