"""What only training has: dense depth from the pyramid, and its likeness to a foundation model."""

import torch.nn.functional as F
from torch import Tensor, nn

from asyncmde_ros.events.network.config import EventNetworkConfig
from asyncmde_ros.events.network.decoder import LEAST_INVERSE_DEPTH
from asyncmde_ros.events.network.pyramid import Levels


class DenseHeads(nn.Module):
    """Inverse depth at every cell of L2 and L3, by one 1x1 convolution each (eq. 31)."""

    def __init__(self, config: EventNetworkConfig) -> None:
        super().__init__()
        _, c2, c3, _ = config.channels
        self.level2, self.level3 = nn.Conv2d(c2, 1, 1), nn.Conv2d(c3, 1, 1)

    def forward(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Return (B, 1, rows, cols) > 0 at the sizes of L2 and L3."""
        return (F.softplus(self.level2(levels.l2)) + LEAST_INVERSE_DEPTH,
                F.softplus(self.level3(levels.l3)) + LEAST_INVERSE_DEPTH)


class Connectors(nn.Module):
    """Features of L3 and L4 in a teacher's width, to be compared with its own (eq. 32)."""

    def __init__(self, config: EventNetworkConfig, teacher_width: int) -> None:
        super().__init__()
        self.level3, self.level4 = (
            nn.Sequential(nn.Conv2d(width, teacher_width, 1), nn.GELU(),
                          nn.Conv2d(teacher_width, teacher_width, 1))
            for width in config.channels[2:])

    def forward(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Return (B, teacher_width, rows, cols) at the sizes of L3 and L4."""
        return self.level3(levels.l3), self.level4(levels.l4)
