"""Depth of a frame before it is made: as maps, or at the pixels that somebody asks for."""

import sys
from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size

Map = npt.NDArray[np.float32]
"""(rows, cols)."""

Indices = npt.NDArray[np.intp]
Values = npt.NDArray[np.float32]


class Field(ABC):
    """Inverse depth and trust of one frame; it stays what it is when the next frame comes.

    ``size`` is that of the depth map (rows, cols), ``trust_size`` that of the map of trust.
    """

    size: Size
    trust_size: Size
    many = sys.maxsize
    """Points of an image from which on it is quicker to make the map and look them up in it."""

    @abstractmethod
    def depth_at(self, rows: Indices, cols: Indices) -> Values:
        """Return inverse depth at pixels of the depth map, of the shape of ``rows``.

        The same numbers as in the map, and of the map nothing else.
        """

    @abstractmethod
    def trust_at(self, rows: Indices, cols: Indices) -> Values:
        """Return the trust at pixels of its map, of the shape of ``rows``."""

    @abstractmethod
    def depth(self) -> Map:
        """Return the depth map, of ``size``."""

    @abstractmethod
    def trust(self) -> Map:
        """Return the trust in each pixel, in [0, 1], of ``trust_size``."""

    def maps(self) -> tuple[Map, Map]:
        """Return depth and trust."""
        return self.depth(), self.trust()


class MapField(Field):
    """Of a frame whose maps were made."""

    def __init__(self, depth: Map, trust: Map) -> None:
        self._depth, self._trust = depth, trust
        self.size, self.trust_size = depth.shape, trust.shape

    def depth_at(self, rows: Indices, cols: Indices) -> Values:
        return self._depth[rows, cols]

    def trust_at(self, rows: Indices, cols: Indices) -> Values:
        return self._trust[rows, cols]

    def depth(self) -> Map:
        return self._depth

    def trust(self) -> Map:
        return self._trust
