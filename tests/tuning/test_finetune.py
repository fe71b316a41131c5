"""Fine-tuning of a tiny encoder on made-up pictures."""

import dataclasses
from operator import attrgetter

import numpy as np
import pytest
import timm
import torch
import yaml

from fastpt import Loader
from fastpt.errors import FastptError
from fastpt.files import read_sealed_json
from fastpt.tuned import FORMAT as TUNE_FORMAT
from fastpt.tuning.command import tune_command
from fastpt.tuning.encoders import open_encoder
from fastpt.tuning.encoders.encoder import Encoder, Preprocessing, check_trainable, weights_sha256
from fastpt.tuning.finetune import _batches, finetune, trainable
from fastpt.tuning.methods import TrainingImages
from fastpt.tuning.methods.finetune import LP_LORA, NMTUNE_FULL
from fastpt.tuning.methods.head_training import HeadTraining
from tests.conftest import made_up, prepared
from tests.tuning.conftest import finished_run

SHORT = HeadTraining(lr=0.01, weight_decay=1e-4, mlp="paper", reg_weight=0.01, epochs=1, batch_size=8)
CROP = Preprocessing(size=32, crop_fraction=1.0, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    """A ResNet in which every layer counts: timm begins the last BatchNorm of each block at 0."""
    found = open_encoder(f"run:{finished_run(tmp_path_factory.mktemp('runs'))}")
    for module in found.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.fill_(1)
    return dataclasses.replace(found, weights_sha256=weights_sha256(found.model))


def tuned(encoder, labelled, kind="lora", seed=0, training=SHORT, variant="paper"):
    labels = labelled.targets(None, of="labels")
    pictures = TrainingImages(encoder, labelled, np.arange(len(labelled)), "cpu", 2)
    return finetune(pictures, labels, 4, kind, training, seed, variant)


def pictures(size: int = 40) -> torch.Tensor:
    return torch.randint(256, (3, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def transformer(drop: float = 0.0) -> Encoder:
    """A ViT with one attention of torch, whose output projection is never called, only read."""
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", depth=1, img_size=32, num_classes=0, proj_drop_rate=drop)
    attention = torch.nn.MultiheadAttention(192, 3, batch_first=True)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.vit, self.attention = vit, attention

        def forward(self, pixels):
            tokens = self.vit.forward_features(pixels)
            return self.attention(tokens, tokens, tokens, need_weights=False)[0][:, 0]

    model = Model().eval().requires_grad_(False)
    return Encoder("vit", "a" * 64, CROP, "vit", model, torch.device("cpu"), model=model)


def clip_tower() -> Encoder:
    """A CLIP model of open_clip with a ViT of two blocks, whose text tower has layers of the same names."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(layers=2, width=64, head_width=32, patch_size=16, image_size=32)
    model = CLIP(32, vision, CLIPTextCfg(context_length=8, vocab_size=50, width=32, heads=2, layers=1))
    model = model.eval().requires_grad_(False)
    return Encoder("clip", "a" * 64, CROP, "clip", model.encode_image, torch.device("cpu"), model=model)


@pytest.mark.parametrize("make", ["resnet", "transformer"])
def test_lora_begins_at_the_frozen_encoder(encoder, make):
    start = encoder if make == "resnet" else transformer()
    adapted = trainable(start, "lora", 0)
    for name, weight in start.model.named_parameters():
        assert torch.equal(attrgetter(name)(adapted.model), weight)
    images = pictures(start.preprocessing.size)
    torch.testing.assert_close(adapted(images), start(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", ["resnet", "transformer"])
def test_every_adapter_moves_the_features(encoder, make):
    adapted = trainable(encoder if make == "resnet" else transformer(), "lora", 0)
    images = pictures(adapted.preprocessing.size)
    before = adapted(images)
    ups = [value for name, value in adapted.model.named_parameters() if name.endswith(".B")]
    assert len(ups) >= 6
    for up in ups:
        up.data.normal_(generator=torch.Generator().manual_seed(0))
        assert not torch.equal(adapted(images), before)
        up.data.zero_()


def test_lora_trains_adapters_alone(encoder, labelled):
    result, _ = tuned(encoder, labelled)
    before = encoder.model.state_dict()
    after = {
        name.replace("parametrizations.weight.original", "weight"): value
        for name, value in result.model.state_dict().items()
    }
    assert all(torch.equal(after[name], value) for name, value in before.items())
    adapters = [after[name] for name in after.keys() - before.keys()]
    assert sum(value.numel() for value in adapters) < 0.5 * sum(value.numel() for value in before.values())
    assert all(value.any() for value in adapters)


def test_full_trains_all_weights_and_keeps_the_statistics(encoder, labelled):
    result, _ = tuned(encoder, labelled, "full")
    before, after = encoder.model.state_dict(), result.model.state_dict()
    trained = {name for name, _ in encoder.model.named_parameters()}
    assert {name for name in before if not torch.equal(before[name], after[name])} == trained


def as_in_the_authors_code(method) -> HeadTraining:
    return dataclasses.replace(method.training_of(variant="reference-code"), epochs=1, batch_size=8)


def test_as_in_the_authors_code_full_moves_the_statistics_too_and_answers_without_them_moving(encoder, labelled):
    result, heads = tuned(encoder, labelled, "full", 0, as_in_the_authors_code(NMTUNE_FULL), "reference-code")
    before, after = encoder.model.state_dict(), result.model.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in before)  # num_batches_tracked among them
    assert any(name.endswith("running_var") for name in before)
    assert not any(module.training for module in [*result.model.modules(), *heads.modules()])
    assert heads.mlp is None


@pytest.mark.parametrize(
    ("make", "layers"), [("timm", {"mlp.fc1", "mlp.fc2"}), ("open_clip", {"mlp.c_fc", "mlp.c_proj"})]
)
def test_as_in_the_authors_code_adapters_stand_beside_the_mlp_layers_alone(make, layers):
    start = transformer() if make == "timm" else clip_tower()
    adapted = trainable(start, "lora", 0, "reference-code")
    trained = {name: value for name, value in adapted.model.named_parameters() if value.requires_grad}
    found = {name.split(".parametrizations.")[0] for name in trained}
    assert {name[name.rindex("mlp.") :] for name in found} == layers
    assert len(trained) == 2 * len(found)  # A and B of each, and no bias
    (name,) = [name for name in found if name.endswith(("blocks.0.mlp.fc1", "resblocks.0.mlp.c_fc"))]
    lora = attrgetter(f"{name}.parametrizations.weight")(adapted.model)[0]
    lora.B.data.normal_(generator=torch.Generator().manual_seed(0))
    assert lora.B.shape[1] == len(lora.A) == 8
    weight = attrgetter(name)(start.model).weight
    torch.testing.assert_close(attrgetter(name)(adapted.model).weight, weight + lora.B @ lora.A)  # α / r = 1


def test_lora_as_in_the_authors_code_trains_what_it_adds_alone(labelled):
    start = transformer()
    result, _ = tuned(start, labelled, "lora", 0, as_in_the_authors_code(LP_LORA), "reference-code")
    before, after = start.model.state_dict(), result.model.state_dict()
    after = {name.replace("parametrizations.weight.original", "weight"): value for name, value in after.items()}
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(after[name].any() for name in after.keys() - before.keys())


def test_lora_as_in_the_authors_code_is_refused_without_transformer_blocks(encoder):
    with pytest.raises(FastptError, match=r"no transformer blocks .* Leave --variant out, .* --finetune full"):
        trainable(encoder, "lora", 0, "reference-code")


def test_what_a_model_drops_in_training_mode_is_by_the_seed(labelled):
    training, found = as_in_the_authors_code(LP_LORA), []
    for seed in (3, 3):
        start = transformer(drop=0.5)
        torch.rand(seed + len(found))  # the state of torch's own generator is nobody's business
        before = torch.get_rng_state()
        result, head = tuned(start, labelled, "lora", seed, training, "reference-code")
        assert torch.equal(torch.get_rng_state(), before)
        found.append((result.weights_sha256, head.classifier.weight))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_pre_trained_encoder_stays_as_it_was(encoder, labelled, kind):
    images = pictures()
    before = encoder(images)
    result, _ = tuned(encoder, labelled, kind)
    assert torch.equal(encoder(images), before)
    assert weights_sha256(encoder.model) == encoder.weights_sha256 != result.weights_sha256
    assert not any(value.requires_grad for value in encoder.model.parameters())
    assert not torch.allclose(result(images), before)


def test_the_same_seed_gives_the_same_result(encoder, labelled):
    (first, head), (again, again_head), (other, _) = (tuned(encoder, labelled, seed=seed) for seed in (3, 3, 4))
    assert first.weights_sha256 == again.weights_sha256 != other.weights_sha256
    assert torch.equal(head.classifier.weight, again_head.classifier.weight)


def test_the_consistency_term_holds_on_to_the_pre_trained_features(encoder, labelled):
    images = pictures()
    away = []
    for reg_weight in (0.0, 100.0):
        training = dataclasses.replace(
            SHORT, mlp=None, reg_weight=reg_weight, weights=SHORT.weights._replace(dominance=0.0)
        )
        result, _ = tuned(encoder, labelled, "full", training=training)
        away.append(1 - torch.cosine_similarity(result(images), encoder(images)).mean())
    assert away[1] < 0.5 * away[0]


def test_batches_are_full_and_of_the_wanted_samples_once_an_epoch(labelled):
    wanted = np.array([1, 4, 6, 7, 20, 30, 31, 39])
    with _loaded(labelled, order="random") as loader:
        stream = _batches(loader, wanted, 6)
        found = [next(stream) for _ in range(4)]
    assert all(images.shape == (6, 40, 40, 3) for images, _ in found)
    seen = torch.cat([ids for _, ids in found]).view(3, 8)
    assert [sorted(epoch) for epoch in seen.tolist()] == 3 * [wanted.tolist()]
    assert len({tuple(epoch) for epoch in seen.tolist()}) > 1


def _loaded(dataset, order="sequential"):
    return Loader(
        dataset,
        40,
        40,
        crop="center",
        crop_fraction=0.9,
        interpolation="bilinear",
        order=order,
        seed=0,
        threads=2,
        drop_last=False,
    )


def test_the_table_has_a_column_for_fine_tuning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path / "data", made_up(24))
    (tmp_path / "s.yaml").write_text(
        yaml.safe_dump({"name": "s", "id": [{"name": "p", "train": "data/train", "test": "data/train"}]})
    )
    run = finished_run(tmp_path / "runs")
    methods = ["nmtune", "nmtune+lora"]
    results = tune_command(
        run, suite="s.yaml", methods=methods, num_seeds=2, epochs=1, threads=2, fractions=[0.5, 1.0]
    ).as_dict()
    rows = [row for row in results["rows"] if row["method"] == "nmtune+lora"]
    assert [(row["fraction"], row["seed"]) for row in rows] == [(0.5, 0), (0.5, 1), (1.0, 0), (1.0, 1)]
    assert [one["stage"] for one in results["spectra"]] == ["encoder", "nmtune", "nmtune+lora"]
    assert "NMTune+LoRA" in (run / "tune" / "s.txt").read_text()
    assert read_sealed_json(run / "tune" / "s.json", TUNE_FORMAT) == results


def test_what_cannot_be_fine_tuned_is_refused(encoder):
    with pytest.raises(FastptError, match="suite of features has no encoder"):
        check_trainable(None)
    with pytest.raises(FastptError, match="ONNX model, which has no gradients"):
        check_trainable(dataclasses.replace(encoder, model=None))
    narrow = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 2))
    with pytest.raises(FastptError, match=r"no layer wide enough .* --finetune full"):
        trainable(dataclasses.replace(encoder, model=narrow.requires_grad_(False)), "lora", 0)


def test_a_rate_that_diverges_is_an_error(encoder, labelled):
    with pytest.raises(FastptError, match=r"diverged at a learning rate of 1e\+30"):
        tuned(encoder, labelled, training=dataclasses.replace(SHORT, lr=1e30))


@pytest.mark.parametrize(
    ("kind", "variant", "rates"),
    [
        ("lora", "paper", (0.01, 0.01)),
        ("full", "paper", (0.01, 0.001)),
        ("lora", "reference-code", (0.01, 0.01)),
        ("full", "reference-code", (0.01, 0.01)),
    ],
)
def test_head_and_encoder_have_the_rates_of_their_variant(encoder, labelled, monkeypatch, kind, variant, rates):
    made, adamw = [], torch.optim.AdamW

    def seen(groups, **settings):
        optimizer = adamw(groups, **settings)
        made.append([(group["lr"], group["weight_decay"]) for group in optimizer.param_groups])
        return optimizer

    monkeypatch.setattr(torch.optim, "AdamW", seen)
    model = transformer() if (kind, variant) == ("lora", "reference-code") else encoder
    tuned(model, labelled, kind, variant=variant)
    assert made == [[(rate, 1e-4) for rate in rates]]
