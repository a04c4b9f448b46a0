"""EventSPD: sparse depth from events, in two phases that can run apart.

Source: Zhou, "EventSPD: Sparse Query-Point Depth from Event Cameras", architecture document,
February 2026.  Equations and stages (A1 to A4, B1 to B5) are numbered as there; where it
contradicts itself, docs/eventspd.md says what is done.
"""

import torch
from torch import Tensor, nn

from asyncmde_ros.events.network.config import EventNetworkConfig
from asyncmde_ros.events.network.decoder import QueryDecoder
from asyncmde_ros.events.network.encoder import EventEncoder, LightStem
from asyncmde_ros.events.network.precompute import Context, Precompute
from asyncmde_ros.events.network.pyramid import Pyramid, level4_size


class SharedPhase(nn.Module):
    """Phase A: once for a window of events."""

    def __init__(self, config: EventNetworkConfig, encoder: nn.Module | None = None) -> None:
        """``encoder``: an :class:`EventEncoder` in place of our stem."""
        super().__init__()
        self.encoder: EventEncoder = LightStem(config) if encoder is None else encoder
        self.pyramid = Pyramid(config)
        self.precompute = Precompute(config)

    def forward(self, events: Tensor, hidden: Tensor) -> Context:
        """Map a window's events, as the encoder takes them, and the memory (B, c4, ., .).

        The next window's memory is ``l4`` of the result.
        """
        return self.precompute(self.pyramid(self.encoder(events), hidden))


    def remembered(self, events: Tensor, hidden: Tensor) -> Tensor:
        """Return only the next window's memory."""
        return self.pyramid(self.encoder(events), hidden).l4


class EventSPD(nn.Module):
    """Both phases."""

    def __init__(self, config: EventNetworkConfig, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.shared = SharedPhase(config, encoder)
        self.decoder = QueryDecoder(config)

    def no_memory(self, batch: int, rows: int, cols: int) -> Tensor:
        """Return h_0 = 0 for a sensor of (rows, cols)."""
        like = next(self.parameters())
        return torch.zeros(batch, self.config.channels[3], *level4_size(rows, cols),
                           device=like.device)

    def forward(self, events: Tensor, hidden: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Return inverse depth (B, K) and the next window's memory."""
        context = self.shared(events, hidden)
        return self.decoder(context, queries), context.l4
