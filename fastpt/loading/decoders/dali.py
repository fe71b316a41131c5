"""Decoding with NVIDIA DALI, on the CPU or by nvJPEG on a GPU: one graph, fed with the same bytes, boxes and flips.

Choices that decide the pixels: EXIF orientation is not applied (boxes are in stored pixels), chroma is upsampled as
libjpeg-turbo does it, and every resize is antialiased. DALI has no area filter; its antialiased triangular one
(`bilinear`) stands in.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import torch
from nvidia.dali import Pipeline, fn, pipeline_def, types
from nvidia.dali.plugin.pytorch import feed_ndarray
from nvidia.dali.tensors import TensorCPU, TensorGPU

from fastpt.errors import FastptError
from fastpt.loading.batch import DecodedBatch
from fastpt.loading.reading import BatchReader, ReadBatch

AHEAD = 2  # batches in work beside the one that is waited for
INTERPOLATIONS = {
    "area": types.INTERP_TRIANGULAR,
    "bilinear": types.INTERP_TRIANGULAR,
    "bicubic": types.INTERP_CUBIC,
}


class DaliDecoder:
    """Turns picks into batches of `size` x `size` pixels through one DALI pipeline with `threads` threads."""

    def __init__(
        self, size: int, interpolation: str, threads: int, device: torch.device, batch_size: int, hw_decoder_load: float
    ):
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        self.size, self.interpolation, self.threads, self.device, self.batch_size = (
            size,
            interpolation,
            threads,
            device,
            batch_size,
        )
        self.hw_decoder_load = hw_decoder_load
        # Torch hands memory out again in the order of the stream that it was taken on. Pictures are written here while
        # the stream that reads them may be steps behind, so their memory is taken on a stream of this decoder's own.
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._source = _Source()
        self._pipeline: Pipeline | None = None

    def batches(self, picker: BatchReader, plan: Iterable[np.ndarray]) -> Iterator[DecodedBatch]:
        """A batch for each array of positions in `plan`, in order. Closing the iterator ends its thread."""
        with closing(_in_background(self._batches(picker, plan), AHEAD)) as batches:
            for batch in batches:
                if self._stream:  # given out again only once the reader's stream is past the tensor's end
                    batch.images.record_stream(torch.cuda.current_stream(self.device))
                yield batch

    def close(self) -> None:
        """Free the pipeline with its threads and its memory on the GPU."""
        self._pipeline = None

    def _batches(self, picker: BatchReader, plan: Iterable[np.ndarray]) -> Iterator[DecodedBatch]:
        if self._pipeline is None:
            self._pipeline = self._build()
        pipeline, inside = self._pipeline, deque()
        self._source.feeds = _feeds(picker, plan, inside)
        try:
            pipeline.schedule_run()  # the first one fills the queue
            while (outputs := self._outputs(pipeline, inside)) is not None:
                yield from self._empties(inside)
                picks = inside.popleft()
                with torch.cuda.stream(self._stream):
                    images = torch.empty(outputs.shape(), dtype=torch.uint8, device=self.device)
                feed_ndarray(outputs, images)  # returns when the copy is done
                pipeline.release_outputs()
                pipeline.schedule_run()
                yield _batch(picks, images)
            yield from self._empties(inside)
            pipeline.reset()
        except BaseException:
            self._pipeline = None  # it failed, or holds batches that nobody wants
            raise

    def _outputs(self, pipeline: Pipeline, inside: deque[ReadBatch]) -> TensorCPU | TensorGPU | None:
        """The pictures of the oldest batch that is not empty, or None at the end of the plan."""
        try:
            (outputs,) = pipeline.share_outputs()
        except StopIteration:
            return None
        except RuntimeError as error:
            ids = next(picks for picks in inside if picks.jpegs).sample_ids.tolist()
            raise FastptError(
                f"DALI cannot decode one of the samples {ids}, though their bytes are those that were stored: "
                f"{_gist(error)}. Use decoder cpu, or prepare the split without it."
            ) from error
        return outputs.as_tensor()

    def _empties(self, inside: deque[ReadBatch]) -> Iterator[DecodedBatch]:
        """The empty batches that come next."""
        while inside and not inside[0].jpegs:
            shape = (0, self.size, self.size, 3)
            yield _batch(inside.popleft(), torch.empty(shape, dtype=torch.uint8, device=self.device))

    def _build(self) -> Pipeline:
        on_gpu = self.device.type == "cuda"
        pipeline = _graph(
            self._source,
            self.size,
            INTERPOLATIONS[self.interpolation],
            on_gpu,
            self.hw_decoder_load,
            batch_size=self.batch_size,
            num_threads=self.threads,
            device_id=self.device.index if on_gpu else None,
            prefetch_queue_depth=AHEAD,
        )
        pipeline.build()
        return pipeline


class _Source:
    """Where the pipeline asks for its next batch. It outlives epochs; `feeds` are those of one."""

    feeds: Iterator[tuple]

    def __call__(self) -> tuple:
        return next(self.feeds)


def _feeds(picker: BatchReader, plan: Iterable[np.ndarray], inside: deque[ReadBatch]) -> Iterator[tuple]:
    """The graph's inputs for each batch; picks are noted in `inside`. DALI takes no empty batch: none is fed."""
    for positions in plan:
        picks = picker.pick(positions)
        inside.append(picks)
        if picks.jpegs:
            anchors, shapes = np.ascontiguousarray(picks.boxes[:, :2]), np.ascontiguousarray(picks.boxes[:, 2:])
            yield picks.jpegs, anchors, shapes, picks.flips.astype(np.int32)


@pipeline_def
def _graph(source: _Source, size: int, interpolation: types.DALIInterpType, on_gpu: bool, hw_decoder_load: float):
    """The same pixels on CPU and GPU. A CPU decodes only the boxes; a GPU whole pictures.

    nvJPEG before 13.2 is wrong at the edges of a region with smooth chroma: nvImageCodec then passes each photo on to
    another decoder, with a warning (seen on an H200, CUDA 13.0). And its 0.9.0 is reported to crash there (issue 55).
    """
    jpegs, anchors, shapes, flips = fn.external_source(source, num_outputs=4, batch=True)
    choices = {"adjust_orientation": False, "jpeg_fancy_upsampling": True}
    if on_gpu:
        pictures = fn.decoders.image(jpegs, device="mixed", hw_decoder_load=hw_decoder_load, **choices)
        images = fn.slice(pictures, anchors, shapes, axis_names="HW")
    else:
        images = fn.decoders.image_slice(jpegs, anchors, shapes, axis_names="HW", **choices)
    images = fn.resize(images, size=[size, size], interp_type=interpolation, antialias=True)
    return fn.flip(images, horizontal=flips)


def _batch(picks: ReadBatch, images: torch.Tensor) -> DecodedBatch:
    return DecodedBatch(images, torch.from_numpy(picks.sample_ids), torch.from_numpy(picks.views))


def _in_background(batches: Iterator[DecodedBatch], ahead: int) -> Iterator[DecodedBatch]:
    """The same batches, made in a thread of their own up to `ahead` before they are asked for; errors come through."""
    end = object()
    with ThreadPoolExecutor(1, "fastpt-dali") as pool:
        try:
            asked = deque(pool.submit(next, batches, end) for _ in range(ahead))
            while (batch := asked.popleft().result()) is not end:
                asked.append(pool.submit(next, batches, end))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)
            batches.close()


def _gist(error: RuntimeError) -> str:
    """The line of DALI's long message that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "rror" in line and not line.startswith("Error in")), lines[0])
