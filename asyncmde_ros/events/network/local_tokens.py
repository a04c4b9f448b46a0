"""B1: what is around a query, at every level of the pyramid, as tokens of one width."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asyncmde_ros.events.network.config import STRIDES, EventNetworkConfig
from asyncmde_ros.events.network.layers import fourier, neighbourhood, read_tokens, to_cells
from asyncmde_ros.events.network.precompute import Context

NEAR, COARSE = 2, 1
"""Reach of the squares of cells: 5x5 at L1 to L3, 3x3 at L4."""

ADAPTIVE_CELLS = 4.0
"""How far out the adaptive tokens look before they have learned where to."""

OFFSET_CELLS = 8.0
"""What phi_4 counts as 1: the fastest of its waves then turns once in two cells."""

PLACE_FREQUENCIES, OFFSET_FREQUENCIES = 8, 4


class LocalTokens(nn.Module):
    """Gathers the 91 tokens of eq. 6 and the query's seed h(0)."""

    grid1: Tensor
    grid3: Tensor
    grid4: Tensor

    def __init__(self, config: EventNetworkConfig) -> None:
        super().__init__()
        dim, (c1, c2, _, c4) = config.dim, config.channels
        square = neighbourhood(NEAR)
        middle = len(square) // 2
        self.register_buffer('grid1', torch.cat([square[:middle], square[middle + 1:]]),
                             persistent=False)
        self.register_buffer('grid3', square, persistent=False)
        self.register_buffer('grid4', neighbourhood(COARSE), persistent=False)
        self.seed = nn.Linear(c1 + 4 * PLACE_FREQUENCIES, dim)              # W_q
        self.where = nn.Linear(c1, 2 * config.adaptive)
        self.level1 = nn.Linear(c1 + 4 * OFFSET_FREQUENCIES, dim)           # W_loc
        self.level2 = nn.Linear(c2, dim)                                    # W_v2
        self.level4 = nn.Linear(c4, dim)                                    # W_v4
        self.kind = nn.Parameter(0.02 * torch.randn(len(STRIDES), dim))     # e_L1 to e_L4
        self.place2, self.place3 = (nn.Parameter(0.02 * torch.randn(len(square), dim))
                                    for _ in range(2))
        self.place4 = nn.Parameter(0.02 * torch.randn(len(self.grid4), dim))
        # On a ring: from one and the same place all would learn the same.
        nn.init.zeros_(self.where.weight)
        turn = 2 * math.pi / config.adaptive * torch.arange(config.adaptive)
        ring = ADAPTIVE_CELLS * torch.stack([turn.cos(), turn.sin()], dim=-1)
        self.where.bias.data.copy_(ring.flatten())

    def forward(self, context: Context, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Return h(0) (B, K, d) and tokens (B, K, 91, d) of queries (B, K, 2), pixels (x, y)."""
        at1, at2, at3, at4 = (to_cells(queries, stride)[:, :, None] for stride in STRIDES)
        centre = read_tokens(context.l1, at1)[:, :, 0]                      # f_q: (B, K, c1)
        h = self.seed(torch.cat([centre, fourier(share(queries, context), PLACE_FREQUENCIES)],
                                dim=-1))
        chosen = self.where(centre).unflatten(2, (-1, 2))                   # (B, K, adaptive, 2)
        offsets = torch.cat([self.grid1.expand(*h.shape[:2], -1, -1), chosen], dim=2)
        near = torch.cat([read_tokens(context.l1, at1 + offsets),
                          fourier(offsets / OFFSET_CELLS, OFFSET_FREQUENCIES)], dim=-1)
        tokens = [
            F.gelu(self.level1(near)) + self.kind[0],                       # (B, K, 32, d)
            self.level2(read_tokens(context.l2, at2 + self.grid3)) + self.kind[1] + self.place2,
            read_tokens(context.l3, at3 + self.grid3) + self.kind[2] + self.place3,
            self.level4(read_tokens(context.l4, at4 + self.grid4)) + self.kind[3] + self.place4]
        return h, torch.cat(tokens, dim=2)                                  # (B, K, 91, d)


def share(pixels: Tensor, context: Context) -> Tensor:
    """Return pixels or distances between them as shares of the picture's width and height.

    The picture is what L1 covers: a sensor whose sides are no multiples of 4 is up to 3 smaller.
    """
    rows, cols = context.l1.shape[2:]
    extent = torch.tensor([cols, rows], dtype=pixels.dtype, device=pixels.device) * STRIDES[0]
    return pixels / extent
