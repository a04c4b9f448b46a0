"""DINOv2's positional embedding, resized to a patch grid without torch."""

import math

import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size

CUBIC = -0.75
"""The cubic kernel's parameter in torch's ``interpolate(mode='bicubic')``."""

OFFSET = 0.1
"""Added to the grid before its ratio is taken (DINOv2's ``interpolate_offset``): the weights were
trained with it, so the sampling positions must be the same."""


def resize_positions(pos_embed: npt.NDArray[np.floating], grid: Size) -> npt.NDArray[np.float32]:
    """Return the patches' positional embedding (1, rows, cols, D) for a patch grid.

    ``pos_embed``: (1, 1 + n * n, D), the class token's first.  Same numbers as DINOv2's
    ``interpolate_pos_encoding``, which leaves the trained grid untouched.
    """
    dim = pos_embed.shape[-1]
    side = math.isqrt(pos_embed.shape[1] - 1)
    trained = pos_embed[0, 1:].astype(np.float32).reshape(side, side, dim)
    if grid == (side, side):
        return trained[None]
    rows, cols = (_cubic_matrix(side, count) for count in grid)
    resized = np.einsum('ri,ijd,cj->rcd', rows, trained, cols, optimize=True)[None]
    return np.asarray(resized, np.float32)


def _cubic_matrix(inputs: int, outputs: int) -> npt.NDArray[np.float64]:
    """Return the (outputs, inputs) matrix of a bicubic resize with repeated border."""
    ratio = (outputs + OFFSET) / inputs
    source = (np.arange(outputs) + 0.5) / ratio - 0.5
    first = np.floor(source).astype(int)
    matrix = np.zeros((outputs, inputs))
    for tap in range(-1, 3):
        weight = _cubic_kernel(np.abs(source - (first + tap)))
        np.add.at(matrix, (np.arange(outputs), np.clip(first + tap, 0, inputs - 1)), weight)
    return matrix


def _cubic_kernel(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel at distances ``x`` >= 0."""
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = ((CUBIC * x - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
