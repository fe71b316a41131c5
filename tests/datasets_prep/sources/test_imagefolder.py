import io
import json
import os
import re
import tarfile
from pathlib import Path

import pytest

from datasets_prep.places import hold_out
from datasets_prep.sources.imagefolder import imagefolder_splits
from fastpt.errors import FastptError
from fastpt.storage.files import open_files
from tests.conftest import picture


def lay(folder, names):
    for i, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(i) if file.suffix == ".jpg" else b"{}")
    return folder


def as_tar(folder, path):
    with tarfile.open(path, "w") as tar:
        tar.add(folder, arcname=".")
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_class_folders_are_one_split_called_train(tmp_path, packed):
    source = lay(tmp_path / "pets", ["cat/b.jpg", "dog/a.jpg", "cat/a.jpg", "dog/.hidden.jpg", "readme.txt"])
    (split,) = imagefolder_splits([open_files(as_tar(source, tmp_path / "pets.tar") if packed else source)]).splits
    assert (split.name, split.is_train) == ("train", True)
    assert split.keys == ["cat/a.jpg", "cat/b.jpg", "dog/a.jpg"]
    assert split.labels.tolist() == [0, 0, 1]
    assert split.class_names == ["cat", "dog"]
    assert [split.read(i) for i in range(3)] == [picture(2), picture(0), picture(1)]


def test_top_folders_named_after_splits_are_splits_with_one_list_of_classes(tmp_path):
    source = lay(tmp_path, ["train/cat/a.jpg", "train/dog/a.jpg", "test/dog/b.jpg"])
    splits = {split.name: split for split in imagefolder_splits([open_files(source)]).splits}
    assert set(splits) == {"train", "test"}
    assert splits["test"].classes == ["cat", "dog"]
    assert splits["test"].labels.tolist() == [1]
    assert not splits["test"].is_train


def test_any_top_folders_are_splits_when_asked(tmp_path):
    source = lay(tmp_path, ["photo/dog/a.jpg", "sketch/dog/a.jpg", "sketch/cat/a.jpg"])
    assert [split.name for split in imagefolder_splits([open_files(source)], split_level=1).splits] == [
        "photo",
        "sketch",
    ]


def test_nested_folders_are_classes_by_their_path(tmp_path):
    source = lay(tmp_path, ["train/Fruit/Apple/Gala_Red/a.jpg", "train/Fruit/Lemon/a.jpg"])
    (split,) = imagefolder_splits([open_files(source)]).splits
    assert split.classes == ["Fruit/Apple/Gala_Red", "Fruit/Lemon"]
    assert split.class_names == ["Gala Red", "Lemon"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"n01": "goldfish", "N02": "carp"}', "1 name in classes.json .* is of no class folder: 'N02'"),
        ('{"n01": "goldfish", "n02": " "}', "1 name in classes.json .* is empty: 'n02'"),
    ],
)
def test_names_in_classes_json_that_name_nothing_are_told(tmp_path, content, told):
    source = lay(tmp_path, ["train/n01/a.jpg", "train/n02/a.jpg"])
    (source / "classes.json").write_text(content)
    found = imagefolder_splits([open_files(source)])
    assert found.splits[0].class_names == ["goldfish", "n02"]
    assert re.search(told, found.warnings[0])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[1]", "is not a JSON object of names .found list"),
        ('{"n01": 5}', "the name of 'n01' is a int, 5. Names are text"),
        ('{"n01": ["a", "b"]}', r"the name of 'n01' is a list, \['a', 'b'\]"),
        ('{"n01": "a", "n01": "b"}', "the key 'n01' stands there twice"),
        ("{", "is not a JSON object"),
        (b"\xff\xfe{\0}\0", "UTF-16"),
    ],
)
def test_a_classes_json_that_is_none_is_one_clear_error(tmp_path, content, told):
    source = lay(tmp_path, ["n01/a.jpg", "n02/a.jpg"])
    (source / "classes.json").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(FastptError, match=told):
        imagefolder_splits([open_files(source)])


def test_pictures_that_differ_in_their_suffix_only_are_told(tmp_path):
    names = [
        "cat/1.jpg",
        "cat/1.jpg.bak",
        "cat/1.png",
        "cat/2.jpg~",
        "cat/3.JPG",
        "cat/3.jpg",
        "cat/v1.5.jpg",
        "dog/1.jpg",
    ]
    source = lay(tmp_path, names)
    for name in names:
        (source / name).write_bytes(picture(0))
    (told,) = [warning for warning in imagefolder_splits([open_files(source)]).warnings if "copy" in warning]
    assert told == (
        "3 pictures may be a copy of another, by the name: cat/1.jpg and cat/1.jpg.bak, cat/1.jpg and cat/1.png, "
        "cat/3.JPG and cat/3.jpg"
    )


