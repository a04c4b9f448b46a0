"""A1: events to features at half of the sensor's resolution.

The document takes F3's ``ds2`` encoder (Das et al., "Fast Feature Fields", 2025), which has to be
trained and which nobody has published (upstream has ds1, ds4 and ds16).  Whatever gives the same
tensor can stand in its place.
"""

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from asyncmde_ros.events.network.config import EventNetworkConfig
from asyncmde_ros.events.network.layers import ChannelNorm


class EventEncoder(Protocol):
    """What a window of events becomes."""

    def __call__(self, events: Tensor) -> Tensor:
        """Map events, in whatever form the encoder takes them, to (B, C, ceil(H/2), ceil(W/2)).

        C is ``encoded`` of the network's configuration: 64 as published.
        """


class LightStem(nn.Module):
    """Our encoder: two convolutions on what :class:`~.inputs.StemInput` makes of a window.

    That has the window's voxel grid and what all events until its end have added up to: of one
    window alone little is seen, and the memory is of L4, too coarse to keep what was seen before.
    """

    def __init__(self, config: EventNetworkConfig) -> None:
        super().__init__()
        self.halve = nn.Conv2d(config.inputs, config.encoded, 5, stride=2, padding=2)
        self.norm = ChannelNorm(config.encoded)
        self.mix = nn.Conv2d(config.encoded, config.encoded, 3, padding=1)

    def forward(self, events: Tensor) -> Tensor:
        """Map (B, bins + ADDED_UP, H, W) to (B, encoded, ceil(H/2), ceil(W/2))."""
        x = F.gelu(self.norm(self.halve(events)))                           # (B, C, H/2, W/2)
        return x + self.mix(x)
