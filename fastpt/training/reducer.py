"""Gradients averaged over processes while the backward pass still computes others.

As torch's DistributedDataParallel does it (Li et al. 2020, sections 3.2 and 4.2), for a model that is not wrapped:
gradients are put together into buckets, in the order in which they come, and a bucket is sent off as soon as it is
full, so that only the last one is waited for. Buckets leave in the same order on all processes, whatever comes first.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fastpt.errors import FastptError

FIRST_BUCKET, BUCKET = 1 << 20, 25 << 20  # bytes, as torch has them: the first is small, so that sending begins early


class GradientReducer:
    """Averages the gradients of parameters over all processes, within the backward pass that `begin` announces.

    The first such pass tells in which order gradients come; its own are sent when it has ended. A gradient that one
    process lacks counts as zero there.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], first_bucket: int = FIRST_BUCKET, bucket: int = BUCKET):
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._first_bucket, self._bucket = first_bucket, bucket
        self._buckets: list[list[nn.Parameter]] = []  # none until the order is known
        self._place: dict[nn.Parameter, int] = {}  # the bucket of each
        self._is_on = False
        self._came: dict[nn.Parameter, None] = {}  # in this pass, in order
        self._missing: list[int] = []  # gradients of each bucket
        self._sent: list[tuple[Tensor, dist.Work]] = []
        for parameter in self._parameters:
            parameter.register_post_accumulate_grad_hook(self._note)

    def begin(self) -> None:
        """The backward pass that follows is the last of its step: what it leaves is to be averaged."""
        self._is_on, self._came, self._sent = True, {}, []
        self._missing = [len(bucket) for bucket in self._buckets]

    def finish(self) -> None:
        """Wait for what is on its way; then all gradients are averages. Of a pass without `begin`, nothing happens."""
        if not self._is_on:
            return
        self._is_on = False
        if not self._buckets:
            self._cut(self._agreed_order())
        while len(self._sent) < len(self._buckets):
            self._send(self._buckets[len(self._sent)])
        for flat, work in self._sent:
            work.wait()
            flat /= dist.get_world_size()
        self._sent = []

    @torch.no_grad()
    def _note(self, parameter: nn.Parameter) -> None:
        """Autograd has added the last part of a parameter's gradient."""
        if not self._is_on:
            return
        if parameter in self._came:
            raise FastptError(
                "a weight's gradient came twice in one backward pass, after it may have been sent: the model computes "
                "parts of itself by an inner backward pass. Use engine.zero_stage 1."
            )
        self._came[parameter] = None
        if not self._buckets:
            return
        self._missing[self._place[parameter]] -= 1
        while len(self._sent) < len(self._buckets) and not self._missing[len(self._sent)]:
            self._send(self._buckets[len(self._sent)])

    @torch.no_grad()
    def _send(self, bucket: Sequence[nn.Parameter]) -> None:
        """Move the gradients of a bucket into one piece of memory, of which they are views from now on; send it."""
        flat = bucket[0].new_empty(sum(parameter.numel() for parameter in bucket))
        start = 0
        for parameter in bucket:
            # With the strides of the weight, as the gradient has them: channels_last is not shuffled.
            view = flat.as_strided(parameter.shape, parameter.stride(), start)
            view.zero_() if parameter.grad is None else view.copy_(parameter.grad)
            parameter.grad = view
            start += parameter.numel()
        work = dist.all_reduce(flat, async_op=True)
        assert work is not None
        self._sent.append((flat, work))

    def _agreed_order(self) -> list[nn.Parameter]:
        """In which the gradients came on the first process; those that did not are the last."""
        numbers = {parameter: number for number, parameter in enumerate(self._parameters)}
        told = [[numbers[parameter] for parameter in dict.fromkeys([*self._came, *self._parameters])]]
        dist.broadcast_object_list(told, src=0)
        return [self._parameters[number] for number in told[0]]

    def _cut(self, order: Iterable[nn.Parameter]) -> None:
        """Buckets of gradients of one type and device, each as soon full as it has its number of bytes."""
        self._buckets, size = [], 0
        for parameter in order:
            limit = self._bucket if len(self._buckets) > 1 else self._first_bucket
            last = self._buckets[-1][-1] if self._buckets else None
            if last is None or size >= limit or (last.dtype, last.device) != (parameter.dtype, parameter.device):
                self._buckets.append([])
                size = 0
            self._buckets[-1].append(parameter)
            size += parameter.numel() * parameter.element_size()
        self._place = {parameter: number for number, bucket in enumerate(self._buckets) for parameter in bucket}
