"""B3's routing and B4: where in the picture a query looks, and what it reads there."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asyncmde_ros.events.network.config import SAMPLED_LEVELS, STRIDES, EventNetworkConfig
from asyncmde_ros.events.network.layers import EPS, fourier, read, to_cells
from asyncmde_ros.events.network.local_tokens import PLACE_FREQUENCIES, share
from asyncmde_ros.events.network.precompute import Context


def route(weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Choose the cells that get most of a query's attention (eq. 12).

    ``weights``: (B, heads, K, cells).  Returns the cells' numbers and gates, (B, K, count) each.
    A gate is exactly 1, and its gradient is that of the mean attention: which cells are chosen
    cannot be learned from the numbers, which have no derivative, but how much each of those that
    were chosen is worth can, and that changes who is chosen next.
    """
    mean = weights.mean(1)                                                  # (B, K, cells)
    best, cells = mean.topk(min(count, mean.shape[-1]), dim=-1)
    return cells, 1 + (best - best.detach())


class DeformableRead(nn.Module):
    """Reads L2-L4 around each anchor and makes one token of what is there (eqs. 13-21).

    Equation 17 divides the offsets by the level's width and then normalises once more, so that
    offsets which begin near 0 and learn slowly would not move a sample by a cell in a whole
    training.  Here an offset is in cells of the level that it is read from.  Offsets that begin
    at exactly 0 would keep all samples of a head alike; they begin in directions, as those of
    Deformable DETR (Zhu et al., 2021) do.
    """

    def __init__(self, config: EventNetworkConfig) -> None:
        super().__init__()
        dim, self.heads, self.samples = config.dim, config.heads, config.samples
        lookups = self.heads * len(SAMPLED_LEVELS) * self.samples
        self.condition = nn.Linear(2 * dim + 4 * PLACE_FREQUENCIES, dim)    # W_u
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.offsets = nn.Linear(dim, 2 * lookups)
        self.importance = nn.Linear(dim, lookups)                           # W^a
        self.out = nn.Linear(dim, dim)                                      # W_O
        self.kind = nn.Parameter(0.02 * torch.randn(dim))                   # e_deform
        nn.init.zeros_(self.offsets.weight)
        turn = 2 * math.pi / self.heads * torch.arange(self.heads)
        rays = torch.stack([turn.cos(), turn.sin()], dim=-1)[:, None, None]
        reach = torch.arange(1, self.samples + 1)[:, None] / self.samples
        self.offsets.bias.data.copy_(
            (rays * reach).expand(-1, len(SAMPLED_LEVELS), -1, -1).flatten())

    def forward(self, context: Context, h: Tensor, queries: Tensor, cells: Tensor,
                gates: Tensor) -> Tensor:
        """Return tokens (B, K, R, d) for the anchors ``cells`` (B, K, R), numbers of L4's cells.

        ``h``: (B, K, d); ``queries``: (B, K, 2) in pixels.
        """
        batch, count, anchors = cells.shape
        cols = context.l4.shape[3]
        place = torch.stack([cells % cols, cells // cols], dim=-1).to(queries.dtype)
        pixels = (place + 0.5) * STRIDES[3] - 0.5                           # p_r: (B, K, R, 2)
        first = torch.arange(batch, device=cells.device) * context.anchors.shape[1]
        g = context.anchors.flatten(0, 1)[cells + first[:, None, None]]     # g_r: (B, K, R, d)
        away = fourier(share(pixels - queries[:, :, None], context), PLACE_FREQUENCIES)
        u = torch.cat([h[:, :, None].expand(-1, -1, anchors, -1), g, away], dim=-1)
        u = self.norm(F.gelu(self.condition(u)))                            # eq. 14
        levels = len(SAMPLED_LEVELS)
        offsets = self.offsets(u).reshape(batch, count * anchors, self.heads, levels,
                                          self.samples, 2)                  # eq. 15
        importance = self.importance(u).reshape(batch, count * anchors, self.heads,
                                                levels * self.samples).softmax(dim=-1)
        pixels = pixels.reshape(batch, 1, count * anchors, 1, 2)
        read_in_all = torch.zeros((), dtype=u.dtype, device=u.device)
        for number, level in enumerate(SAMPLED_LEVELS):
            values = (context.value2, context.value3, context.value4)[number]
            # One picture a head: each reads its own channels.
            values = values.reshape(batch * self.heads, -1, *values.shape[2:])
            at = to_cells(pixels, STRIDES[level]) + offsets[:, :, :, number].transpose(1, 2)
            found = read(values, at.flatten(0, 1))                  # (B heads, d_h, K R, M)
            part = importance[..., number * self.samples:(number + 1) * self.samples]
            part = part.transpose(1, 2).flatten(0, 1)[:, None]              # (B heads, 1, K R, M)
            read_in_all = read_in_all + (found * part).sum(-1)              # eq. 19
        mixed = read_in_all.reshape(batch, -1, count, anchors).permute(0, 2, 3, 1)
        return gates[..., None] * (self.out(mixed) + self.kind)             # eqs. 20-21
