"""What holds for every decoder of the room; and that `assert_decodes` finds out one that breaks it."""

import subprocess
import sys
import threading

import pytest

from fastpt.loading.decoders import DECODERS
from fastpt.loading.decoders.cpu import CpuDecoder
from fastpt.testing import assert_decodes


def test_what_is_known_about_a_decoder_costs_no_library():
    code = (
        "import sys; from fastpt.loading.decoders import DECODERS\n"
        "for name in DECODERS.names():\n"
        "    kind = DECODERS.get(name)\n"
        "    assert kind.devices and isinstance(kind.reads, bool) and all(kind.options.values())\n"
        "assert not {'torch', 'nvidia', 'cv2', 'PIL', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("decoder", DECODERS.names())
def test_every_decoder_keeps_the_contract(split, decoder):
    assert_decodes(split, decoder, min_psnr=35)


class Mirrored(CpuDecoder):
    def batches(self, reader, positions):
        for batch in super().batches(reader, positions):
            yield batch._replace(images=batch.images.flip(2).contiguous())


class LosesTheLast(CpuDecoder):
    def batches(self, reader, positions):
        for batch in super().batches(reader, positions):
            yield type(batch)(*(column[:-1] for column in batch))


class Strided(CpuDecoder):
    def batches(self, reader, positions):
        for batch in super().batches(reader, positions):
            yield batch._replace(images=batch.images.transpose(1, 2))


class LeavesThreads(CpuDecoder):
    def batches(self, reader, positions):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        yield from super().batches(reader, positions)


class DependsOnTheBatch(CpuDecoder):
    def batches(self, reader, positions):
        for batch in super().batches(reader, positions):
            yield batch._replace(images=batch.images ^ int(len(batch.images) == 12))


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (Mirrored, "dB from what Pillow shows"),
        (LosesTheLast, "sample_ids are"),
        (Strided, "not contiguous"),
        (LeavesThreads, "threads are left"),
        (DependsOnTheBatch, "the pixels of samples"),
    ],
)
def test_a_decoder_that_breaks_it_is_found_out(split, kind, found, monkeypatch):
    monkeypatch.setitem(DECODERS.table, "broken", f"{kind.__module__}:{kind.__name__}")
    with pytest.raises(AssertionError, match=found):
        assert_decodes(split, "broken")
