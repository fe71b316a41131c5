"""Whole pictures, for what our own decoder leaves: by libjpeg-turbo, as the simplejpeg package brings it.

What it does not know (CMYK, 12 bits, data with a flaw) Pillow decodes. Where both can, their pixels are the same, but
Pillow takes a third more time: it makes four bytes of each pixel, and then three again.
"""

import io

import numpy as np
import simplejpeg

PLAIN = ("RGB", "YCbCr", "Gray")
"""Colour spaces of which libjpeg makes RGB itself, by simplejpeg's names."""


def decode(jpeg: np.ndarray, memory: np.ndarray | None = None) -> np.ndarray:
    """The pixels of a JPEG, uint8 [bytes]: uint8 [h, w, 3], in `memory`, uint8, where that is given and can be used.

    Raises OSError where Pillow cannot.
    """
    try:
        if simplejpeg.decode_jpeg_header(jpeg)[2] in PLAIN:
            return simplejpeg.decode_jpeg(jpeg, "RGB", buffer=memory)
    except (ValueError, KeyError):  # the least warning of libjpeg's; a colour space that has no name
        pass
    from PIL import Image

    with Image.open(io.BytesIO(jpeg.tobytes()), formats=["JPEG"]) as image:
        return np.array(image.convert("RGB"))
