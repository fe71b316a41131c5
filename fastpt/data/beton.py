"""The layout of an FFCV file (format version 2), as far as fastpt writes and reads it.

    header | field descriptors | metadata table | padding | pages of JPEG bytes ... | allocation table

Little-endian throughout. The layout is FFCV's own (ffcv/types.py, ffcv/fields/rgb_image.py); tests hold these dtypes
against it. It is restated here because importing ffcv costs seconds (it compiles with numba).
"""

import numpy as np

VERSION = 2
PAGE_SIZE = 8 << 20  # bytes, FFCV's default; a power of two
JPEG_MODE = 0

HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("num_fields", "<u2"),
        ("page_size", "<u4"),
        ("num_samples", "<u8"),
        ("alloc_table_ptr", "<u8"),
    ],
    align=True,
)
FIELD = np.dtype([("type_id", "<u1"), ("name", "<u1", 16), ("arguments", "<u1", 1024)], align=True)
IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8")])
LABEL = np.dtype("<i8")
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])

# Type ids, and what the metadata table holds of each kind of field.
FLOAT_FIELD, INT_FIELD, IMAGE_FIELD, BYTES_FIELD, ARRAY_FIELD, JSON_FIELD, TENSOR_FIELD = range(7)
_BLOB = np.dtype([("ptr", "<u8"), ("size", "<u8")])
METADATA = {
    FLOAT_FIELD: np.dtype("<f8"),
    INT_FIELD: LABEL,
    IMAGE_FIELD: IMAGE,
    BYTES_FIELD: _BLOB,
    ARRAY_FIELD: np.dtype("<u8"),
    JSON_FIELD: _BLOB,
    TENSOR_FIELD: np.dtype("<u8"),
}


def fields(target: str | None, kind: int = INT_FIELD) -> np.ndarray:
    """Descriptors of the fields `image` and, if named, a target of the given type id."""
    names = [("image", IMAGE_FIELD)] + ([(target, kind)] if target else [])
    descriptors = np.zeros(len(names), FIELD)
    for descriptor, (name, type_id) in zip(descriptors, names, strict=True):
        descriptor["type_id"] = type_id
        descriptor["name"][: len(name)] = np.frombuffer(name.encode("ascii"), np.uint8)
    return descriptors


def metadata_dtype(target: str | None, kind: int = INT_FIELD) -> np.dtype:
    """The dtype of one row of the metadata table for `fields(target, kind)`."""
    return np.dtype([("image", IMAGE)] + ([(target, METADATA[kind])] if target else []), align=True)
