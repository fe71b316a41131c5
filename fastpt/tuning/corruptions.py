"""Seeded corruptions of the pictures of a test, as an encoder sees them: after crop and resize, before normalisation.

What is drawn is a function of the sample's key and the seed, so it is the same in any batch, order, decoder and
preparation. The pictures themselves differ between decoders as they do without a corruption.

Strengths have the units of ImageNet-C (Hendrycks and Dietterich 2019), whose severities 1 to 5 are, for noise, an SD of
20.4, 30.6, 45.9, 66.3 and 96.9 of 255, and for blur an SD of 1, 2, 3, 4 and 6 pixels of a picture of 224.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from fastpt import rng
from fastpt.config import Section, Seed
from fastpt.data.hashes import xxh3_64

SIDE = 224
"""Pixels of the side that strengths of blur are of, as ImageNet-C's pictures have them."""


class Corruption(Section):
    """How the pictures of a test are changed, before the encoder sees them."""

    noise: float | None = Field(default=None, gt=0, le=255)
    """SD of Gaussian noise, of 255, drawn for each pixel and channel at the encoder's size."""
    blur: float | None = Field(default=None, gt=0, le=SIDE)
    """SD of a Gaussian blur, in pixels of a picture of 224 px; at another size it is in proportion."""
    seed: Seed = 0
    """Of the noise."""

    def problems(self) -> list[str]:
        both = (self.noise is None) == (self.blur is None)
        return ["corruption names neither or both of noise and blur. Give one."] if both else []


def corrupted(images: np.ndarray, keys: Sequence[str], corruption: Corruption) -> np.ndarray:
    """Pictures uint8 [B, S, S, 3] of samples with these keys, corrupted; values are rounded and clipped to 0 to 255."""
    from scipy.ndimage import gaussian_filter  # which reading a suite shall not wait for
    from scipy.special import ndtri

    values = images.astype(np.float64)
    if corruption.blur is not None:
        sd = corruption.blur * images.shape[1] / SIDE
        values = gaussian_filter(values, (0, sd, sd, 0), mode="nearest")
    if corruption.noise is not None:
        places = np.arange(values[0].size).reshape(values[0].shape)
        for value, key in zip(values, xxh3_64(keys), strict=True):
            # Of 53 random bits 0 is one chance in 10^16; its infinity is clipped.
            value += corruption.noise * ndtri(rng.uniform(rng.CORRUPTION, corruption.seed, key[None], places))
    return np.rint(values).clip(0, 255).astype(np.uint8)
