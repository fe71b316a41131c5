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
    loss: Callable[..., Tensor],
    seed_piece: Callable[[int], None],
) -> Iterator[Tensor]:
    """The loss of the whole batch, once for each piece; float32 scalars whose mean has the gradient of that loss.

    Run each backward pass before the next piece is asked for, with the gradient divided by the number of pieces, as
    DeepSpeed's accumulation does.

    Args:
        forward: gives image_features and text_features [n, D] of a piece, logit_scale [1] and perhaps logit_bias [1].
        model: what `forward` runs. Its BatchNorms normalise by the piece in both passes, as in plain accumulation, but
            move their running statistics in the second only.
        pieces: the arguments of `forward`.
        loss: of the features [N, D] of all pieces, in their order, logit_scale, and logit_bias if there is one; it may
            gather over processes.
        seed_piece: seeds the random generators for a piece, the same each time.
    """
    with torch.no_grad(), _still_statistics(model):
        outputs = []
        for number, piece in enumerate(pieces):
            seed_piece(number)
            outputs.append(forward(**piece))
    names = ("image_features", "text_features")
    features = [torch.cat([output[name].float() for output in outputs]).requires_grad_() for name in names]
    scalars = [name for name in ("logit_scale", "logit_bias") if name in outputs[0]]
    inputs = [*features, *(outputs[0][name].float().requires_grad_() for name in scalars)]
    whole = loss(*inputs)
    gradients = torch.autograd.grad(whole, inputs)
    of_scalars = dict(zip(scalars, gradients[len(names) :], strict=True))
    whole = whole.detach()
    sizes = [len(output["image_features"]) for output in outputs]
    for number, (piece, *parts) in enumerate(
        zip(pieces, *(each.split(sizes) for each in gradients[: len(names)]), strict=True)
    ):
        seed_piece(number)
        output = forward(**piece)
        surrogate = whole.new_zeros(())
        for name, gradient in of_scalars.items():
            surrogate = surrogate + (output[name].float() * gradient).sum() / len(pieces)
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
