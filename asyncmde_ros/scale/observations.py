"""Distances that something measured, as pixels of the image with their inverse depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size

Array = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]

CELLS = 16
"""Cells along the image's longer side.  What a depth network gets wrong it gets wrong for a whole
patch or object: neighbouring points say the same, and count as one together."""


DEPTHS_M = 1e-3, 1e5
"""No sensor measures less or more: such a number is not a distance."""

MOST = 1000
"""Observations that are used of one moment: more say the same, and cost milliseconds."""


REMAPPED = 30000


@dataclass(frozen=True, eq=False)
class Observations:
    """What one source measured at one moment.

    ``pixels`` (n, 2) are the (x, y) in an image of ``image`` (rows, cols), centres of pixels at
    whole numbers; ``inverse_depth`` (n,) is 1 over the depth along the optical axis, 1/m, and
    ``sigma`` (n,) its standard deviation, 1/m.  Rows that are not finite, not in front of the
    camera or not in the image may be there: they are left out when the map is looked at, and so
    is a value that is no larger than its standard deviation, which says nothing.

    ``common`` (n, k) is the part of it that all rows, and all of the source's moments, share, as
    of a camera's tilt: what one standard deviation of each of k independent errors adds to
    inverse depth, 1/m.  Such errors do not average out.
    ValueError where shapes differ.
    """

    pixels: Array
    inverse_depth: Array
    sigma: Array
    image: Size
    stamp_s: float
    source: str
    common: Array | None = None

    def __post_init__(self) -> None:
        count = len(self.inverse_depth)
        common = () if self.common is None else self.common.shape
        if (self.pixels.shape != (count, 2) or self.inverse_depth.shape != (count,)
                or self.sigma.shape != (count,) or common not in ((), (count, *common[1:]))
                or len(common) == 1):
            raise ValueError(f'shapes differ: pixels {self.pixels.shape}, inverse depth '
                             f'{self.inverse_depth.shape}, sigma {self.sigma.shape}, common '
                             f'{common or None}')

    @classmethod
    def of_depth(cls, pixels: npt.ArrayLike, depth_m: npt.ArrayLike, sigma_m: npt.ArrayLike,
                 image: Size, stamp_s: float, source: str) -> 'Observations':
        """Return observations of depths (n,) metres with a standard deviation (n,) or ().

        To first order the inverse of d with standard deviation s has s / d^2.  A depth outside
        DEPTHS_M, or a standard deviation as large as it, becomes NaN.
        """
        depth, sigma = np.broadcast_arrays(np.asarray(depth_m, np.float64),
                                           np.asarray(sigma_m, np.float64))
        nearest, farthest = DEPTHS_M
        good = (depth >= nearest) & (depth <= farthest) & (sigma < depth)
        depth, sigma = np.where(good, depth, np.nan), np.where(good, sigma, np.nan)
        return cls(np.asarray(pixels, np.float64).reshape(-1, 2), 1 / depth, sigma / depth ** 2,
                   image, stamp_s, source)

    def seen_in(self, relative: Map) -> 'Observations':
        """Return these; where they are in the image does not depend on the map."""
        return self


class Measurement(Protocol):
    """What becomes observations once the relative map of its moment is known."""

    @property
    def stamp_s(self) -> float:
        """When it was measured."""

    def seen_in(self, relative: Map) -> Observations:
        """Return the observations in the map (h, w) of that moment."""


class PastMap(NamedTuple):
    """A map (h, w) that was; ``gain`` r + ``offset`` is its value r in those of the present."""

    stamp_s: float
    relative: Map
    gain: float
    offset: float


@dataclass(frozen=True, eq=False)
class Samples:
    """Observations beside what the map says at their pixels; all (n,) float64.

    ``relative`` is the map's value, ``inverse_depth`` and ``sigma`` are measured, in 1/m, and
    ``weight`` in (0, 1] is 1 over how many of them share a cell of the image.  ``common`` (n, k)
    are their common errors, 1/m, zero for those of other sources, None where there are none;
    ``errors`` (k) names them by source and number.  ``cell`` (n,) is the number of the image's
    cell that each is in, row after row of CELLS; None where that is not known.
    """

    relative: Array
    inverse_depth: Array
    sigma: Array
    weight: Array
    common: Array | None = None
    errors: tuple[tuple[str, int], ...] = ()
    cell: npt.NDArray[np.intp] | None = None


def overview(relative: Map) -> Array:
    """Return a map's values at the middles of CELLS x CELLS cells, NaN beside the image."""
    side = max(relative.shape) / CELLS
    rows, cols = (middles[middles < length] for length in relative.shape
                  for middles in [((np.arange(CELLS) + 0.5) * side).astype(np.intp)])
    found = np.full((CELLS, CELLS), np.nan)
    found[:rows.size, :cols.size] = relative[np.ix_(rows, cols)]
    return found.ravel()


