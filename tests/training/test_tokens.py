import multiprocessing

import numpy as np
import open_clip
import pytest

from fastpt.errors import FastptError
from fastpt.files import read_sealed_json, write_sealed_json
from fastpt.training import tokens as tokens_module
from fastpt.training.tokens import VOCABULARY, Tokens, tokenize

START, END = VOCABULARY - 2, VOCABULARY - 1


def test_tokens_are_those_of_open_clip():
    texts = ["a photo of a cat", "Zwölf Boxkämpfer", "猫の写真", "emoji 🐈", "a &amp; b"]
    assert np.array_equal(tokenize(texts, 77), open_clip.get_tokenizer("RN50")(texts).numpy())


def test_an_empty_caption_is_start_and_end():
    assert tokenize(["", "  \n"], 6).tolist() == [[START, END, 0, 0, 0, 0]] * 2


def test_an_over_long_caption_is_cut_and_still_ends():
    (row,) = tokenize(["word " * 100], 8)
    assert row[0] == START
    assert row[-1] == END
    assert len(set(row[1:-1])) == 1


def test_tokens_are_made_once(captioned, tmp_path, monkeypatch):
    rows = np.array([7, 0, 7, 39])
    first = Tokens([captioned], 16, tmp_path)[rows]
    assert np.array_equal(first, tokenize(captioned.captions(rows), 16))
    assert first.dtype == np.uint16
    monkeypatch.setattr(tokens_module, "tokenize", None)  # a second time would fail
    assert np.array_equal(Tokens([captioned], 16, tmp_path)[rows], first)


def test_another_context_is_another_file(captioned, tmp_path):
    assert Tokens([captioned], 8, tmp_path)[np.array([3])].shape == (1, 8)
    assert Tokens([captioned], 16, tmp_path)[np.array([3])].shape == (1, 16)


def test_nothing_is_written_beside_the_split(captioned, tmp_path):
    before = sorted(captioned.path.rglob("*"))
    Tokens([captioned], 16, tmp_path)
    assert sorted(captioned.path.rglob("*")) == before


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "json"])
def test_damage_is_told_and_mended(captioned, tmp_path, damage, caplog):
    whole = Tokens([captioned], 16, tmp_path)[np.arange(40)]
    (array,) = tmp_path.glob("*.npy")
    content = bytearray(array.read_bytes())
    if damage == "flip":
        content[-5] ^= 1
        array.write_bytes(content)
    elif damage == "cut":
        array.write_bytes(content[:-2])
    elif damage == "remove":
        array.unlink()
    else:
        array.with_suffix(".json").write_text("{")
    assert np.array_equal(Tokens([captioned], 16, tmp_path)[np.arange(40)], whole)
    assert ("is damaged: its captions are tokenised anew" in caplog.text) == (damage != "remove")


def test_a_kill_while_writing_leaves_nothing_that_is_taken_for_tokens(captioned, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tokens_module, "write_sealed_json", killed)
    with pytest.raises(KeyboardInterrupt):
        Tokens([captioned], 16, tmp_path)
    monkeypatch.undo()
    assert np.array_equal(Tokens([captioned], 16, tmp_path)[np.arange(40)], tokenize(captioned.captions(range(40)), 16))


def test_of_processes_at_once_one_makes_them(captioned, tmp_path):
    context = multiprocessing.get_context("fork")
    made = context.Value("i", 0)
    at_once = [context.Process(target=_open_counted, args=(captioned, tmp_path, made)) for _ in range(4)]
    for process in at_once:
        process.start()
    for process in at_once:
        process.join()
    assert [process.exitcode for process in at_once] == [0] * 4
    assert made.value == 1


def _open_counted(dataset, folder, made):
    make = tokens_module._make

    def counted(*arguments):
        with made.get_lock():
            made.value += 1
        make(*arguments)

    tokens_module._make = counted
    rows = np.arange(40)
    assert np.array_equal(Tokens([dataset], 16, folder)[rows], tokenize(dataset.captions(rows), 16))


def test_tokens_of_another_format_are_made_anew_and_not_called_damaged(captioned, tmp_path, caplog):
    rows = np.arange(40)
    before = Tokens([captioned], 16, tmp_path)[rows]
    (path,) = tmp_path.glob("*.json")
    write_sealed_json(path, {**read_sealed_json(path, tokens_module.FORMAT), "format": "2.99"})
    assert np.array_equal(Tokens([captioned], 16, tmp_path)[rows], before)
    assert read_sealed_json(path, tokens_module.FORMAT)
    assert "damaged" not in caplog.text


def test_many_captions_are_tokenised_by_processes(captioned, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens_module, "PART", 10)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})  # one process: each imports torch anew
    rows = np.arange(40)
    assert np.array_equal(Tokens([captioned], 16, tmp_path)[rows], tokenize(captioned.captions(rows), 16))


def test_several_splits_are_behind_one_another(captioned, held_out, tmp_path):
    both = Tokens([captioned, held_out], 16, tmp_path)
    wanted = tokenize(captioned.captions([39]) + held_out.captions([0, 11]) + captioned.captions([2]), 16)
    assert np.array_equal(both[np.array([39, 40, 51, 2])], wanted)
    with pytest.raises(IndexError):
        both[np.array([52])]


def test_a_folder_that_cannot_be_written_is_told(captioned, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FastptError, match="Set XDG_CACHE_HOME"):
        Tokens([captioned], 16, tmp_path / "file" / "tokens")


def test_a_split_without_captions_is_told(labelled, tmp_path):
    with pytest.raises(FastptError, match="has no captions"):
        Tokens([labelled], 16, tmp_path)
