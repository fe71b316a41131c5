"""Whether a JPEG is whole, and where a decoder may enter it, by walk.c.

That goes through the entropy-coded data and decodes nothing but the DC values.

It is built with the package where a C compiler is found. Without it, and for pictures out of the ordinary, Pillow
decodes instead to see whether they are whole, which takes several times as long.
Entry points are described in entries.h.
"""

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np

from fastpt import native
from fastpt.errors import FastptError

LARGEST_SEGMENT = 65_537  # bytes, as in entries.h
ENTRY = np.dtype([("place", "<u4"), ("dc", "<i4", 3)])


@dataclass(frozen=True)
class Noted:
    """A JPEG with its entry points, if it is to have some; and whether it is sound."""

    jpeg: bytes
    sound: bool
    has_entry_points: bool


def is_built() -> bool:
    """Whether there is a library to do it."""
    return _library() is not None


def is_sound(jpeg: bytes, size: tuple[int, int]) -> bool:
    """Whether this is a baseline grey or YCbCr JPEG of `size` (width, height) of which no bit is missing or too many.

    False says nothing: the JPEG may be damaged, or of another kind, or the library was not built.
    """
    library = _library()
    return library is not None and bool(library.fastpt_is_sound(jpeg, len(jpeg), *size))


def note_entry_points(jpeg: bytes, size: tuple[int, int]) -> Noted:
    """`is_sound`, and the JPEG with entry points in it, in place of any that it came with.

    It gets none if it is not sound, has restart intervals or is very small (LEAST_MCUS in entries.h).

    Raises FastptError if the library was not built.
    """
    library = _library()
    if library is None:
        raise FastptError(
            "entry points of pictures are found by fastpt/jpeg, which was not built here: it takes a C compiler. "
            "Install one and run tools/setup, or prepare with --entry-points none."
        )
    out, sound, noted = np.empty(len(jpeg) + LARGEST_SEGMENT, np.uint8), ctypes.c_int(), ctypes.c_int()
    length = library.fastpt_note_entries(
        jpeg, len(jpeg), *size, out.ctypes.data, ctypes.byref(sound), ctypes.byref(noted)
    )
    return Noted(out[:length].tobytes(), bool(sound.value), bool(noted.value))


def entry_points(jpeg: bytes) -> tuple[np.ndarray, int]:
    """The entry points of a JPEG, ENTRY [K], and how many MCUs they are apart; [0] if it has none that can be right."""
    library, most = _library(), 8 * len(jpeg)
    entries, spacing = np.empty(most, ENTRY), ctypes.c_int()
    if library is None:
        return entries[:0], 0
    count = library.fastpt_read_entries(jpeg, len(jpeg), most, entries.ctypes.data, ctypes.byref(spacing))
    return entries[:count], spacing.value


@cache
def _library() -> ctypes.CDLL | None:
    library = native.load("_jpeg", __file__)
    if library:
        jpeg, pointer, number = [ctypes.c_char_p, ctypes.c_size_t], ctypes.c_void_p, ctypes.c_int
        library.fastpt_is_sound.argtypes = [*jpeg, number, number]
        library.fastpt_note_entries.argtypes = [*jpeg, number, number, pointer, pointer, pointer]
        library.fastpt_note_entries.restype = ctypes.c_size_t
        library.fastpt_read_entries.argtypes = [*jpeg, number, pointer, pointer]
    return library
