"""What holds for every decoder of the room, by its class alone."""

import subprocess
import sys

from fastpt.loading.decoders import DECODERS


def test_decoders_come_in_their_order():
    assert DECODERS.names() == ["cpu", "dali", "synthetic"]


def test_what_is_known_about_a_decoder_costs_no_library():
    code = (
        "import sys; from fastpt.loading.decoders import DECODERS\n"
        "for name in DECODERS.names():\n"
        "    kind = DECODERS.get(name)\n"
        "    assert kind.devices and isinstance(kind.reads, bool) and all(kind.options.values())\n"
        "assert not {'torch', 'nvidia', 'cv2', 'PIL', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
