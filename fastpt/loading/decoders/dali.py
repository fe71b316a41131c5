"""Decoding with NVIDIA DALI, on the CPU or by nvJPEG on a GPU: one graph, fed with the same bytes, boxes and flips.

Choices that decide the pixels: EXIF orientation is not applied (boxes are in stored pixels), chroma is upsampled as
libjpeg-turbo does it, and every resize is antialiased. DALI has no area filter; its antialiased triangular one
(`bilinear`) stands in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from fastpt.errors import FastptError
from fastpt.jpeg import Interpolation
from fastpt.loading.batch import DecodedBatch
from fastpt.loading.reading import AHEAD, BatchReader, ReadBatch

if TYPE_CHECKING:
    import torch


class DaliDecoder:
    """Decodes through one DALI pipeline with `threads` threads, on `device`."""

    devices = ("cpu", "cuda")
    reads = True
    options = {
        "hw_decoder_load": "share of the pictures that a GPU's own JPEG decoder takes (A100, H100), from 0 to 1; CUDA "
        "cores decode the rest. Above 0 (the default) a picture's last bits depend on the batch it is in"
    }

    def __init__(
        self,
        size: int,
        interpolation: Interpolation,
        threads: int,
        device: torch.device,
        batch_size: int,
        hw_decoder_load: float = 0.0,
    ):
        import torch

        self._dali = _dali()
        if not 0 <= hw_decoder_load <= 1:
            raise FastptError(f"the loader's hw_decoder_load is {hw_decoder_load!r}. It must be from 0 to 1.")
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        self.size, self.threads = size, threads
        self.interpolation: Interpolation = interpolation
        self.device, self.batch_size, self.hw_decoder_load = device, batch_size, hw_decoder_load
        # Torch hands memory out again in the order of the stream that it was taken on. Pictures are written here while
        # the stream that reads them may be steps behind, so their memory is taken on a stream of this decoder's own.
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._source = _Source()
        self._pipeline: Any = None

    def batches(self, reader: BatchReader, positions: Iterable[np.ndarray]) -> Generator[DecodedBatch, None, None]:
        """The batches, in order; `AHEAD` more are in work, and as many done."""
        import torch

        with closing(_in_background(self._batches(reader, positions), AHEAD, self._use_device)) as batches:
            for batch in batches:
                if self._stream:  # given out again only once the reader's stream is past the tensor's end
                    batch.images.record_stream(torch.cuda.current_stream(self.device))
                yield batch

    def close(self) -> None:
        """Free the pipeline with its threads and its memory on the GPU."""
        self._pipeline = None

    def _use_device(self) -> None:
        """To be called in each thread that touches CUDA: a new one is on device 0, whatever the process has set."""
        import torch

        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)

    def _batches(self, reader: BatchReader, positions: Iterable[np.ndarray]) -> Generator[DecodedBatch, None, None]:
        import torch

        if self._pipeline is None:
            self._pipeline = self._build()
        pipeline, inside = self._pipeline, deque()
        reading = reader.batches(positions, self.threads)
        self._source.feeds = _feeds(reading, inside)
        try:
            pipeline.schedule_run()  # the first one fills the queue
            while (outputs := self._outputs(pipeline, inside)) is not None:
                yield from self._empties(inside)
                read = inside.popleft()
                with torch.cuda.stream(self._stream):
                    images = torch.empty(outputs.shape(), dtype=torch.uint8, device=self.device)
                self._dali.plugin.pytorch.feed_ndarray(outputs, images)  # returns when the copy is done
                pipeline.release_outputs()
                pipeline.schedule_run()
                yield DecodedBatch(images, read.sample_ids, read.views)
            yield from self._empties(inside)
            pipeline.reset()
        except BaseException:
            self._pipeline = None  # it failed, or holds batches that nobody wants
            raise
        finally:
            reading.close()

    def _outputs(self, pipeline: Any, inside: deque[ReadBatch]) -> Any:
        """DALI's tensor of the oldest batch that is not empty, or None at the end."""
        try:
            (outputs,) = pipeline.share_outputs()
        except StopIteration:
            return None
        except RuntimeError as error:
            ids = next(read for read in inside if read.jpegs).sample_ids.tolist()
            raise FastptError(
                f"DALI cannot decode one of the samples {ids}, though their bytes are those that were stored: "
                f"{_gist(error)}. Use decoder cpu, or prepare the split without it."
            ) from error
        return outputs.as_tensor()

    def _empties(self, inside: deque[ReadBatch]) -> Iterator[DecodedBatch]:
        """The empty batches that come next."""
        import torch

        while inside and not inside[0].jpegs:
            read = inside.popleft()
            images = torch.empty((0, self.size, self.size, 3), dtype=torch.uint8, device=self.device)
            yield DecodedBatch(images, read.sample_ids, read.views)

    def _build(self) -> Any:
        """The same pixels on CPU and GPU. A CPU decodes only the boxes; a GPU whole pictures.

        nvJPEG before 13.2 is wrong at the edges of a region with smooth chroma: nvImageCodec then passes each photo on
        to another decoder, with a warning (seen on an H200, CUDA 13.0). And its 0.9.0 is reported to crash there (issue
        55).
        """
        fn, types, on_gpu = self._dali.fn, self._dali.types, self.device.type == "cuda"
        filters = {
            "area": types.INTERP_TRIANGULAR,
            "bilinear": types.INTERP_TRIANGULAR,
            "bicubic": types.INTERP_CUBIC,
        }

        @self._dali.pipeline_def(
            batch_size=self.batch_size,
            num_threads=self.threads,
            device_id=self.device.index if on_gpu else None,
            prefetch_queue_depth=AHEAD,
        )
        def graph():
            jpegs, anchors, shapes, flips = fn.external_source(self._source, num_outputs=4, batch=True)
            choices = {"adjust_orientation": False, "jpeg_fancy_upsampling": True}
            if on_gpu:
                pictures = fn.decoders.image(jpegs, device="mixed", hw_decoder_load=self.hw_decoder_load, **choices)
                images = fn.slice(pictures, anchors, shapes, axis_names="HW")
            else:
                images = fn.decoders.image_slice(jpegs, anchors, shapes, axis_names="HW", **choices)
            size = [self.size, self.size]
            images = fn.resize(images, size=size, interp_type=filters[self.interpolation], antialias=True)
            return fn.flip(images, horizontal=flips)

        pipeline = graph()
        pipeline.build()
        return pipeline


