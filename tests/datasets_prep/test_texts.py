"""Texts in Arrow's memory: a sequence like a list of them, whatever their number."""

import pickle
from dataclasses import replace

import pytest

from datasets_prep import texts as module
from datasets_prep.texts import Texts, repeated
from fastpt.errors import FastptError
from tests.conftest import made_up

WORDS = ["a", "", "Grüße", None, "𝄞", "a", "b", "0"]


@pytest.fixture(params=[1, 3, 4, 8, 9])
def piece(request, monkeypatch):
    monkeypatch.setattr(module, "PIECE", request.param)


def test_texts_are_a_sequence_like_a_list_of_them(piece):
    texts = Texts(WORDS)
    assert len(texts) == len(WORDS)
    assert list(texts) == WORDS
    assert [texts[i] for i in range(-8, 8)] == [WORDS[i] for i in range(-8, 8)]
    assert texts[2:-1] == WORDS[2:-1]
    assert texts[::-3] == WORDS[::-3]
    for i in (-9, 8):
        with pytest.raises(IndexError):
            texts[i]


def test_texts_can_be_added(piece):
    texts = Texts(WORDS[:5])
    texts.append("more")
    texts.extend(WORDS[5:])
    assert texts == [*WORDS[:5], "more", *WORDS[5:]]
    assert texts != [*WORDS[:5], "less", *WORDS[5:]]
    assert texts != WORDS


def test_texts_can_be_sent_elsewhere(piece):
    assert pickle.loads(pickle.dumps(Texts(WORDS))) == WORDS


def test_a_text_that_is_there_again_is_found(piece):
    assert repeated(Texts(WORDS)) == "a"
    assert repeated(Texts(WORDS[:5])) is None
    assert repeated(Texts()) is None


def test_texts_are_said_to_be_the_same_by_their_letters_not_their_hashes(monkeypatch):
    monkeypatch.setattr(module, "hash", lambda text: 7, raising=False)
    assert repeated(["a", "b"]) is None


def test_a_listing_whose_key_is_not_utf_8_is_refused_by_name():
    split = made_up(4)
    with pytest.raises(FastptError, match=r"split train: a key or caption is not UTF-8 \('cat/\\udcff'\)"):
        replace(split, keys=["cat/\udcff", *split.keys[1:]]).packed()