def test_classes_json_gives_readable_names(tmp_path):
    source = lay(tmp_path, ["train/n01/a.jpg", "train/n02/a.jpg"])
    (source / "classes.json").write_text(json.dumps({"n01": "goldfish, Carassius auratus"}))
    (split,) = imagefolder_splits([open_files(source)]).splits
    assert split.class_names == ["goldfish", "n02"]


@pytest.mark.parametrize(("names", "said"), [([], "holds no pictures"), (["a.jpg", "cat/b.jpg"], "in no class folder")])
def test_other_layouts_are_one_clear_error(tmp_path, names, said):
    with pytest.raises(FastptError, match=said):
        imagefolder_splits([open_files(lay(tmp_path, names))])


@pytest.mark.parametrize("content", [b"", b"rubbish" * 200])
def test_what_is_no_archive_is_one_clear_error(tmp_path, content):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(FastptError, match=r"x\.tar"):
        imagefolder_splits([open_files(tmp_path / "x.tar")])


def test_links_and_members_outside_are_not_followed(tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(picture(0))
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        link = tarfile.TarInfo("cat/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
        inside = tarfile.TarInfo("cat/a.jpg")
        inside.size = len(picture(1))
        tar.addfile(inside, io.BytesIO(picture(1)))
    (split,) = imagefolder_splits([open_files(tmp_path / "x.tar")]).splits
    assert split.keys == ["cat/a.jpg"]


def test_a_holdout_is_seeded_disjoint_and_complete(tmp_path):
    source = lay(tmp_path, [f"cat/{i:02d}.jpg" for i in range(20)])
    (split,) = imagefolder_splits([open_files(source)]).splits
    train, val = hold_out(split, 0.25, seed=0)
    assert (len(train), len(val)) == (15, 5)
    assert sorted([*train.keys, *val.keys]) == list(split.keys)
    assert hold_out(split, 0.25, seed=0)[1].keys == val.keys
    assert hold_out(split, 0.25, seed=1)[1].keys != val.keys
    assert val.read(0) == (tmp_path / val.keys[0]).read_bytes()


def test_a_link_round_in_a_circle_is_refused_and_other_links_are_followed(tmp_path):
    source = lay(tmp_path / "pets", ["cat/a.jpg"])
    (tmp_path / "dogs").mkdir()
    (tmp_path / "dogs" / "b.jpg").write_bytes(picture(1))
    (source / "dog").symlink_to(tmp_path / "dogs")
    (split,) = imagefolder_splits([open_files(source)]).splits
    assert split.keys == ["cat/a.jpg", "dog/b.jpg"]
    (source / "cat" / "loop").symlink_to(source)
    with pytest.raises(FastptError, match="cat/loop links back"):
        imagefolder_splits([open_files(source)])


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    source = lay(tmp_path, ["cat/a.jpg", "dog/a.jpg"])
    scandir = os.scandir

    def forbidden(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)  # the superuser, who may run this, may read anything
    with pytest.raises(FastptError, match="dog cannot be read"):
        imagefolder_splits([open_files(source)])


def test_a_pipe_is_not_waited_for(tmp_path):
    source = lay(tmp_path, ["cat/a.jpg"])
    os.mkfifo(source / "cat" / "b.jpg")
    found = imagefolder_splits([open_files(source)])
    assert [split.keys for split in found.splits] == [["cat/a.jpg"]]
    assert found.beside == {"a pipe": {"cat/b.jpg": 1}}


def test_a_file_name_that_is_not_utf8_is_named(tmp_path):
    source = lay(tmp_path, ["cat/a.jpg"])
    (Path(os.fsdecode(os.fsencode(source) + b"/cat/bad\xff.jpg"))).write_bytes(picture(0))
    with pytest.raises(FastptError, match="is not UTF-8"):
        imagefolder_splits([open_files(source)])


# --- layouts ------------------------------------------------------------------------------------------------------


def pets(folder, classes=("cat", "dog")):
    """Two pictures of each class below a folder."""
    return [f"{folder}{name}/{i}.jpg" for name in classes for i in range(2)]


def laid_out(folder, names, split_level=None, asked=None):
    for name in names:
        (folder / name if name.endswith("/") else (folder / name).parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            (folder / name).write_bytes(b"x")
    found = imagefolder_splits([open_files(folder)], split_level, asked)
    found.check()
    return found


def classes_of(found):
    """Of each split, its classes with pictures."""
    return {split.name: [split.classes[i] for i in sorted(set(split.labels))] for split in found.splits}


BOTH = ["cat", "dog"]
OBJECTS = [f"{name}/{folder}/1.jpg" for name in BOTH for folder in ("train", "test")]


@pytest.mark.parametrize(
    ("names", "level", "splits"),
    [
        ([*pets("train/"), *pets("validation/")], None, {"train": BOTH, "val": BOTH}),
        ([*pets("Train/"), *pets("valid/"), *pets("TEST/")], None, {"test": BOTH, "train": BOTH, "val": BOTH}),
        ([*pets("training/"), *pets("dev/")], None, {"train": BOTH, "val": BOTH}),
        ([*pets("x/train/"), *pets("x/test/"), "__MACOSX/x/train/cat/._0.jpg"], None, {"test": BOTH, "train": BOTH}),
        ([*pets("images/train/"), *pets("images/val/"), "labels/train/cat/0.txt"], None, {"train": BOTH, "val": BOTH}),
        ([*pets("train/train/"), *pets("test/test/")], None, {"test": BOTH, "train": BOTH}),
        ([*pets("train/images/")], None, {"train": ["images/cat", "images/dog"]}),
        ([f"train/{name}/images/1.jpg" for name in BOTH], None, {"train": BOTH}),
        (pets("train/"), None, {"train": BOTH}),
        (pets("test/"), None, {"test": BOTH}),
        (["train/cat/1.jpg"], None, {"train": ["cat"]}),
        (["cat/1.jpg"], None, {"train": ["cat"]}),
        (["pets/cat/1.jpg"], None, {"train": ["cat"]}),
        (["a/train/1.jpg", "a/bus/1.jpg", "b/cat/1.jpg"], None, {"train": ["a/bus", "a/train", "b/cat"]}),
        (OBJECTS, 2, {"test": BOTH, "train": BOTH}),
        ([f"data/{name}" for name in OBJECTS], 2, {"test": BOTH, "train": BOTH}),
        (OBJECTS, 0, {"train": ["cat/test", "cat/train", "dog/test", "dog/train"]}),
        ([*pets("Train/"), *pets("train2/")], 1, {"train": BOTH, "train2": BOTH}),
        ([*pets("Train/"), *pets("train2/")], 0, {"train": ["Train/cat", "Train/dog", "train2/cat", "train2/dog"]}),
        (pets("photo/"), 1, {"photo": BOTH}),
        ([*pets("pacs/photo/"), *pets("pacs/art/")], 1, {"art": BOTH, "photo": BOTH}),
        (["train/1.jpg", "test1/1.jpg"], 0, {"train": ["test1", "train"]}),
    ],
)
def test_splits_are_recognised_by_name_and_by_the_class_folders_in_them(tmp_path, names, level, splits):
    assert classes_of(laid_out(tmp_path, names, level)) == splits


@pytest.mark.parametrize(
    ("names", "splits", "said"),
    [
        (pets("", ("bus", "train")), {"train": ["bus", "train"]}, "train/ holds pictures beside class folders"),
        ([*pets(""), "test-a/1.jpg"], {"train": [*BOTH, "test-a"]}, "test-a/ holds pictures beside class folders"),
        ([*pets("train/"), "test/1.jpg", "test/2.jpg"], {"train": BOTH}, "2 pictures .* left out: test 2"),
        ([*pets("train/"), "test/test/1.jpg"], {"train": BOTH}, "1 picture .* left out: test 1"),
        ([*pets("train/"), "val/images/1.jpg"], {"train": BOTH}, "1 picture .* left out: val 1"),
        ([*pets("train/"), "test-a/1.jpg"], {"train": BOTH}, "1 picture .* left out: test-a 1"),
        ([*pets("train/"), *pets("val/"), "docs/1.jpg"], {"train": BOTH, "val": BOTH}, "beside the splits.*docs 1"),
        ([*pets("x/train/"), "x/montage.jpg"], {"train": BOTH}, "beside the splits.*x/montage.jpg 1"),
        (["a/1.jpg", "a/b/1.jpg", "c/1.jpg"], {"train": ["a", "a/b", "c"]}, "1 classes lie in the folders of others"),
        (pets("", ("1", "2", "10")), {"train": ["1", "10", "2"]}, "numbers, which are sorted as text"),
        (pets("", ("Cat", "cat")), {"train": ["Cat", "cat"]}, "classes apart: 'Cat' and 'cat'"),
        (pets("", ("cat", "cat ")), {"train": ["cat", "cat "]}, "classes apart: 'cat' and 'cat '"),
        (
            pets("", ("cafe\u0301", "caf\u00e9")),
            {"train": ["cafe\u0301", "caf\u00e9"]},
            r"classes apart: 'cafe\\u0301' and 'café'",
        ),
    ],
)
def test_what_may_be_meant_otherwise_is_told(tmp_path, names, splits, said):
    found = laid_out(tmp_path, names)
    assert classes_of(found) == splits
    assert any(re.search(said, warning) for warning in found.warnings), found.warnings


@pytest.mark.parametrize(
    ("names", "level", "said"),
    [
        ([*pets("train/"), *pets("val/"), *pets("validation/")], None, "val and validation are one split"),
        ([*pets("Train/"), *pets("training/")], 1, "Train and training are one split"),
        ([*pets("train/"), *pets("train2/")], None, r"train2/ beside them.*Found: train/ \(4 .*--split-level 1"),
        ([*pets("train/"), *pets("evaluation/")], None, "evaluation/ beside them"),
        ([*pets("seg_train/"), *pets("seg_test/")], None, "is seg_test/ a split, or a class"),
        ([*pets("seg_train/seg_train/"), "seg_pred/seg_pred/1.jpg"], None, "is seg_train/ a split, or a class"),
        ([*pets("x/seg_train/"), "docs/1.jpg"], None, "x/ holds seg_train"),
        ([*pets("val/"), "dog/1.jpg", "emu/1.jpg"], None, "val is a split, but dog/ beside them holds pictures too"),
        (["images/1.jpg", "images/2.jpg"], None, "images/ holds pictures.*--split-level 0 says that images is a class"),
        (pets("train_small/"), None, "is train_small/ a split, or a class"),
        ([*pets("test-a/"), *pets("")], None, "is test-a/ a split, or a class"),
        ([*pets("x/train/"), *pets("x/test/"), "docs/1.jpg"], None, r"x/ holds test, train.*--split-level 2.*\.\.\./x"),
        ([*pets("images/train/"), "masks/train/cat/1.jpg"], None, "images/ holds train.*--split-level 2"),
        (OBJECTS, None, "cat/ holds test, train.*--split-level 2"),
        (["cat/train/1.jpg", "dog/train/1.jpg"], None, "cat/ holds train.*--split-level 2"),
        (["cat/train/1.jpg", "cat/1.jpg", "dog/1.jpg"], None, "cat/ holds train"),
        ([*pets("train/val/"), *pets("train/")], None, "val/ in train/val/.* may be a split or a class"),
        (["train/1.jpg"], None, "train/ holds pictures, but no class folders.*prep list"),
        (["train2017/1.jpg", "val2017/1.jpg"], None, "holds pictures, but no class folders"),
        (["train/cat.1.jpg", "test1/1.jpg"], None, "holds pictures, but no class folders"),
        (["train/1.jpg", "val/1.jpg", "docs/1.jpg"], None, "holds pictures, but no class folders"),
        (["train/1.jpg", "val/1.jpg", "a/b/1.jpg"], None, "holds pictures, but no class folders"),
        (["train/images/1.jpg", "val/images/1.jpg"], None, "train/images/ holds pictures, but no class folders"),
        ([*pets("train/"), "train/1.jpg"], None, "train/1.jpg lies in no class folder"),
        ([*pets("pets/"), "pets/preview.jpg"], None, "pets/preview.jpg lies in no class folder"),
        (
            ["images/1.jpg", "annotations/trimaps/1.jpg"],
            None,
            "annotations/trimaps/ of a class, or annotations of others",
        ),
        (
            ["cat/images/1.jpg", "cat/masks/1.jpg", "dog/images/1.jpg"],
            None,
            "in cat/masks/ of a class, or annotations.*--split-level 0",
        ),
        (pets("train/"), 3, "no folders of pictures so far down"),
        (
            ["a.txt", ".data/cat/1.jpg"],
            None,
            r"holds no pictures, but .*hidden or system: \.data 1.*other files: \.txt 1",
        ),
        (["pets.zip"], None, r"holds no pictures, but other files: \.zip 1\. Give pets\.zip itself"),
        (["cat.tar", "dog.tar"], None, r"holds no pictures, but other files: \.tar 2\. Unpack its archives"),
    ],
)
def test_what_is_unclear_is_asked_with_what_settles_it(tmp_path, names, level, said):
    with pytest.raises(FastptError, match=said):
        laid_out(tmp_path, names, level)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["amber/", *pets("")], ["amber", *BOTH]),
        (["amber/readme.txt", *pets("")], ["amber", *BOTH]),
        (["amber/.DS_Store", *pets("")], ["amber", *BOTH]),
        (["train/amber/", "val/bee/x.txt", *pets("train/"), *pets("val/")], ["amber", "bee", *BOTH]),
        (["a/b/1.jpg", "a/empty/", "c/1.jpg"], ["a/b", "a/empty", "c"]),
        (["cat/meta/x.json", "cat/tmp/", *pets("")], BOTH),
        (["docs/readme.txt", ".git/", *pets("train/")], BOTH),
    ],
)
def test_a_folder_without_pictures_beside_class_folders_is_a_class(tmp_path, names, classes):
    assert laid_out(tmp_path, names).splits[0].classes == classes


