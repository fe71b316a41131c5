import io
import tarfile

import pytest

from datasets_prep.sources.webdataset import webdataset_splits
from fastpt.errors import FastptError
from tests.conftest import picture


def shard(path, members: dict[str, bytes]):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_img2dataset_output_is_read_in_place(tmp_path):
    for number in range(2):
        members = {}
        for i in range(3):
            members |= {f"{i:09d}.jpg": picture(10 * number + i), f"{i:09d}.json": b'{"caption": "from json"}'}
            members[f"{i:09d}.txt"] = f"caption {number} {i}".encode()
        shard(tmp_path / f"{number:05d}.tar", members)
        (tmp_path / f"{number:05d}_stats.json").write_text("{}")
    (split,) = webdataset_splits(tmp_path)
    assert split.keys[:2] == ["00000/000000000", "00000/000000001"]
    assert split.captions[3:] == ["caption 1 0", "caption 1 1", "caption 1 2"]
    assert [split.read(i) for i in range(6)] == [picture(i) for i in (0, 1, 2, 10, 11, 12)]
    assert split.labels is None


def test_labels_come_from_cls(tmp_path):
    shard(tmp_path / "a.tar", {"x.jpg": picture(0), "x.cls": b"2", "y.jpg": picture(1), "y.cls": b"0\n"})
    (split,) = webdataset_splits(tmp_path / "a.tar")
    assert split.labels.tolist() == [2, 0]
    assert split.classes == ["0", "1", "2"]
    assert split.captions is None


def test_samples_that_lack_something_are_named(tmp_path):
    shard(
        tmp_path / "a.tar",
        {
            "good.jpg": picture(0), "good.txt": b"good", "text.txt": b"alone", "picture.jpg": picture(1),
            "empty.jpg": picture(2), "empty.txt": b" ", "odd.jpg": picture(3), "odd.json": b"{",
        },
    )  # fmt: skip
    (split,) = webdataset_splits(tmp_path)
    assert split.keys == ["a/good"]
    assert dict(split.left_out) == {
        "a/text": "no picture", "a/picture": "no caption", "a/empty": "no caption", "a/odd": "its .json does not parse",
    }  # fmt: skip


@pytest.mark.parametrize("members", [{}, {"a.jpg": b"x"}])
def test_tars_without_targets_are_one_clear_error(tmp_path, members):
    shard(tmp_path / "a.tar", members)
    with pytest.raises(FastptError, match="no sample has"):
        webdataset_splits(tmp_path)


def test_no_tars_and_a_damaged_tar_are_told(tmp_path):
    with pytest.raises(FastptError, match=r"holds no \.tar"):
        webdataset_splits(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"rubbish" * 1000)
    with pytest.raises(FastptError, match=r"a\.tar cannot be read"):
        webdataset_splits(tmp_path)
