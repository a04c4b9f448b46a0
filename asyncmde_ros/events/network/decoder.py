"""Phase B: depth of any number of points, each by itself."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asyncmde_ros.events.network.anchors import DeformableRead, route
from asyncmde_ros.events.network.attention import GatheredDecoder, SharedLayer
from asyncmde_ros.events.network.config import EventNetworkConfig
from asyncmde_ros.events.network.local_tokens import LocalTokens
from asyncmde_ros.events.network.precompute import GLOBAL_LAYERS, Context

LOCAL_LAYERS, FUSED_LAYERS = 2, 3
LEAST_INVERSE_DEPTH = 1e-3
"""The epsilon of eq. 26: nothing is farther than a thousand units."""


class QueryDecoder(nn.Module):
    """B1 to B5."""

    def __init__(self, config: EventNetworkConfig) -> None:
        super().__init__()
        dim, heads, dropout = config.dim, config.heads, config.dropout
        self.anchors = config.anchors
        self.gather = LocalTokens(config)                                   # B1
        self.local = GatheredDecoder(dim, heads, dropout, LOCAL_LAYERS)     # B2
        self.whole = nn.ModuleList(SharedLayer(dim, heads, dropout)
                                   for _ in range(GLOBAL_LAYERS))           # B3
        self.read = DeformableRead(config)                                  # B4
        self.fused = GatheredDecoder(dim, heads, dropout, FUSED_LAYERS)     # B5
        self.depth = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, 1))

    def forward(self, context: Context, queries: Tensor) -> Tensor:
        """Return inverse depth (B, K) > 0 of queries (B, K, 2), float32 pixels (x, y).

        A pixel's centre is at whole numbers.  A query beyond the picture reads its border.
        """
        h, tokens = self.gather(context, queries)                           # eq. 6: 91 tokens
        h = self.local(h, tokens)
        for number, layer in enumerate(self.whole):
            h, weights = layer(h, context.keys[:, number], context.values[:, number])
        cells, gates = route(weights, self.anchors)                         # eq. 12
        remote = self.read(context, h, queries, cells, gates)               # (B, K, R, d)
        h = self.fused(h, torch.cat([tokens, remote], dim=2))               # eqs. 21-24
        z = self.depth(h)[..., 0]                                           # eq. 25: (B, K)
        return F.softplus(context.scale * z + context.shift) + LEAST_INVERSE_DEPTH  # eq. 26
