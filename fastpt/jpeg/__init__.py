"""JPEGs, by one C library of our own.

Preparation writes what the cpu decoder reads, so both parse markers, Huffman tables and entropy-coded data: in one
place, lest there be two parsers. `entropy` finds out whether a picture is whole; `kernel` decodes what a crop needs of
it; `planes` decodes and encodes what preparation reduces; `whole` decodes what these leave, by libjpeg-turbo; `exif`
says how a picture lies. Nothing outside this room knows a C signature.
"""

from typing import Literal

Interpolation = Literal["area", "bilinear", "bicubic"]
"""How a picture is resized: by area, or antialiased bilinear or bicubic. The order is that of taps.h's numbers."""