class _Source:
    """Where the pipeline asks for its next batch. It outlives epochs; `feeds` are those of one."""

    feeds: Iterator[tuple]

    def __call__(self) -> tuple:
        return next(self.feeds)


def _feeds(batches: Iterable[ReadBatch], inside: deque[ReadBatch]) -> Iterator[tuple]:
    """The graph's inputs for each batch; what was read is noted in `inside`. DALI takes no empty batch: none is fed."""
    for read in batches:
        inside.append(read)
        if read.jpegs:
            anchors, shapes = np.ascontiguousarray(read.boxes[:, :2]), np.ascontiguousarray(read.boxes[:, 2:])
            yield read.jpegs, anchors, shapes, read.flips.astype(np.int32)


def _in_background(
    batches: Generator[DecodedBatch, None, None], ahead: int, begin: Callable[[], None]
) -> Generator[DecodedBatch, None, None]:
    """The same batches, made in a thread of their own up to `ahead` before they are asked for; errors come through.

    The thread calls `begin` before all else.
    """
    with ThreadPoolExecutor(1, "fastpt-dali", initializer=begin) as pool:
        try:
            asked = deque(pool.submit(next, batches, None) for _ in range(ahead))
            while (batch := asked.popleft().result()) is not None:
                asked.append(pool.submit(next, batches, None))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)
            batches.close()


def _dali() -> Any:
    """NVIDIA DALI's package. Raises FastptError where it is not installed."""
    try:
        import_module("nvidia.dali.plugin.pytorch")
    except ImportError as error:
        raise FastptError(
            f"decoder dali needs NVIDIA DALI ({error}). Run: pip install 'fastpt[dali]' (before driver 580: "
            "'fastpt[cuda12]'), or use decoder cpu."
        ) from None
    return import_module("nvidia.dali")


def _gist(error: RuntimeError) -> str:
    """The line of DALI's long message that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "rror" in line and not line.startswith("Error in")), lines[0])
