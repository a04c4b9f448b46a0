"""Where queries are asked while training (section 4.3)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from asyncmde_ros.events.training.config import COARSEST_SAMPLED, QueryShares

HARD_STRIDE = 16
"""Pixels a cell of the map of losses (section 4.3)."""

EPS = 1e-9


class HardMap:
    """The running mean of the loss in each square of 16 pixels (eq. 33)."""

    def __init__(self, rows: int, cols: int, average: float, device: torch.device) -> None:
        size = -(-rows // HARD_STRIDE), -(-cols // HARD_STRIDE)
        self.losses = torch.ones(size, device=device)
        self._average = average

    def update(self, queries: Tensor, errors: Tensor) -> None:
        """Take in the errors (N, K) of queries (N, K, 2); squares without any stay as they are."""
        x, y = (queries // HARD_STRIDE).long().flatten(0, 1).unbind(-1)
        cells = y * self.losses.shape[1] + x
        count = torch.bincount(cells, minlength=self.losses.numel())
        total = torch.bincount(cells, errors.detach().flatten(), self.losses.numel())
        mean = (total / count.clamp_min(1)).reshape(self.losses.shape)
        seen = count.reshape(self.losses.shape) > 0
        mixed = self._average * self.losses + (1 - self._average) * mean
        self.losses = torch.where(seen, mixed, self.losses).float()


def query_weights(inverse: Tensor, counts: Tensor, hard: HardMap, shares: QueryShares) -> Tensor:
    """Return each pixel's chance of being asked for, (N, H, W), 1 in all for each window.

    To draw a kind of place first and then a place of that kind is to draw from the mixture.
    ``inverse``: the true inverse depth (N, H, W); ``counts``: events (N, H/8, W/8).
    """
    rows, cols = inverse.shape[1:]
    across = F.pad(inverse.diff(dim=2), (0, 1)).abs()
    edges = across + F.pad(inverse.diff(dim=1), (0, 0, 0, 1)).abs()
    events = _spread(counts, COARSEST_SAMPLED, rows, cols)
    losses = _spread(hard.losses[None], HARD_STRIDE, rows, cols).expand_as(inverse)
    return (shares.known * _share(torch.ones_like(inverse)) + shares.events * _share(events)
            + shares.edges * _share(edges) + shares.hard * _share(losses))


def draw(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw pixels (N, count, 2), (x, y) float32, with repetition, by weights (N, H, W)."""
    cols = weights.shape[2]
    pixels = torch.multinomial(weights.flatten(1), count, replacement=True, generator=generator)
    return torch.stack([pixels % cols, pixels // cols], dim=-1).float()


def at(maps: Tensor, queries: Tensor) -> Tensor:
    """Return what maps (N, H, W) have at whole pixels (N, K, 2)."""
    x, y = queries.long().unbind(-1)
    return maps.flatten(1).gather(1, y * maps.shape[2] + x)


def _spread(cells: Tensor, side: int, rows: int, cols: int) -> Tensor:
    return cells.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, :rows, :cols]


def _share(x: Tensor) -> Tensor:
    return (x + EPS) / (x + EPS).sum((1, 2), keepdim=True)
