"""The contrastive gradient of a whole batch from pieces that fit into memory: GradCache (Gao et al. 2021, section 3).

Plain accumulation would contrast each pair with its own piece only, which is another loss. Here a first pass without
gradients collects the embeddings of all pieces; the loss over the whole batch gives the gradient of each embedding;
and a second pass computes each piece again, with the same random numbers, and sends its part of that gradient on. It
costs one more forward pass, and memory for one piece's activations and the whole batch's embeddings.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def whole_batch_losses(
    forward: Callable[..., dict[str, Tensor]],
    model: nn.Module,
    pieces: Sequence[Mapping[str, Tensor]],
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    seed_piece: Callable[[int], None],
) -> Iterator[Tensor]:
    """The loss of the whole batch, once for each piece; float32 scalars whose mean has the gradient of that loss.

    Run each backward pass before the next piece is asked for, with the gradient divided by the number of pieces, as
    DeepSpeed's accumulation does.

    Args:
        forward: gives image_features and text_features [n, D] and logit_scale [1] of a piece.
        model: what `forward` runs. Its BatchNorms normalise by the piece in both passes, as in plain accumulation, but
            move their running statistics in the second only.
        pieces: the arguments of `forward`.
        loss: of the features [N, D] of all pieces, in their order, and logit_scale; it may gather over processes.
        seed_piece: seeds the random generators for a piece, the same each time.
    """
    with torch.no_grad(), _still_statistics(model):
        outputs = []
        for number, piece in enumerate(pieces):
            seed_piece(number)
            outputs.append(forward(**piece))
    names = ("image_features", "text_features")
    features = [torch.cat([output[name].float() for output in outputs]).requires_grad_() for name in names]
    scale = outputs[0]["logit_scale"].float().requires_grad_()
    whole = loss(features[0], features[1], scale)
    *gradients, scale_gradient = torch.autograd.grad(whole, [*features, scale])
    whole = whole.detach()
    sizes = [len(output["image_features"]) for output in outputs]
    for number, (piece, *parts) in enumerate(zip(pieces, *(each.split(sizes) for each in gradients), strict=True)):
        seed_piece(number)
        output = forward(**piece)
        surrogate = (output["logit_scale"].float() * scale_gradient).sum() / len(pieces)
        for name, part in zip(names, parts, strict=True):
            surrogate = surrogate + (output[name].float() * part).sum()
        # The value of the loss, with the gradient of the surrogate.
        yield whole + len(pieces) * (surrogate - surrogate.detach())


@contextlib.contextmanager
def _still_statistics(model: nn.Module) -> Iterator[None]:
    """Within, BatchNorm in training neither reads nor moves its running statistics."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
