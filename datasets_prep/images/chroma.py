"""What halving the planes of colour (4:2:0) takes from a picture, measured before it is encoded.

Of photos it is next to nothing; lines and edges of saturated colours lose themselves. `tools/bench/subsampling.py`
shows how well this foretells the PSNR of the stored JPEG.
"""

from collections.abc import Sequence

import cv2
import numpy as np

WEIGHTS = (1.086, 0.825)  # what an error of 1 in Cb and Cr adds to the mean squared error of R, G and B
LIMIT = 255**2 / 10**3.5 / 2  # of `loss`: half the mean squared error of 35 dB; the other half is for the coding
ROUGH_LIMIT = 100.0  # of `roughness`: few drawings with a loss above LIMIT are below it, and few photos above


def planes(pixels: np.ndarray) -> list[np.ndarray]:
    """Cb and Cr, uint8 [H, W], of pixels, uint8 [H, W, 3]."""
    luma_cr_cb = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)
    return [cv2.extractChannel(luma_cr_cb, 2), cv2.extractChannel(luma_cr_cb, 1)]


def halved(whole: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The planes at half their size, rounded up."""
    return [
        cv2.resize(plane, (-(-plane.shape[1] // 2), -(-plane.shape[0] // 2)), interpolation=cv2.INTER_AREA)
        for plane in whole
    ]


def loss(whole: Sequence[np.ndarray], halves: Sequence[np.ndarray]) -> float:
    """The mean squared error of R, G and B where Cb and Cr, uint8 [H, W], are stored as `halves` and enlarged again."""
    total = 0.0
    for weight, plane, half in zip(WEIGHTS, whole, halves, strict=True):
        enlarged = cv2.resize(half, plane.shape[::-1], interpolation=cv2.INTER_LINEAR)
        total += weight * cv2.norm(plane, enlarged, cv2.NORM_L2SQR) / plane.size
    return total


def roughness(halves: Sequence[np.ndarray]) -> float:
    """The mean square of second differences of Cb and Cr: whether to ask for `loss` at all.

    It costs a hundredth of reducing a photo. A second difference a - 2b + c has the square 2 (a-b)^2 + 2 (b-c)^2 -
    (a-c)^2, so two norms of a whole plane do. They run down one diagonal in Cb and down the other in Cr: an edge in any
    direction crosses one of them.
    """
    total = 0.0
    for weight, plane, turn in zip(WEIGHTS, halves, (1, -1), strict=True):
        flat, step = np.ascontiguousarray(plane).ravel(), plane.shape[1] + turn
        if 0 < 2 * step < len(flat):
            total += weight * (4 * _difference(flat, step) - _difference(flat, 2 * step)) / len(flat)
    return total


def _difference(flat: np.ndarray, lag: int) -> float:
    return cv2.norm(flat[lag:], flat[:-lag], cv2.NORM_L2SQR)
