"""A3 and A4: what all queries of a window share, computed once."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asyncmde_ros.events.network.config import EventNetworkConfig
from asyncmde_ros.events.network.pyramid import Levels

GLOBAL_LAYERS = 2
"""Of B3."""


class Context(NamedTuple):
    """What the decoder reads, of one window of events or of a batch of them.

    ``l1`` to ``l4``: the pyramid.  ``keys`` and ``values``: (B, layers of B3, cells of L4, d).
    ``anchors``: (B, cells of L4, d), W_g of eq. 14.  ``value2`` to ``value4``: L2 to L4 with d
    channels each, for B4.  ``scale`` and ``shift``: (B, 1), s and b of eq. 5.
    """

    l1: Tensor
    l2: Tensor
    l3: Tensor
    l4: Tensor
    keys: Tensor
    values: Tensor
    anchors: Tensor
    value2: Tensor
    value3: Tensor
    value4: Tensor
    scale: Tensor
    shift: Tensor


class Projections(nn.Module):
    """A3.  Keys have no bias: it adds the same to every logit of a query, and softmax drops it.

    The document calls the projection of L3 for B4 the identity, but counts it (136 K): the count
    is followed, so that a head may choose what it reads at every level.
    """

    def __init__(self, config: EventNetworkConfig) -> None:
        super().__init__()
        dim, (_, c2, c3, c4) = config.dim, config.channels
        self.keys = nn.ModuleList(nn.Linear(c4, dim, bias=False) for _ in range(GLOBAL_LAYERS))
        self.values = nn.ModuleList(nn.Linear(c4, dim) for _ in range(GLOBAL_LAYERS))
        self.anchors = nn.Linear(c4, dim)
        self.read = nn.ModuleList(nn.Conv2d(width, dim, 1) for width in (c2, c3, c4))


class Calibration(nn.Module):
    """A4: one scale and one shift for a window, from the mean of L4 (eqs. 4-5)."""

    START = 0.5413
    """softplus of it is 1: an untrained network neither stretches nor moves its output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Linear(channels, 1)
        self.shift = nn.Linear(channels, 1)
        for layer, start in ((self.scale, self.START), (self.shift, 0.0)):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, start)

    def forward(self, l4: Tensor) -> tuple[Tensor, Tensor]:
        mean = l4.mean((2, 3))                                              # eq. 4: (B, C)
        return F.softplus(self.scale(mean)), self.shift(mean)               # eq. 5


class Precompute(nn.Module):
    """A3 and A4 on the pyramid's levels."""

    def __init__(self, config: EventNetworkConfig) -> None:
        super().__init__()
        self.projections = Projections(config)
        self.calibration = Calibration(config.channels[3])

    def forward(self, levels: Levels) -> Context:
        project = self.projections
        cells = levels.l4.flatten(2).transpose(1, 2)                        # (B, cells, c4)
        keys, values = (torch.stack([layer(cells) for layer in layers], dim=1)
                        for layers in (project.keys, project.values))
        read = [layer(level) for layer, level in zip(project.read, levels[1:], strict=True)]
        return Context(*levels, keys, values, project.anchors(cells), *read,
                       *self.calibration(levels.l4))
