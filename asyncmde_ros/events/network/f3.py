"""F3's features of events, and weights that its authors have trained, in place of our stem.

Source: Das et al., "Fast Feature Fields", 2025 (arXiv:2509.25146), and the networks that are
published with it: the ``ds1`` ones, whose features are as large as the sensor.  Each event is
looked up by place and age in four tables of different resolution, what is found is added up in
its pixel, and convolutions go over that.  Our own code; docs/eventspd.md says how its numbers were
compared with upstream's.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.events.network.config import EventNetworkConfig
from asyncmde_ros.events.network.layers import EPS, ChannelNorm, ConvNeXtBlock
from asyncmde_ros.model.geometry import Size

BIN_NS = 1_000_000
"""Events of the same millisecond are of one age."""

ENTRIES = 1 << 19
WIDTH = 2
"""Numbers of an entry of a table."""

BLOCKS = 3
KERNEL = 7

METADATA = 'f3'
"""Under which a weight file says which of NETWORKS it is of."""

PREFIX = '_orig_mod.'
"""What compiling puts before the names of tensors."""

HEAD = 'pred.'
"""F3's forecast of events, which its training needs and features do not."""


SHOWN = 3
"""Of what is wrong with a file, at most so many things are told."""

NAMES = {'tables.entries': 'multi_hash_encoder.hashmap',
         'stem.': 'downsample_layers.0.', 'between.': 'downsample_layers.1.',
         'first.': 'stages.0.', 'second.': 'stages.1.',
         '.spread.': '.dwconv.', '.widen.': '.pwconv1.', '.narrow.': '.pwconv2.',
         '.response.gain': '.grn.gamma', '.response.shift': '.grn.beta'}
"""Parts of our tensors' names and upstream's."""


@dataclass(frozen=True)
class F3Config:
    """One published network.

    ``size``: (rows, cols) that it was trained on; ``bins`` ages of a millisecond each are looked
    at; ``channels`` of its features, ``factor`` times as many within a block; ``levels``:
    intervals (in x, y, age) of each table.
    """

    size: Size
    bins: int
    channels: int
    factor: int
    levels: tuple[tuple[int, int, int], ...]


_LEVELS = ((8, 8, 1), (27, 22, 2), (93, 63, 4), (320, 180, 8))

NETWORKS = {
    '1280x720x20_patchff_ds1_small': F3Config((720, 1280), 20, 32, 2, _LEVELS),
    '1280x720x20_patchff_ds1_tiny': F3Config((720, 1280), 20, 16, 2, _LEVELS),
    '1280x720x20_patchff_ds1_micro': F3Config((720, 1280), 20, 8, 4, _LEVELS),
    '640x480x20_patchff_ds1_small': F3Config((480, 640), 20, 32, 2, _LEVELS),
    # 139 is 140 as upstream rounds it.
    '346x260x50_patchff_ds1_small': F3Config(
        (260, 346), 50, 32, 2, ((8, 8, 1), (22, 20, 2), (63, 53, 6), (180, 139, 16)))}
"""By upstream's names.

In all of them every cell of every level has an entry of its own: nothing is hashed.
"""


class EventTables(nn.Module):
    """What is known of an event by its place and age: entries between which is interpolated."""

    def __init__(self, config: F3Config) -> None:
        super().__init__()
        self.config = config
        self.entries = nn.Parameter(torch.empty(len(config.levels), ENTRIES, WIDTH))
        nn.init.uniform_(self.entries, -1e-4, 1e-4)

    def forward(self, row: Tensor, col: Tensor, age: Tensor) -> Tensor:
        """Map (n,) each, integers in the frame of ``config``, to (n, levels * WIDTH)."""
        rows, cols = self.config.size
        place = torch.stack([col / cols, row / rows, age / self.config.bins], dim=-1)   # (n, 3)
        ends = torch.tensor((False, True), device=place.device)
        corners = torch.cartesian_prod(ends, ends, ends)                                # (8, 3)
        found = []
        for entries, intervals in zip(self.entries, self.config.levels, strict=True):
            at = (place * place.new_tensor(intervals))[:, None]
            low = at.long()
            weight = torch.where(corners, at - low, 1 - (at - low)).prod(-1)            # (n, 8)
            x, y, t = (low + corners).unbind(-1)
            entry = x + intervals[0] * (y + intervals[1] * t)
            found.append((weight[..., None] * entries[entry]).sum(1))               # (n, WIDTH)
        return torch.cat(found, dim=-1)


