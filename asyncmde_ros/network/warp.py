"""Resampling a remembered map to the present view through a homography and a residual flow.

Convention: a homography is a float32 3x3 that maps current normalised
coordinates [x, y, 1] to those of the remembered view, x = (2 i + 1) / W - 1, which is
``grid_sample`` with ``align_corners=False``; outside the remembered view its border is repeated.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_DENOMINATOR = 1e-6
"""Below this the pixel's ray does not meet the remembered image plane from the front."""

BORDER_REACH = 0.25
"""How far beyond a remembered view its repeated border still counts, in normalised coordinates:
an eighth of the image."""


def pixel_centres(count: int, device: torch.device) -> Tensor:
    """Return the normalised coordinates (count,) of a row of ``count`` pixels."""
    return (2 * torch.arange(count, dtype=torch.float32, device=device) + 1) / count - 1


class TensorWarp(NamedTuple):
    """Where a view's pixels come from in a remembered one.

    ``homography``: (3, 3), or (B, 3, 3) for a batch.  ``flow``: (B, 2, ., .), what dense optical
    flow adds to the homography's coordinates, resampled to whatever size is asked for; zeros
    leave the homography.
    """

    homography: Tensor
    flow: Tensor


def warp_grid(warp: TensorWarp, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return where each pixel of a (rows, cols) map comes from, and how far that was seen.

    Returns the sampling grid (B, rows, cols, 2) in normalised coordinates and (B, 1, rows, cols)
    in [0, 1]: 1 where the source lies inside the remembered view, falling to 0 at
    :data:`BORDER_REACH` beyond its border, 0 behind the camera.  Always float32: half precision
    would misplace pixels.
    """
    rows, cols = size
    h = warp.homography.float().reshape(-1, 3, 3, 1, 1)
    x = pixel_centres(cols, h.device)[None, None, :]
    y = pixel_centres(rows, h.device)[None, :, None]
    denominator = h[:, 2, 0] * x + h[:, 2, 1] * y + h[:, 2, 2]               # (B, rows, cols)
    in_front = denominator > MIN_DENOMINATOR
    scale = 1 / torch.where(in_front, denominator, torch.ones_like(denominator))
    flow = F.interpolate(warp.flow.float(), size=(rows, cols), mode='bilinear',
                         align_corners=False)
    u = (h[:, 0, 0] * x + h[:, 0, 1] * y + h[:, 0, 2]) * scale + flow[:, 0]
    v = (h[:, 1, 0] * x + h[:, 1, 1] * y + h[:, 1, 2]) * scale + flow[:, 1]
    beyond = torch.maximum(u.abs(), v.abs()) - 1
    seen = torch.where(in_front, 1 - beyond / BORDER_REACH, torch.zeros_like(u)).clamp(0, 1)
    return torch.stack([u, v], dim=1).permute(0, 2, 3, 1), seen[:, None]


def sample(x: Tensor, grid: Tensor) -> Tensor:
    """Resample (B, C, rows, cols) at ``grid``, bilinearly, repeating the border."""
    # In the grid's float32: a half-precision grid would misplace pixels.
    return F.grid_sample(x.float(), grid, mode='bilinear', padding_mode='border',
                         align_corners=False).to(x.dtype)
