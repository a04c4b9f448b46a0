"""The losses of section 4.1, where depth may be of unknown scale and shift (eqs. 28-32).

The document takes the point loss of every depth, and of pseudo labels the scale-invariant one
alone.  But Depth Anything V2's inverse depth is known up to a scale *and a shift*, which the
logarithm of depth does not survive.  So of relative depth the point loss is taken after median and
mean deviation are taken out of both sides, and the logarithmic loss only of exact depth.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from asyncmde_ros.events.network.config import STRIDES
from asyncmde_ros.events.network.layers import read, to_cells
from asyncmde_ros.lab.training.losses import robustly_normalised
from asyncmde_ros.model.geometry import PATCH

FARTHEST_M = 100.0
"""Where the logarithmic loss ends: what is beyond, as the sky, has no logarithm to speak of."""

MOST_WEIGHT = 2.0
"""Of a place with many events (section 4.1)."""

EPS = 1e-6


def point_errors(inverse: Tensor, truth: Tensor, metric: Tensor) -> Tensor:
    """Return eq. 29 of each query or cell, (N, K), of inverse depth (N, K) in N windows.

    ``metric`` (N,): where ``truth`` is in 1/m; elsewhere only its form counts.
    """
    formed, expected = (robustly_normalised(x[:, None, None])[:, 0, 0] for x in (inverse, truth))
    exact = metric[:, None]
    return F.huber_loss(torch.where(exact, inverse.float(), formed),
                        torch.where(exact, truth.float(), expected), reduction='none')


def form_and_point_errors(inverse: Tensor, truth: Tensor, metric: Tensor) -> Tensor:
    """Return eq. 29 of the form, (N, K), and of exact depth (``metric``) that in 1/m besides.

    Of rooms the latter is so small that next to nothing would be learned from rendered clips.
    """
    form = point_errors(inverse, truth, torch.zeros_like(metric))
    exact = F.huber_loss(inverse.float(), truth.float(), reduction='none')
    return form + torch.where(metric[:, None], exact, 0.0)


def silog(inverse: Tensor, truth: Tensor, metric: Tensor, mean_share: float) -> Tensor:
    """Return eq. 30, the mean of the windows with exact depth, 0 where there are none.

    sqrt(mean d^2 - lambda (mean d)^2): the document closes the root before the second term, which
    then could make the loss negative.
    """
    known = metric[:, None] & (truth > 1 / FARTHEST_M)
    apart = torch.where(known, truth.clamp_min(1 / FARTHEST_M).log() - inverse.float().log(), 0.0)
    count = known.sum(1).clamp_min(1)
    mean, square = apart.sum(1) / count, apart.square().sum(1) / count
    loss = (square - mean_share * mean.square() + EPS).sqrt()
    used = known.any(1)
    return (loss * used).sum() / used.sum().clamp_min(1)


def dense_error(inverse: Tensor, truth: Tensor, metric: Tensor, level: int) -> Tensor:
    """Return eq. 31 of one level (1 is L2): inverse depth (N, 1, h, w) against truth (N, H, W)."""
    expected = averaged(truth, level)
    return form_and_point_errors(inverse.flatten(1), expected.flatten(1), metric).mean()


def averaged(truth: Tensor, level: int) -> Tensor:
    """Return the mean of maps (N, H, W) in each cell of a level, (N, 1, h, w)."""
    return F.avg_pool2d(truth[:, None], STRIDES[level])


def feature_distance(features: Tensor, teacher: Tensor, counts: Tensor, level: int) -> Tensor:
    """Return eq. 32 of one level (2 is L3, 3 is L4): (N, C, h, w) against (N, C, H/14, W/14).

    ``counts``: events (N, H/8, W/8).  A cell is compared with what the teacher has at its middle.
    """
    h, w = features.shape[2:]
    y, x = torch.meshgrid(torch.arange(h, device=features.device, dtype=torch.float32),
                          torch.arange(w, device=features.device, dtype=torch.float32),
                          indexing='ij')
    pixels = (torch.stack([x, y], dim=-1) + 0.5) * STRIDES[level] - 0.5     # (h, w, 2)
    cells = to_cells(pixels, PATCH).expand(len(teacher), -1, -1, -1)
    likeness = F.cosine_similarity(features.float(), read(teacher, cells), dim=1)
    n = F.avg_pool2d(counts[:, None], STRIDES[level] // 8)[:, 0, :h, :w]    # (N, h, w)
    weights = (n / (n.mean((1, 2), keepdim=True) + EPS)).clamp_max(MOST_WEIGHT)
    return (weights * (1 - likeness)).mean()