@pytest.mark.parametrize("root", ["train", "val", "pets_train", "pets"])
def test_a_split_that_was_named_may_lie_in_a_folder_of_any_name(tmp_path, root):
    (split,) = laid_out(tmp_path, pets(f"{root}/"), asked="val").splits
    assert split.keys == pets("val/")
    assert split.classes == BOTH


@pytest.mark.parametrize("asked", [None, "val"])
def test_an_archive_with_a_root_folder_has_the_keys_of_the_folder(tmp_path, asked):
    source = lay(tmp_path / "a" / "pets", pets(""))
    tar = as_tar(tmp_path / "a", tmp_path / "pets.tar")
    keys = [imagefolder_splits([open_files(place)], None, asked).splits[0].keys for place in (source, tar)]
    assert keys[0] == keys[1] == [f"{asked}/{name}" if asked else name for name in pets("")]


def test_several_places_have_a_root_folder_each_and_may_hold_other_files_of_one_name(tmp_path):
    places = []
    for name, classes in (("a", ["cat"]), ("b", ["dog"])):
        lay(tmp_path / name / f"root_{name}", [*pets("", classes), "readme.txt", "classes.json"])
        places.append(open_files(as_tar(tmp_path / name, tmp_path / f"{name}.tar")))
    found = imagefolder_splits(places)
    found.check()
    (split,) = found.splits
    assert split.keys == pets("")
    assert [split.read(i) for i in range(4)] == [picture(0), picture(1), picture(0), picture(1)]
    with pytest.raises(FastptError, match=r"cat/0\.jpg is in .*a\.tar and in .*a\.tar"):
        imagefolder_splits([places[0], places[0]])