class F3(nn.Module):
    """F3's features of a window's events."""

    def __init__(self, config: F3Config) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.tables = EventTables(config)
        self.stem = nn.Sequential(nn.Conv2d(len(config.levels) * WIDTH, channels, 1),
                                  ChannelNorm(channels, eps=EPS))
        self.first = _blocks(config)
        self.between = nn.Sequential(ChannelNorm(channels, eps=EPS),
                                     nn.Conv2d(channels, channels, 1))
        self.second = _blocks(config)

    def forward(self, counts: Tensor) -> Tensor:
        """Map counts by age (B, bins, H, W) to features (B, channels, H, W).

        ``counts``: :func:`~asyncmde_ros.events.representation.age_counts` with BIN_NS at the
        window's end.  A smaller sensor than F3's is taken to be at the middle of that one; what
        is around it F3 would see as pixels without events, here it is not there.  Raises
        ValueError for a larger sensor, or other bins.
        """
        batch, bins, rows, cols = counts.shape
        if bins != self.config.bins:
            raise ValueError(f'{bins} ages: these weights of F3 take {self.config.bins}')
        aside = [(whole - side) // 2
                 for whole, side in zip(self.config.size, (rows, cols), strict=True)]
        if min(aside) < 0:
            raise ValueError(f'a sensor of {cols}x{rows} pixels: these weights of F3 are for '
                             f'{self.config.size[1]}x{self.config.size[0]} at most')
        of, age, row, col = counts.nonzero(as_tuple=True)
        known = self.tables(row + aside[0], col + aside[1], age)
        field = known.new_zeros(batch * rows * cols, known.shape[1])
        field = field.index_add(0, (of * rows + row) * cols + col,
                                known * counts[of, age, row, col, None])
        x = field.reshape(batch, rows, cols, -1).permute(0, 3, 1, 2)
        return self.second(self.between(self.first(self.stem(x))))


class F3Encoder(nn.Module):
    """An :class:`~asyncmde_ros.events.network.encoder.EventEncoder` of F3's features.

    The document's F3 has half of the sensor's resolution, which was never published: here one
    convolution halves, and has to be trained.  F3 itself stays as it is, as in the document's
    training.
    """

    def __init__(self, config: EventNetworkConfig, f3: F3) -> None:
        super().__init__()
        self.f3 = f3.requires_grad_(False)
        self.halve = nn.Conv2d(f3.config.channels, config.encoded, 3, stride=2, padding=1)

    def forward(self, events: Tensor) -> Tensor:
        """Map counts by age (B, bins, H, W) to (B, encoded, ceil(H/2), ceil(W/2))."""
        return self.halve(self.f3(events))


def load_f3(path: Path) -> F3:
    """Return F3 with the weights of a safetensors file of upstream's names.

    Its metadata says which of NETWORKS it is.  WeightsError where there is no such file, or its
    tensors are others.
    """
    try:
        with safe_open(path, 'pt') as content:
            name = (content.metadata() or {}).get(METADATA)
            tensors = {key.removeprefix(PREFIX): content.get_tensor(key)
                       for key in content.keys()}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f'cannot read {path}: {error}; it has to be safetensors: '
                           'docs/eventspd.md says how a .pth becomes that') from error
    if name not in NETWORKS:
        raise WeightsError(f'{path} is of F3 {name!r} by its metadata {METADATA!r}; known are '
                           f'{", ".join(NETWORKS)}')
    f3 = F3(NETWORKS[name])
    own = f3.state_dict()
    known = {_upstream_name(key): key for key in own}
    taken = {known[key]: _turned(key, tensor) for key, tensor in tensors.items() if key in known}
    wrong = [f'{key} is missing' for key in known if key not in tensors]
    wrong += [f'{key} does not belong there' for key in tensors
              if key not in known and not key.startswith(HEAD)]
    wrong += [f'{key} is of the shape {tuple(tensors[key].shape)}' for key, of in known.items()
              if of in taken and taken[of].shape != own[of].shape]
    wrong += [f'{key} has numbers that are not finite' for key, of in known.items()
              if of in taken and not taken[of].isfinite().all()]
    if wrong:
        raise WeightsError(f'{path} is not F3 {name}: {"; ".join(wrong[:SHOWN])}'
                           + (f'; and {len(wrong) - SHOWN} more' if len(wrong) > SHOWN else ''))
    f3.load_state_dict(taken)
    return f3


def _upstream_name(name: str) -> str:
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return name


def _turned(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor of upstream's as ours is laid out."""
    if '.dwconv.' in name and tensor.dim() == 4:
        return tensor.transpose(2, 3).float()   # upstream's maps are (x, y), ours (row, column)
    return (tensor.flatten() if '.grn.' in name else tensor).float()


def _blocks(config: F3Config) -> nn.Sequential:
    return nn.Sequential(*(ConvNeXtBlock(config.channels, KERNEL, config.factor)
                           for _ in range(BLOCKS)))