def sample(measured: Sequence[tuple[PastMap, Observations]]) -> Samples:
    """Return what relative maps say where something was measured, in the present map's values.

    A map may be of another size than the images that the pixels are of; both show the same.  It
    is interpolated bilinearly.  Left out is what is not finite, not positive, outside the image,
    or where the map has no value; and of more than MOST, as many of each cell as leave that.
    """
    errors = tuple(dict.fromkeys(error for _, some in measured for error in _errors(some)))
    parts = []
    for moment, observations in measured:
        part = _sampled(moment.relative, observations, errors)
        part[0] = moment.gain * part[0] + moment.offset
        parts.append(part)
    columns = np.concatenate(parts, axis=1) if parts else np.zeros((4, 0))
    if columns.shape[1] > MOST:
        order = np.argsort(columns[3], kind='stable')
        columns = columns[:, order[np.linspace(0, order.size - 1, MOST).astype(np.intp)]]
    values, inverse_depth, sigma = columns[:3]
    cell = columns[3].astype(np.intp)
    return Samples(values, inverse_depth, sigma, 1 / np.bincount(cell)[cell],
                   columns[4:].T if errors else None, errors, cell)


def _errors(observations: Observations) -> list[tuple[str, int]]:
    """Return the names of what is wrong for all of them."""
    count = 0 if observations.common is None else observations.common.shape[1]
    return [(observations.source, index) for index in range(count)]


def _sampled(relative: Map, observations: Observations,
             errors: tuple[tuple[str, int], ...]) -> Array:
    """Return (4 + k, n): the map's value, inverse depth, sigma, the cell's number, k errors."""
    (rows, cols), (height, width) = observations.image, relative.shape
    x, y = observations.pixels.T
    nearest, farthest = DEPTHS_M
    good = ((observations.inverse_depth >= 1 / farthest)
            & (observations.inverse_depth <= 1 / nearest)
            & (observations.sigma >= 0) & (observations.sigma < observations.inverse_depth)
            & (x >= -0.5) & (x < cols - 0.5) & (y >= -0.5) & (y < rows - 0.5))  # NaN is false
    if not good.any():
        return np.zeros((4 + len(errors), 0))
    x, y = x[good], y[good]
    target = np.empty((1, len(x), 2), np.float32)
    target[0, :, 0] = (x + 0.5) * (width / cols) - 0.5
    target[0, :, 1] = (y + 0.5) * (height / rows) - 0.5
    known = np.asarray(relative, np.float32)
    # remap takes no more than 32767 pixels at once.
    values = np.concatenate([cv2.remap(  # type: ignore[call-overload]
        known, target[:, start:start + REMAPPED], None, cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE)[0] for start in range(0, len(x), REMAPPED)])
    side = max(rows, cols) / CELLS
    cell = np.floor((y + 0.5) / side) * CELLS + np.floor((x + 0.5) / side)
    columns = np.zeros((4 + len(errors), len(values)))
    columns[:4] = values, observations.inverse_depth[good], observations.sigma[good], cell
    if observations.common is not None:
        own = [4 + errors.index(error) for error in _errors(observations)]
        columns[own] = observations.common[good].T
    return columns[:, np.isfinite(columns).all(axis=0)]
