"""Which features a few pixels of depth are made of: patches of them, and how they are resampled.

The decoder's tail is convolutions and bilinear resampling with corners aligned
(:mod:`asyncmde_ros.network.dpt`), so that a block of its output depends on a patch of its input,
of the same size wherever it lies.  Positions are computed here and not in a graph, whose half
precision does not tell one pixel from the next.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import FINEST, PATCH, Size

SIDE = 3
"""Of a block of depth pixels: a pixel with its neighbours, which is what one point asks for."""

Array = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


class Tail(NamedTuple):
    """What the tail of a decoder does to its input, the finest level's size, until it is depth.

    ``scales`` are the sizes that it has on the way, relative to the input's, the output's first;
    ``margin`` are the pixels to each side that its convolutions at the input's size reach.
    ``parts`` counts the maps, of the memory's width each, that the input consists of.
    """

    scales: tuple[float, ...]
    margin: int
    parts: int

    def size(self, fine: Size) -> Size:
        """Return the size of the depth map for the finest level's."""
        rows, cols = (round(self.scales[0] * length) for length in fine)
        return rows, cols

    @property
    def patch(self) -> int:
        """Return the side of a block's patch."""
        return self._counts()[-1] + 2 * self.margin

    def _counts(self) -> list[int]:
        """Return how many pixels along a side a block needs at each of the sizes."""
        counts = [SIDE]
        for outer, inner in pairwise(self.scales):
            # A row more at either end for a 3x3 convolution; as many as there are if unaligned.
            counts.append(math.ceil((counts[-1] + 1) * inner / outer) + 2)
        return counts

    def shapes(self, count: int, channels: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what :meth:`inputs` gives for ``count`` blocks, in order."""
        counts = self._counts()
        resampling = {f'{axis}{index}': (count, before + 2, after)
                      for axis in ('down', 'across')
                      for index, (before, after) in enumerate(pairwise(counts), start=1)}
        side = self.patch
        return {'patches': (count, side, side, self.parts * channels),
                'rows': (count, side), 'cols': (count, side), **resampling}

    def inputs(self, undecoded: Array, rows: Indices, cols: Indices) -> dict[str, Array]:
        """Return what the decoder of points reads, for blocks (n,) by their first pixels.

        ``undecoded``: (rows, cols, channels), the tail's input.
        """
        taken = {}
        patches = []
        for name, axis, start, length in (('rows', 'down', rows, undecoded.shape[0]),
                                          ('cols', 'across', cols, undecoded.shape[1])):
            pixels, resampling = self._along(start, length)
            taken[name] = _inside(pixels, length)
            taken |= {f'{axis}{index}': one for index, one in enumerate(resampling, start=1)}
            patches.append(np.clip(pixels, 0, length - 1))
        down, across = patches
        taken['patches'] = undecoded[down[:, :, None], across[:, None, :]]
        return taken

    def _along(self, start: Indices, fine: int) -> tuple[Indices, list[Array]]:
        """Return the patches' pixels (n, side) along one axis, and the weights on the way."""
        lengths = [round(scale * fine) for scale in self.scales]
        resampling = []
        counts = self._counts()
        for (outer, inner), (before, after) in zip(pairwise(lengths), pairwise(counts),
                                                   strict=True):
            wanted = start[:, None] + np.arange(-1, before + 1)
            source = wanted * ((inner - 1) / (outer - 1))
            start = np.floor(source[:, 0]).astype(np.intp)
            pixels = start[:, None] + np.arange(after)
            weights = np.maximum(1 - np.abs(source[:, :, None] - pixels[:, None, :]), 0)
            resampling.append(np.asarray(
                weights * _inside(wanted, outer)[:, :, None], np.float32))
        return start[:, None] + np.arange(-self.margin, counts[-1] + self.margin), resampling


def _inside(pixels: Indices, length: int) -> Array:
    return np.asarray((pixels >= 0) & (pixels < length), np.float32)


TAILS = {'light': Tail((2, 1), 3, 1), 'dpt': Tail((PATCH / FINEST, 2, 1), 4, 2)}
"""By the decoder's name in a configuration."""
