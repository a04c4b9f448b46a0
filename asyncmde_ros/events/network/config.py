"""Sizes of the network: as the document publishes it, and what two cores can train."""

from dataclasses import dataclass

STRIDES = (4, 8, 16, 32)
"""Pixels a cell of the pyramid's levels L1 to L4."""

SAMPLED_LEVELS = (1, 2, 3)
"""Which levels (as indices) B4 reads: L2, L3, L4."""

ADDED_UP = 2
"""Channels of what events have added up to, which our stem reads behind the bins."""


@dataclass(frozen=True)
class EventNetworkConfig:
    """One size of the network; the resolution is no part of it, any works.

    ``bins`` of the voxel grid and ADDED_UP channels are read by our stem, whose output has
    ``encoded`` channels, as F3 ds2 has 64.  ``channels``, ``blocks`` and ``kernels`` are those of
    A2 (L1 to L4; kernels of L1 and L2); ``window`` is L3's, in cells.  ``dim`` is d of the
    decoder, which L3's width must equal (B1 takes L3 as it is); ``heads`` of every attention;
    ``anchors`` is R, ``samples`` M for each head and level; ``adaptive`` of B1's tokens of L1
    choose their own place.
    """

    name: str
    bins: int = 5
    encoded: int = 64
    channels: tuple[int, int, int, int] = (64, 128, 192, 384)
    blocks: tuple[int, int, int, int] = (2, 3, 4, 2)
    kernels: tuple[int, int] = (7, 13)
    window: int = 8
    dim: int = 192
    heads: int = 6
    anchors: int = 32
    samples: int = 4
    adaptive: int = 8
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.channels[2] != self.dim:
            raise ValueError(f'L3 has {self.channels[2]} channels and the decoder {self.dim}: '
                             'B1 takes L3 as it is, so they must be equal')
        for name, width in (('dim', self.dim), ('the width of L4', self.channels[3])):
            if width % self.heads:
                raise ValueError(f'{name}, {width}, is no multiple of {self.heads} heads')

    @property
    def inputs(self) -> int:
        """Return how many channels our stem reads."""
        return self.bins + ADDED_UP


PUBLISHED = EventNetworkConfig('published')
"""The document's, for 1280x720."""

SMALL = EventNetworkConfig('small', encoded=24, channels=(24, 48, 64, 96), blocks=(2, 2, 2, 1),
                           window=5, dim=64, heads=4, anchors=8)
"""What one core trains in an hour, for about 168x224: L4 then has 35 cells, of which R is 8."""

CONFIGS = {config.name: config for config in (PUBLISHED, SMALL)}
