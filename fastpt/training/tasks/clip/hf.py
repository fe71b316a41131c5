"""An open_clip model as transformers' CLIPModel, with its tokenizer and image processor.

transformers has the CLIP of OpenAI's paper with ViT towers, and no other: what does not come out the same is refused.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
import transformers
from PIL import Image
from torch import Tensor

from fastpt.errors import FastptError

# Keys of open_clip's configurations that have a place in transformers', or none there and no effect after training.
KNOWN = {
    "vision_cfg": {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "patch_dropout"},
    "text_cfg": {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"},
}
PLAIN = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
NAMES = {  # of open_clip, of transformers
    "text": {
        "token_embedding.weight": "embeddings.token_embedding.weight",
        "positional_embedding": "embeddings.position_embedding.weight",
        "ln_final": "final_layer_norm",
    },
    "vision": {
        "class_embedding": "embeddings.class_embedding",
        "conv1.weight": "embeddings.patch_embedding.weight",
        "positional_embedding": "embeddings.position_embedding.weight",
        "ln_pre": "pre_layrnorm",
        "ln_post": "post_layernorm",
    },
}
BLOCK = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj"} | {
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
TOLERANCE = 1e-4  # of unit features in fp32, between the two libraries


def write(folder: Path, config: dict, weights: Mapping[str, Tensor], preprocess: dict) -> None:
    """Write what `transformers.CLIPModel.from_pretrained` and `AutoProcessor` load; see `TaskKind.export`.

    Raises FastptError where transformers has no such model.
    """
    _check(config, weights)
    model = transformers.CLIPModel(_config(config)).eval()
    model.load_state_dict(dict(_renamed(weights)), strict=True)
    _check_same(model, config, weights)
    model.save_pretrained(folder)
    size = config["vision_cfg"]["image_size"]
    images = transformers.CLIPImageProcessor(
        size={"shortest_edge": round(size / preprocess["crop_fraction"])},
        crop_size=size,
        resample=Image.Resampling[preprocess["interpolation"].upper()],
        image_mean=preprocess["mean"],
        image_std=preprocess["std"],
    )
    transformers.CLIPProcessor(images, _tokenizer(config["text_cfg"].get("context_length", 77))).save_pretrained(folder)


def _check(config: dict, weights: Mapping[str, Tensor]) -> None:
    beyond = ["a logit bias (clip.loss sigmoid)"] if "logit_bias" in weights else []
    beyond += [key for key, value in config.items() if key not in PLAIN and value]
    for part, known in KNOWN.items():
        beyond += [f"{part}.{key}" for key, value in config[part].items() if key not in known and value is not None]
    if isinstance(config["vision_cfg"].get("layers"), list):
        beyond.append("a ResNet as picture tower")
    if beyond:
        raise FastptError(
            f"transformers' CLIP does not have {', '.join(beyond)}. Leave --format out, to export what open_clip loads."
        )


def _config(config: dict) -> transformers.CLIPConfig:
    vision, text = config["vision_cfg"], config["text_cfg"]
    both = {"projection_dim": config["embed_dim"], "hidden_act": "quick_gelu" if config.get("quick_gelu") else "gelu"}
    width, text_width = vision.get("width", 768), text.get("width", 512)
    return transformers.CLIPConfig(
        projection_dim=config["embed_dim"],
        vision_config={
            "image_size": vision["image_size"],
            "patch_size": vision.get("patch_size") or 16,
            "hidden_size": width,
            "intermediate_size": int(width * vision.get("mlp_ratio", 4.0)),
            "num_hidden_layers": vision.get("layers", 12),
            "num_attention_heads": width // vision.get("head_width", 64),
            **both,
        },
        text_config={
            "vocab_size": text.get("vocab_size", 49408),
            "max_position_embeddings": text.get("context_length", 77),
            "hidden_size": text_width,
            "intermediate_size": int(text_width * text.get("mlp_ratio", 4.0)),
            "num_hidden_layers": text.get("layers", 12),
            "num_attention_heads": text.get("heads", 8),
            **both,
        },
    )


def _renamed(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights.items():
        tower, inner = ("vision", name.removeprefix("visual.")) if name.startswith("visual.") else ("text", name)
        if name == "logit_scale":
            yield name, tensor.reshape(())
        elif inner in ("text_projection", "proj"):  # rows are the tower's, a Linear's are those of the embedding
            yield f"{'visual' if tower == 'vision' else 'text'}_projection.weight", tensor.T.contiguous()
        elif inner.startswith("transformer.resblocks."):
            number, part = inner.removeprefix("transformer.resblocks.").split(".", 1)
            for own, value in _block(part, tensor):
                yield f"{tower}_model.encoder.layers.{number}.{own}", value
        else:
            yield f"{tower}_model.{_replaced(inner, NAMES[tower])}", tensor


def _block(part: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if part.startswith("attn.in_proj_"):  # queries, keys and values in one
        kind = part.removeprefix("attn.in_proj_")
        for name, third in zip("qkv", tensor.chunk(3), strict=True):
            yield f"self_attn.{name}_proj.{kind}", third.contiguous()
    else:
        yield _replaced(part, BLOCK), tensor


def _replaced(name: str, names: Mapping[str, str]) -> str:
    for ours, theirs in names.items():
        if name == ours or name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    return name


@torch.no_grad()
def _check_same(model: Any, config: dict, weights: Mapping[str, Tensor]) -> None:
    """Raise FastptError unless both libraries give the same features."""
    from fastpt.training.tasks.clip.task import build_model

    ours = build_model(config)
    ours.load_state_dict({**weights, "logit_scale": weights["logit_scale"].reshape(())}, strict=True)
    ours.eval()
    size, context = config["vision_cfg"]["image_size"], config["text_cfg"].get("context_length", 77)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    tokens = open_clip.SimpleTokenizer(context_length=context)(["a photo", "another one"])
    found = model(pixel_values=images, input_ids=tokens)
    wanted = ours(image=images, text=tokens)
    for name, theirs in (("image_features", found.image_embeds), ("text_features", found.text_embeds)):
        if (wanted[name] - theirs).abs().max() > TOLERANCE:
            raise FastptError(
                f"transformers' CLIP gives other {name.replace('_', ' ')} for these weights. Export it as open_clip "
                "loads it: leave --format out."
            )


def _tokenizer(context: int) -> transformers.CLIPTokenizer:
    """CLIP's byte-pair encoding, of the file that comes with open_clip."""
    theirs = open_clip.SimpleTokenizer(context_length=context)
    vocabulary = {theirs.decoder[number]: number for number in range(theirs.vocab_size - 2)}
    vocabulary |= {"<|startoftext|>": theirs.sot_token_id, "<|endoftext|>": theirs.eot_token_id}
    merges: Any = sorted(theirs.bpe_ranks, key=theirs.bpe_ranks.__getitem__)  # pairs, which its hint does not know
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=context)
