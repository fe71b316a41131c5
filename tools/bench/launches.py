"""What a training step asks of a GPU, by part, counted without one: operations dispatched, and waits.

    python -m tools.bench.launches [--recipe resnet50_in1k_a2] [--batch 256] [--set ema=0.999] [--json]

Tensors of the augmentation live on torch's `meta` device, which computes nothing and refuses to be read; the rest runs
on the CPU with the optimisers told to launch as on CUDA. An operation that makes a view is none; one over a list of
tensors (`_foreach_...`) is one, where a GPU may need a few kernels. A wait is a value read back by the host, or
DeepSpeed's synchronisation of the device. Some operations of the CPU are a different number of kernels on a GPU, so the
numbers compare; they are no profile (`tools/gpu_check` takes that).
"""

import contextlib
import io
import json
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any
from unittest import mock

import click
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

REST = "loss, and the loop"
WAITS = {"_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal", "unique", "_unique2"}
READS = {"detach", "alias", "_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
SIZE = 32  # pixels: what is dispatched does not depend on it


@contextlib.contextmanager
def parts(of: Callable[[str], contextlib.AbstractContextManager], skip: Callable | None = None) -> Iterator[None]:
    """Within, trainings enter `of(part)` while they compute a part of a step; what is in no part is the loop's.

    `skip`: is given the augmentation and its arguments instead of `of`.
    """
    from timm.data.mixup import Mixup

    from fastpt.training.deepspeed_adapter import Engine
    from fastpt.training.tasks.clip import task as clip
    from fastpt.training.tasks.supervised import task as supervised
    from fastpt.training.weights import Ema

    def within(part: str, function: Callable) -> Callable:
        @wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:
            with of(part):
                return function(*arguments, **named)

        return run

    augmented = supervised.augmented
    augment = within("augmentation", augmented) if skip is None else lambda *arguments: skip(augmented, *arguments)
    places: list[tuple[Any, str, Callable]] = [
        (supervised, "augmented", augment),
        (clip, "augmented", augment),
        (Mixup, "__call__", within("mixup", Mixup.__call__)),
        (Engine, "__call__", within("forward pass", Engine.__call__)),
        (Engine, "backward", within("backward pass", Engine.backward)),
        (Engine, "step", within("optimiser", Engine.step)),
        (Ema, "follow", within("moving average", Ema.follow)),
    ]
    with contextlib.ExitStack() as patches:
        for owner, name, replacement in places:
            patches.enter_context(mock.patch.object(owner, name, replacement))
        yield


class Count(TorchDispatchMode):
    """Counts, by the part that is entered, what is dispatched; with `device`, what has a tensor there."""

    def __init__(self) -> None:
        super().__init__()
        self.part, self.device = REST, "cpu"
        self.operations: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.on_host: set[int] = set()  # what a GPU's training, too, keeps on the CPU

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        out = operation(*arguments, **(named or {}))
        name = operation.overloadpacket.__name__
        tensors = [one for one in tree_leaves((arguments, named, out)) if torch.is_tensor(one)]
        devices = {one.device.type for one in tensors if one.ndim or one.device.type == self.device}
        if self.device not in devices:
            return out
        if name in WAITS:
            if arguments and id(arguments[0]) in self.on_host:
                return out
            self.waits[self.part] += 1
        elif name in {"_to_copy", "copy_"} and len(devices) > 1:
            self.copies[self.part] += 1
        elif len(devices) > 1:
            raise AssertionError(f"{name} has tensors on {devices}: a GPU would wait for a hidden copy")
        elif name not in READS and not operation.is_view:
            self.operations[self.part] += 1
        return out

    @contextlib.contextmanager
    def of(self, part: str) -> Iterator[None]:
        before, self.part = self.part, part
        try:
            yield
        finally:
            self.part = before

    def on_a_device(self, function: Callable, images: torch.Tensor, *rest: Any) -> Any:
        """Count `function` where nothing is computed, then run it uncounted."""
        with self.of("augmentation"):
            self.device = "meta"
            function(images.to("meta"), *rest)
            self.device = "cpu"
        with _disable_current_modes():
            return function(images, *rest)


def counted(recipe: Any) -> Count:
    """Of one step, after some that do what is done once."""
    from deepspeed.accelerator import get_accelerator

    from fastpt.training.pace import Since
    from fastpt.training.run import rehearsal

    count = Count()

    def wait(*_: Any) -> None:
        count.waits[count.part] += 1

    with (
        mock.patch("torch.optim.optimizer._get_foreach_kernels_supported_devices", return_value=["cpu"]),
        mock.patch.object(type(get_accelerator()), "synchronize", wait),
        rehearsal(recipe) as training,
    ):
        training.try_steps(3)  # DeepSpeed's own timer begins after some
        count.waits.clear()
        optimizer_ = training.engine._optimizer
        counters = [state.get("step") for state in [*optimizer_.param_groups, *optimizer_.state.values()]]
        count.on_host = {id(counter) for counter in counters if torch.is_tensor(counter)}
        batches = iter(list(training.loader)[:1] * recipe.engine.gradient_accumulation_steps)
        with parts(count.of, count.on_a_device), count:
            training._step(3, batches, Since(), logged=False)
    return count


def noise(tar: Path) -> Path:
    """A tar of one picture."""
    import numpy as np
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(buffer, "JPEG")
    with tarfile.open(tar, "w") as file:
        entry = tarfile.TarInfo("noise.jpg")
        entry.size = buffer.tell()
        buffer.seek(0)
        file.addfile(entry, buffer)
    return tar


@click.command(help=__doc__)
@click.option("--recipe", "name", default="resnet50_in1k_a2")
@click.option("--batch", default=256)
@click.option("--set", "changes", multiple=True)
@click.option("--json", "as_json", is_flag=True)
def main(name: str, batch: int, changes: tuple[str, ...], as_json: bool) -> None:
    from tools.bench.pictures import prepared
    from tools.bench.recipes import of_pictures

    with tempfile.TemporaryDirectory() as folder:
        split = prepared(noise(Path(folder, "noise.tar")), Path(folder), 1000 + batch, classes=1000, captions=True).path
        fixed = [f"data.size={SIZE}", "data.sizes=null", f"batch_size={batch}", "schedule={steps: 10}"]
        fixed.append("engine.gradient_accumulation_steps=1")
        count = counted(of_pictures(name, split, "synthetic", *fixed, *changes))
    found = {
        part: {"operations": count.operations[part], "copies": count.copies[part], "waits": count.waits[part]}
        for part in sorted({*count.operations, *count.copies, *count.waits}, key=lambda part: -count.operations[part])
    }
    if as_json:
        print(json.dumps(found))
        return
    for part, numbers in found.items():
        print(
            f"{part:20} {numbers['operations']:6,} operations {numbers['copies']:4} copies {numbers['waits']:3} waits"
        )


if __name__ == "__main__":
    main()
