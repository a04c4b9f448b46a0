"""The paper's losses (III-D), and one on the features themselves."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SCALES = 4
EPS = 1e-6


def normalised(maps: Tensor) -> Tensor:
    """Shift and scale each (B, 1, H, W) map to mean 0 and standard deviation 1 (eq. 11)."""
    return standardised(maps, maps)


def standardised(maps: Tensor, reference: Tensor) -> Tensor:
    """Shift and scale each (B, 1, H, W) map as takes ``reference`` to mean 0 and deviation 1."""
    reference = reference.float()
    mean = reference.mean((2, 3), keepdim=True)
    variance = (reference - mean).square().mean((2, 3), keepdim=True)
    return (maps.float() - mean) / (variance + EPS).sqrt()


def robustly_normalised(maps: Tensor) -> Tensor:
    """Shift and scale each (B, 1, H, W) map to median 0 and mean absolute deviation 1.

    The deviation is from the median.  Source: Ranftl et al., "Towards Robust Monocular Depth
    Estimation", 2022.
    """
    centred = maps.float() - maps.float().flatten(1).median(1).values[:, None, None, None]
    return centred / (centred.abs().mean((2, 3), keepdim=True) + EPS)


def scale_shift_invariant(prediction: Tensor, target: Tensor) -> Tensor:
    """Eq. 11, of maps that :func:`normalised` gave."""
    return squared_errors(prediction, target).mean()


def squared_errors(prediction: Tensor, target: Tensor) -> Tensor:
    """Return eq. 11 of each pair of maps, (B,)."""
    return (prediction - target).square().mean((1, 2, 3))


def multi_scale_gradient(prediction: Tensor, target: Tensor) -> Tensor:
    """Eq. 12, of maps that :func:`normalised` gave; scale s halves the map s - 1 times."""
    difference = prediction - target  # gradients are linear, so is averaging
    total = difference.new_zeros(())
    for scale in range(1, SCALES + 1):
        if scale > 1:
            difference = F.avg_pool2d(difference, 2)
        total = total + (difference.diff(dim=3).abs().mean()
                         + difference.diff(dim=2).abs().mean()) / scale**2
    return total


def memory_floor(trust: Tensor, tau: float) -> Tensor:
    """Eq. 13: ReLU(tau - mean T) of level-1 trust (B, 1, rows, cols)."""
    return F.relu(tau - trust.mean((1, 2, 3))).mean()


def feature_distance(features: Sequence[Tensor], targets: Sequence[Tensor],
                     spread: Tensor) -> Tensor:
    """Smooth L1 of four levels to the foundation model's, each in units of its ``spread``."""
    distances = [F.smooth_l1_loss(x.float() / s, y.float() / s)
                 for x, y, s in zip(features, targets, spread, strict=True)]
    return torch.stack(distances).mean()


def aligned_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Return (B,): mean |scale * prediction + shift - target| over the target's mean deviation.

    Scale and shift are fitted to each (B, 1, H, W) map by least squares.  0 is perfect, 1 what a
    constant would score.
    """
    p, t = prediction.float().flatten(1), target.float().flatten(1)
    p = p - p.mean(1, keepdim=True)
    t = t - t.mean(1, keepdim=True)
    scale = (p * t).sum(1, keepdim=True) / (p.square().sum(1, keepdim=True) + EPS)
    return (scale * p - t).abs().mean(1) / (t.abs().mean(1) + EPS)
