"""Targets of samples in tars: labels, captions, and what stands in their place."""

from pathlib import Path

import pytest

from datasets_prep import tar_samples
from fastpt.errors import FastptError
from tests.datasets_prep.sources.tars_of_samples import SAMPLE, listed, shard


def labelled(folder: Path, *labels: bytes) -> None:
    shard(
        folder / "a.tar",
        {f"{i}.{suffix}": x for i, y in enumerate(labels) for suffix, x in (("jpg", b"x"), ("cls", y))},
    )


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        ((b"cat\n", b" dog "), ["cat", "dog"], [0, 1]),
        ((b"1.0", b"0"), ["0", "1"], [1, 0]),
        ((b"007", b"1"), ["007", "1"], [0, 1]),
        ((b"\xef\xbb\xbfcat", b"cat\r\n"), ["cat"], [0, 0]),
    ],
)
def test_labels_are_read_like_those_of_all_sources(tmp_path, labels, classes, numbers):
    labelled(tmp_path, *labels)
    (split,) = listed(tmp_path).splits
    assert (split.classes, split.labels.tolist()) == (classes, numbers)


def test_labels_that_mix_numbers_and_names_are_told(tmp_path):
    labelled(tmp_path, b"cat", b"2")
    assert "the .cls: 1 number and 1 name" in listed(tmp_path).warnings[0]


@pytest.mark.parametrize(
    ("member", "content", "told"),
    [
        ("0.cls", b"-1", r"a/0: no label \('-1'\)"),
        ("0.txt", b" ", "a/0: its caption is empty"),
        (
            "0.json",
            b'{"caption": ["x"], "url": "y"}',
            "a/0: its caption is a list; columns of the .json are caption, url",
        ),
        ("0.json", b'{"text": "x"}', "columns of the .json are text"),
        ("0.caption.txt", b"x", r"other members are \.caption\.txt"),
    ],
)
def test_what_stands_where_targets_should_be_is_told(tmp_path, member, content, told):
    shard(tmp_path / "a.tar", {"0.jpg": b"x", member: content})
    with pytest.raises(FastptError, match=f"no sample has .* \\(.*{told}"):
        listed(tmp_path)


@pytest.mark.parametrize("label", [b"-1", b"", b" \n", b"nan"])
def test_samples_without_a_label_are_named(tmp_path, label):
    labelled(tmp_path, b"0", label)
    (split,) = listed(tmp_path).splits
    assert [key for key, _ in split.rejected] == ["a/1"]
    assert "no label" in split.rejected[0][1]


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (b"48600114712", "id"),
        (b"1.5", "no whole number"),
        (b"-2", "negative"),
        (b"[0, 1]", "is a list"),
        (b'{"label": 1}', "is an object"),
    ],
)
def test_what_is_no_label_is_refused_by_name(tmp_path, label, told):
    labelled(tmp_path, b"0", label)
    with pytest.raises(FastptError, match=rf"the \.cls: the label of a/1, .*{told}"):
        listed(tmp_path)


@pytest.mark.parametrize("text", ["cat".encode("utf-16"), "cat".encode("utf-16-le"), b"cat\0"])
@pytest.mark.parametrize("suffix", ["cls", "txt"])
def test_a_target_that_is_no_utf8_text_is_rejected_by_name(tmp_path, suffix, text):
    shard(tmp_path / "a.tar", {"0.jpg": b"x", f"0.{suffix}": b"dog", "1.jpg": b"x", f"1.{suffix}": text})
    (split,) = listed(tmp_path).splits
    assert split.rejected == (("a/1", f"its .{suffix} holds zero bytes: it is UTF-16, or no text"),)


def test_a_json_that_is_no_utf8_is_rejected_by_name(tmp_path):
    json_of = {"0": '{"caption": "café"}', "1": '{"caption": "cafe"}'}
    shard(
        tmp_path / "a.tar",
        {f"{i}.jpg": b"x" for i in json_of} | {f"{i}.json": t.encode("latin-1") for i, t in json_of.items()},
    )
    assert listed(tmp_path).splits[0].rejected == (("a/0", "its .json cannot be taken: it is not UTF-8"),)


def test_the_mark_at_the_start_of_a_caption_is_no_part_of_it(tmp_path):
    shard(tmp_path / "a.tar", {"0.jpg": b"x", "0.txt": b"\xef\xbb\xbfa cat"})
    assert listed(tmp_path).splits[0].captions == ["a cat"]


def test_a_place_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FastptError, match=r"nowhere does not exist"):
        listed(tmp_path / "nowhere")


def test_a_label_of_several_lines_is_rejected_by_name(tmp_path):
    labelled(tmp_path, b"0", b"1\n2")
    (split,) = listed(tmp_path).splits
    assert split.rejected == (("a/1", "its .cls has several lines"),)


