"""CLIP's zero-shot classification as a method: on names alone, and as a training measures it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
import yaml

from fastpt.errors import FastptError
from fastpt.training.run import train
from fastpt.tuning.command import tune_command
from fastpt.tuning.encoders import open_encoder
from fastpt.tuning.methods import METHODS, ClassNames, HeadSpec, TrainingData
from tests.conftest import made_up, prepared
from tests.training.conftest import TINY_CLIP, lines, tiny_recipe

CPU = torch.device("cpu")
TEXT = {"width": 32, "heads": 2, "layers": 1, "context_length": 16, "vocab_size": 49408}
VISION = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32}


def fitted(names: list[str], temperature: float | None = 10.0, heads: int = 2):
    """Of an encoder to whom a text is the direction of the digit that is in it."""
    embed = lambda texts: torch.eye(3)[[int("".join(filter(str.isdigit, text))) for text in texts]]  # noqa: E731
    encoder: object = SimpleNamespace(embed=embed, temperature=temperature)
    data = TrainingData(torch.zeros(0, 3), np.zeros(0, np.int64), 3, names=ClassNames(encoder, names))  # type: ignore
    (found,) = METHODS.get("zero-shot").fit(data, [HeadSpec(seed) for seed in range(heads)], CPU)
    return found


def test_a_picture_is_of_the_class_whose_name_is_nearest():
    pictures = torch.tensor([[0.0, 0.0, 3.0], [5.0, 1.0, 0.0]])
    logits = fitted(["number 2", "1", "0"]).logits(pictures)
    assert logits.shape == (2, 2, 3)
    assert logits.argmax(2).tolist() == [[0, 2]] * 2
    torch.testing.assert_close(logits[0, 0], torch.tensor([10.0, 0, 0]))


def test_a_sigmoid_model_has_no_probabilities():
    assert fitted(["0", "1", "2"]).has_probabilities
    assert not fitted(["0", "1", "2"], temperature=None).has_probabilities


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """An open_clip model, and the same by open_clip."""
    config = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-test", config)
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-test").eval()
    safetensors.torch.save_file(model.state_dict(), tmp_path / "w.safetensors")
    return f"open_clip:tiny-test:{tmp_path / 'w.safetensors'}", model


def test_texts_are_embedded_as_open_clip_embeds_them(encoder):
    spec, model = encoder
    texts = [f"a photo of a {name}." for name in ("dog", "dragonfly", "long " * 40)]
    with torch.inference_mode():
        expected = model.encode_text(open_clip.get_tokenizer("tiny-test")(texts), normalize=True)
    opened = open_encoder(spec)
    torch.testing.assert_close(opened.embed(texts), expected)
    assert opened.temperature == pytest.approx(1 / 0.07)


@pytest.mark.parametrize("templates", ["simple", "openai"])
def test_it_reaches_what_the_training_measured(captioned, tmp_path, templates):
    other = prepared(tmp_path / "other", made_up(24, captions=True, name="val", is_train=False))
    zero_shot = f"clip.zero_shot={{data: {other.path}, templates: {templates}}}"
    run = train(
        tiny_recipe(tmp_path, captioned, other, "clip", TINY_CLIP, [zero_shot, "optim.lr=0.03"]), "tiny", tmp_path / "r"
    )
    suite = tmp_path / "suite.yaml"
    split = {"train": str(other.path), "test": str(other.path)}
    suite.write_text(yaml.safe_dump({"name": "s", "id": [{"name": "pictures", **split, "metric": "accuracy"}]}))
    found = tune_command(run, suite=str(suite), methods=["zero-shot"], num_seeds=2, templates=templates)
    assert found is not None
    values = [row.value for row in found.rows if row.method == "zero-shot"]
    assert values == [pytest.approx(lines(run, "eval")[-1]["zero_shot_top1"])] * 2
    settings = json.loads((run / "tune" / "s.json").read_bytes())["methods"]["zero-shot"]["settings"]
    assert settings == {"templates": templates, "tried": 1}


def test_an_encoder_without_words_is_refused_before_any_work(workplace):
    with pytest.raises(FastptError, match="tiny-s0 has no text tower to name classes by"):
        tune_command(workplace / "runs" / "tiny-s0", methods=["zero-shot"])


def test_features_without_an_encoder_are_refused(features):
    features()
    with pytest.raises(FastptError, match="a suite of features has no text tower"):
        tune_command(suite="texts.yaml", methods=["zero-shot"])


def test_names_that_are_no_words_or_stand_twice_are_told(encoder, tmp_path, capsys):
    listing = made_up(24)
    split = str(prepared(tmp_path / "split", replace(listing, class_names=["0", "1", "crane", "crane"])).path)
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump({"name": "s", "id": [{"name": "pictures", "train": split, "test": split}]}))
    tune_command(encoder=encoder[0], suite=str(suite), methods=["zero-shot"], out=tmp_path / "found.json")
    told = [line for line in capsys.readouterr().err.splitlines() if "class names" in line]
    end = "; they are taken as they are. Prepare the split with names (classes.json beside class folders)."
    start = "tune: id pictures: zero-shot:"
    assert told == [
        f"{start} 2 of 4 class names are no words, such as '0'{end}",
        f"{start} 1 of 4 class names stand for several classes, of which the first alone wins, such as 'crane'{end}",
    ]


def test_a_tokenizer_that_is_not_to_be_had_is_told_before_any_work(encoder, tmp_path, monkeypatch):
    def gone(name):
        raise OSError("no network")

    split = str(prepared(tmp_path / "split", made_up(24)).path)
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump({"name": "s", "id": [{"name": "pictures", "train": split, "test": split}]}))
    monkeypatch.setattr(open_clip, "get_tokenizer", gone)
    with pytest.raises(FastptError, match=r"^the tokenizer of .* could not be had \(OSError: no network\)"):
        tune_command(encoder=encoder[0], suite=str(suite), methods=["zero-shot"], out=tmp_path / "found.json")
