import io
import json
import os
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
    (split,) = imagefolder_splits(open_files(as_tar(source, tmp_path / "pets.tar") if packed else source)).splits
    assert (split.name, split.is_train) == ("train", True)
    assert split.keys == ["cat/a.jpg", "cat/b.jpg", "dog/a.jpg"]
    assert split.labels.tolist() == [0, 0, 1]
    assert split.class_names == ["cat", "dog"]
    assert [split.read(i) for i in range(3)] == [picture(2), picture(0), picture(1)]


def test_top_folders_named_after_splits_are_splits_with_one_list_of_classes(tmp_path):
    source = lay(tmp_path, ["train/cat/a.jpg", "train/dog/a.jpg", "test/dog/b.jpg"])
    splits = {split.name: split for split in imagefolder_splits(open_files(source)).splits}
    assert set(splits) == {"train", "test"}
    assert splits["test"].classes == ["cat", "dog"]
    assert splits["test"].labels.tolist() == [1]
    assert not splits["test"].is_train


def test_any_top_folders_are_splits_when_asked(tmp_path):
    source = lay(tmp_path, ["photo/dog/a.jpg", "sketch/dog/a.jpg", "sketch/cat/a.jpg"])
    assert [split.name for split in imagefolder_splits(open_files(source), split_level=1).splits] == ["photo", "sketch"]


def test_nested_folders_are_classes_by_their_path(tmp_path):
    source = lay(tmp_path, ["train/Fruit/Apple/Gala_Red/a.jpg", "train/Fruit/Lemon/a.jpg"])
    (split,) = imagefolder_splits(open_files(source)).splits
    assert split.classes == ["Fruit/Apple/Gala_Red", "Fruit/Lemon"]
    assert split.class_names == ["Gala Red", "Lemon"]


def test_classes_json_gives_readable_names(tmp_path):
    source = lay(tmp_path, ["train/n01/a.jpg", "train/n02/a.jpg"])
    (source / "classes.json").write_text(json.dumps({"n01": "goldfish, Carassius auratus"}))
    (split,) = imagefolder_splits(open_files(source)).splits
    assert split.class_names == ["goldfish", "n02"]


@pytest.mark.parametrize(("names", "said"), [([], "holds no pictures"), (["a.jpg", "cat/b.jpg"], "in no class folder")])
def test_other_layouts_are_one_clear_error(tmp_path, names, said):
    with pytest.raises(FastptError, match=said):
        imagefolder_splits(open_files(lay(tmp_path, names)))


@pytest.mark.parametrize("content", [b"", b"rubbish" * 200])
def test_what_is_no_archive_is_one_clear_error(tmp_path, content):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(FastptError, match=r"x\.tar"):
        imagefolder_splits(open_files(tmp_path / "x.tar"))


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
    (split,) = imagefolder_splits(open_files(tmp_path / "x.tar")).splits
    assert split.keys == ["cat/a.jpg"]


def test_a_holdout_is_seeded_disjoint_and_complete(tmp_path):
    source = lay(tmp_path, [f"cat/{i:02d}.jpg" for i in range(20)])
    (split,) = imagefolder_splits(open_files(source)).splits
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
    (split,) = imagefolder_splits(open_files(source)).splits
    assert split.keys == ["cat/a.jpg", "dog/b.jpg"]
    (source / "cat" / "loop").symlink_to(source)
    with pytest.raises(FastptError, match="cat/loop links back"):
        imagefolder_splits(open_files(source))


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    source = lay(tmp_path, ["cat/a.jpg", "dog/a.jpg"])
    scandir = os.scandir

    def forbidden(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)  # the superuser, who may run this, may read anything
    with pytest.raises(FastptError, match="dog cannot be read"):
        imagefolder_splits(open_files(source))


def test_a_pipe_is_not_waited_for(tmp_path):
    source = lay(tmp_path, ["cat/a.jpg"])
    os.mkfifo(source / "cat" / "b.jpg")
    found = imagefolder_splits(open_files(source))
    assert [split.keys for split in found.splits] == [["cat/a.jpg"]]
    assert found.beside == {"a pipe": {"cat/b.jpg": 1}}


def test_a_file_name_that_is_not_utf8_is_named(tmp_path):
    source = lay(tmp_path, ["cat/a.jpg"])
    (Path(os.fsdecode(os.fsencode(source) + b"/cat/bad\xff.jpg"))).write_bytes(picture(0))
    with pytest.raises(FastptError, match="is not UTF-8"):
        imagefolder_splits(open_files(source))