def in_json(folder: Path, **more: bytes) -> None:
    shard(
        folder / "a.tar",
        {
            f"{i}.{suffix}": x
            for i in range(2)
            for suffix, x in {"jpg": b"x", "json": b'{"label": %d}' % i, **more}.items()
        },
    )


def test_labels_of_the_json_are_taken_if_there_is_nothing_else_and_told(tmp_path):
    in_json(tmp_path)
    found = listed(tmp_path)
    assert found.splits[0].labels.tolist() == [0, 1]
    assert "2 samples has a 'label': it is taken" in found.warnings[0]


def test_labels_of_the_json_beside_captions_are_told_and_taken_if_asked(tmp_path):
    in_json(tmp_path, txt=b"a caption")
    found = listed(tmp_path)
    assert found.splits[0].labels is None
    assert "it is not used (--label-column label would)" in found.warnings[0]
    (split,) = listed(tmp_path, label_column="label").splits
    assert split.labels.tolist() == [0, 1]
    assert split.captions == ["a caption"] * 2
    with pytest.raises(FastptError, match=r"no \.json has a 'kind'"):
        listed(tmp_path, label_column="kind")


def test_a_long_caption_is_whole_and_a_gigantic_one_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_samples, "LARGEST_TARGET", 3 << 20)
    texts = {"0.txt": b"x" * (2 << 20), "1.txt": b"x" * (4 << 20)}
    shard(tmp_path / "a.tar", {"0.jpg": b"x", "1.jpg": b"x"} | texts)
    (split,) = listed(tmp_path).splits
    assert [len(caption) for caption in split.captions] == [2 << 20]
    assert split.rejected == (("a/1", "its .txt has 4,194,304 bytes, more than a target may have"),)


def test_a_split_without_targets_is_left_out_and_told(tmp_path):
    shard(tmp_path / "train-0.tar", SAMPLE)
    shard(tmp_path / "test-0.tar", {"0.jpg": b"x", "1.jpg": b"x"})
    found = listed(tmp_path)
    assert [split.name for split in found.splits] == ["train"]
    assert found.beside["samples without a target"] == {"test": 2}
    assert "no sample of split test has a caption or a label: it is left out" in found.warnings


# --- names of classes -----------------------------------------------------------------------------------------------


def clip_benchmark(folder: Path, names: str, tars: str = "1\n") -> Path:
    """A tar of classes 0 and 2 in train/, with what CLIP_benchmark lays beside it."""
    (folder / "train").mkdir(parents=True)
    shard(folder / "train/0.tar", {"a.jpg": b"x", "a.cls": b"0", "b.jpg": b"x", "b.cls": b"2"})
    (folder / "train/nshards.txt").write_text(tars)
    (folder / "classnames.txt").write_text(names)
    return folder


def test_classnames_beside_the_tars_are_the_readable_names_of_numbered_classes(tmp_path):
    found = listed(clip_benchmark(tmp_path, "crane\nfish\ncrane\nnever seen\n"))
    (split,) = found.splits
    assert split.classes == ["0", "1", "2", "3"]
    assert split.class_names == ["crane", "fish", "crane", "never seen"]
    assert split.labels.tolist() == [0, 2]
    assert found.beside["read by the source"] == {"classnames.txt": 1, "nshards.txt": 1}


def test_classnames_that_cannot_be_those_of_the_labels_are_refused(tmp_path):
    with pytest.raises(FastptError, match=r"classnames\.txt has 2 names, and the \.cls count 3 classes"):
        listed(clip_benchmark(tmp_path / "few", "cat\ndog\n"))
    with pytest.raises(FastptError, match=r"classnames\.txt has an empty line"):
        listed(clip_benchmark(tmp_path / "empty", "cat\n\ndog\n"))
    other = clip_benchmark(tmp_path / "other", "cat\ndog\nowl\n")
    (other / "train/0.tar").rename(other / "train/1.tar")
    with pytest.raises(FastptError, match="name other classes"):
        listed(clip_benchmark(tmp_path / "one", "cat\ndog\ncow\n"), other)


def test_classes_that_have_names_keep_them_beside_a_classnames_file(tmp_path):
    shard(tmp_path / "0.tar", {"a.jpg": b"x", "a.cls": b"cat", "b.jpg": b"x", "b.cls": b"dog"})
    (tmp_path / "classnames.txt").write_text("hound\npuss\n")
    found = listed(tmp_path)
    assert found.splits[0].class_names == ["cat", "dog"]
    assert found.beside["no picture"] == {".txt": 1}


def test_tars_that_are_counted_and_not_there_are_told(tmp_path):
    found = listed(clip_benchmark(tmp_path, "a\nb\nc\n", tars="3\n"))
    assert found.warnings == (f"{tmp_path}/train/nshards.txt counts 3 tars; 1 are there",)
