"""A2: four levels of features at strides 4, 8, 16 and 32, the last with a memory."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from asyncmde_ros.events.network.config import EventNetworkConfig
from asyncmde_ros.events.network.layers import ChannelNorm, ConvNeXtBlock, GlobalBlock, SwinBlock

LONGEST_WAVE = 100.0
"""Of the position code, in cells: several times the longest side of L4."""


class Levels(NamedTuple):
    """Features (B, C, rows, cols) at strides 4, 8, 16, 32; the last one is G, the memory's."""

    l1: Tensor
    l2: Tensor
    l3: Tensor
    l4: Tensor


class Downsample(nn.Sequential):
    """Normalise, then halve with a 2x2 convolution; an odd last row or column is left out."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(ChannelNorm(channels), nn.Conv2d(channels, out, 2, stride=2))


class SeparableConv(nn.Sequential):
    """A 3x3 convolution of each channel, then a mixture of channels."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
                         nn.Conv2d(channels, out, 1))


class ConvGRU(nn.Module):
    """The temporal state of eq. 3; it stays within (-1, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.update = SeparableConv(2 * channels, channels)
        self.reset = SeparableConv(2 * channels, channels)
        self.candidate = SeparableConv(2 * channels, channels)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        both = torch.cat([x, hidden], dim=1)                                # (B, 2C, ., .)
        z, r = self.update(both).sigmoid(), self.reset(both).sigmoid()
        proposed = self.candidate(torch.cat([x, r * hidden], dim=1)).tanh()
        return (1 - z) * hidden + z * proposed                              # eq. 3


class Pyramid(nn.Module):
    """The backbone, from the encoder's features and the memory to L1-L4."""

    def __init__(self, config: EventNetworkConfig) -> None:
        super().__init__()
        c1, c2, c3, c4 = config.channels
        n1, n2, n3, n4 = config.blocks
        self.stem = nn.Sequential(nn.Conv2d(config.encoded, c1, 3, stride=2, padding=1),
                                  ChannelNorm(c1))
        self.l1 = nn.Sequential(*(ConvNeXtBlock(c1, config.kernels[0]) for _ in range(n1)))
        self.down2 = Downsample(c1, c2)
        self.l2 = nn.Sequential(*(ConvNeXtBlock(c2, config.kernels[1]) for _ in range(n2)))
        self.down3 = Downsample(c2, c3)
        self.l3 = nn.Sequential(*(SwinBlock(c3, config.heads, config.window, bool(index % 2))
                                  for index in range(n3)))
        self.down4 = Downsample(c3, c4)
        self.l4 = nn.Sequential(*(GlobalBlock(c4, config.heads) for _ in range(n4)))
        self.memory = ConvGRU(c4)

    def forward(self, features: Tensor, hidden: Tensor) -> Levels:
        """Map features (B, encoded, H/2, W/2) and G of the window before, zeros if none."""
        l1 = self.l1(self.stem(features))                                   # (B, c1, H/4, W/4)
        l2 = self.l2(self.down2(l1))                                        # (B, c2, H/8, W/8)
        l3 = self.l3(self.down3(l2).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.down4(l3)                                                  # (B, c4, H/32, W/32)
        x = x + position_code(x)
        tokens = self.l4(x.flatten(2).transpose(1, 2))                      # (B, cells, c4)
        return Levels(l1, l2, l3, self.memory(tokens.transpose(1, 2).reshape(x.shape), hidden))


def position_code(x: Tensor) -> Tensor:
    """Return sines and cosines of a cell's place, (1, C, rows, cols) for (B, C, rows, cols).

    Ours; it has no parameters.  The document gives L4's attention no sense of place, and where
    in the picture something is says much of how far it is.
    """
    _, channels, rows, cols = x.shape
    count = channels // 4
    waves = LONGEST_WAVE ** (torch.arange(count, device=x.device) / max(1, count - 1))
    turns = 2 * torch.pi / (4 * waves)                                      # a quarter at most
    down = torch.arange(rows, device=x.device)[None, :] * turns[:, None]    # (count, rows)
    across = torch.arange(cols, device=x.device)[None, :] * turns[:, None]
    parts = [*(part[:, :, None].expand(-1, -1, cols) for part in (down.sin(), down.cos())),
             *(part[:, None, :].expand(-1, rows, -1) for part in (across.sin(), across.cos()))]
    return torch.cat(parts)[None].to(x.dtype)


def level4_size(rows: int, cols: int) -> tuple[int, int]:
    """Return the (rows, cols) of L4, and so of the memory, for a sensor of (rows, cols).

    ValueError for one so small that L4 would have no cell.
    """
    size = -(-rows // 4) // 8, -(-cols // 4) // 8
    if not all(size):
        raise ValueError(f'a sensor of {cols} x {rows} pixels: the network needs 29 or more')
    return size
