"""How far away is what a detector's box shows?"""

import numpy as np
import numpy.typing as npt

from asyncmde_ros.pipeline.points import PointDepth

SAMPLES = 9
"""Along either side of a box."""

INNER = 0.9
"""Share of a box's side that is looked at: detectors draw their boxes with a margin."""

CENTRED = 0.25
"""Standard deviation, in sides of the box, of how much a place in it counts: its middle is more
likely to show the object than its border."""

APART = 0.15
"""Relative difference of inverse depth from which on two halves of the samples are two things."""

_PLACES = INNER * ((np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5)
_ACROSS, _DOWN = (part.ravel() for part in np.meshgrid(_PLACES, _PLACES))
_WEIGHTS = np.exp(-(_ACROSS ** 2 + _DOWN ** 2) / (2 * CENTRED ** 2))


def samples(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the pixels (n * SAMPLES^2, 2), as (x, y), to ask for.

    ``boxes`` (n, 4) are centre x, centre y, width and height in pixels.
    """
    x, y, wide, high = (boxes[:, index, None] for index in range(4))
    return np.stack([(x + wide * _ACROSS).ravel(), (y + high * _DOWN).ravel()], axis=1)


def objects(seen: PointDepth) -> PointDepth:
    """Return the depth and trust (n,) of the object in each box, from those of its samples.

    The samples are split in two where that leaves the least variance in both parts (Otsu, 1979).
    Where the parts are APART, one of them is the background, or something before the object; the
    object is the one that has more of the box's middle.  Its depth is the part's median.  NaN
    where nothing is known.
    """
    depth, trust = (part.reshape(-1, SAMPLES ** 2) for part in seen)
    found = [_object(*pair) for pair in zip(depth, trust, strict=True)]
    inverse_depth, trusted = np.array(found, np.float32).reshape(-1, 2).T
    return PointDepth(inverse_depth, trusted)


def _object(depth: npt.NDArray[np.float32], trust: npt.NDArray[np.float32]
            ) -> tuple[float, float]:
    known = np.isfinite(depth)
    if not known.any():
        return np.nan, np.nan
    depth, trust, weights = depth[known], trust[known], _WEIGHTS[known]
    order = np.argsort(depth, kind='stable')
    depth, trust, weights = depth[order], trust[order], weights[order]
    split = _split(depth)
    low, high = (float(np.median(part)) if part.size else np.nan
                 for part in (depth[:split], depth[split:]))
    chosen = slice(None)
    if high - low > APART * max(abs(high), abs(low)):  # not so where a part is empty
        chosen = (slice(split) if weights[:split].sum() > weights[split:].sum()
                  else slice(split, None))
    return float(np.median(depth[chosen])), float(np.median(trust[chosen]))


def _split(ordered: npt.NDArray[np.float32]) -> int:
    """Return how many of ascending values belong to the lower part."""
    below = np.arange(1, ordered.size)
    total = np.cumsum(ordered, dtype=np.float64)
    lower = total[:-1] / below
    upper = (total[-1] - total[:-1]) / (ordered.size - below)
    between = below * (ordered.size - below) * (upper - lower) ** 2
    return int(between.argmax()) + 1 if below.size else 0
