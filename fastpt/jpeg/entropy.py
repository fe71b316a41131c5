"""Whether a JPEG is whole, by walk.c: it skips through the entropy-coded data without decoding it.

It is built with the package where a C compiler is found. Without it, and for pictures out of the ordinary,
libjpeg-turbo decodes instead (`turbojpeg.check`), which takes twice as long.
"""

import ctypes
from functools import cache

from fastpt import native


def is_sound(jpeg: bytes, size: tuple[int, int]) -> bool:
    """Whether this is a baseline grey or YCbCr JPEG of `size` (width, height) of which no bit is missing or too many.

    False says nothing: the JPEG may be damaged, or of another kind, or the library was not built.
    """
    library = _library()
    return library is not None and bool(library.fastpt_is_sound(jpeg, len(jpeg), *size))


@cache
def _library() -> ctypes.CDLL | None:
    library = native.load("_jpeg", __file__)
    if library:
        library.fastpt_is_sound.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int]
    return library
