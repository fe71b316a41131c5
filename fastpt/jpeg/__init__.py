"""JPEGs, by one C library of our own.

Preparation writes what the cpu decoder reads, so both parse markers, Huffman tables and entropy-coded data: in one
place, lest there be two parsers. `entropy` finds out whether a picture is whole; `kernel` decodes what a crop needs of
it; `libffcv` reaches libjpeg-turbo's own decoder, for whole pictures. Nothing outside this room knows a C signature of
these, TurboJPEG's aside (datasets_prep/images/turbojpeg.py).
"""

from typing import Literal

Interpolation = Literal["area", "bilinear", "bicubic"]
"""How a picture is resized: by area, or antialiased bilinear or bicubic. The order is that of taps.h's numbers."""