def test_places_with_and_without_splits_are_not_mixed(tmp_path):
    places = [open_files(lay(tmp_path / "a", pets("train/"))), open_files(lay(tmp_path / "b", pets("")))]
    with pytest.raises(FastptError, match=r"a holds splits, .*b holds class folders\. Give each split by itself"):
        imagefolder_splits(places)


def test_readable_names_that_would_be_the_same_are_whole_paths(tmp_path):
    (split,) = laid_out(tmp_path, ["a/small_one/1.jpg", "b/small_one/1.jpg"]).splits
    assert split.class_names == ["a small one", "b small one"]


@pytest.mark.parametrize("folder", ["@tmp", "@SynoResource", "~snapshot/hourly", "found.000", "Temporary Items"])
def test_folders_of_systems_and_drives_are_no_classes(tmp_path, folder):
    found = laid_out(tmp_path, [*pets(""), f"{folder}/1.jpg", f"cat/{folder}/1.jpg"])
    assert found.splits[0].classes == BOTH
    assert found.beside["hidden or system"].total() == 2


def test_archives_and_dead_links_among_the_pictures_are_told(tmp_path):
    for name in ("bee.tar", "amber.ZIP", "cat/more.tar.gz", "cat/notes.txt", ".cache.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    lay(tmp_path, pets(""))
    (tmp_path / "cat/9.jpg").symlink_to("/nowhere/9.jpg")
    warnings = imagefolder_splits([open_files(tmp_path)]).warnings
    assert "3 archives not read: amber.ZIP, bee.tar, cat/more.tar.gz" in warnings
    assert "1 picture not read: cat/9.jpg (a link to nothing)" in warnings
