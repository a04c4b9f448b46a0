"""Events of a window as dense arrays that networks take."""

import numpy as np
import numpy.typing as npt

from asyncmde_ros.events.packets import Events

Grid = npt.NDArray[np.float32]

ROUNDING = 1e-9
"""Of an event's weight: what is left of weights that cancel, or at the next bin's very time."""

SMALLEST_DEVIATION = 1e-6


def voxel_grid(events: Events, bins: int) -> Grid:
    """Return the voxel grid (bins, rows, cols) float32 of a window's events.

    An event of polarity +1 or -1 is shared between the two bins next to its time, the first event
    at the middle of the first bin and the last one at the last's: V(b) = sum of
    p max(0, 1 - |b - (bins - 1) (t - t_first) / (t_last - t_first)|) (Zhu et al., "Unsupervised
    Event-Based Learning of Optical Flow, Depth, and Egomotion", CVPR 2019, eq. 1 and 2).  What is
    not zero is then brought to mean 0 and deviation 1 (Hidalgo-Carrio et al., "Learning Monocular
    Dense Depth from Events", 3DV 2020), so that thresholds and speed matter less; where all of it
    is alike, to zero.  Without events all is zero.  Raises ValueError unless ``bins`` is positive.
    """
    if bins < 1:
        raise ValueError(f'{bins} bins: 1 or more are needed')
    rows, cols = events.size
    if not len(events):
        return np.zeros((bins, rows, cols), np.float32)
    lasted = max(1, int(events.t[-1] - events.t[0]))
    at = (events.t - events.t[0]) * ((bins - 1) / lasted)
    first = np.minimum(at.astype(np.intp), max(0, bins - 2))
    share = at - first
    sign = np.where(events.p, 1.0, -1.0)
    cell = first * (rows * cols) + events.pixels
    volume = np.bincount(cell, sign * (1 - share), bins * rows * cols)
    if bins > 1:
        volume += np.bincount(cell + rows * cols, sign * share, bins * rows * cols)
    seen = np.abs(volume) > ROUNDING
    volume[~seen] = 0
    values = volume[seen]
    if values.size:
        volume[seen] = (values - values.mean()) / max(values.std(), SMALLEST_DEVIATION)
    return volume.reshape(bins, rows, cols).astype(np.float32)


def time_surface(events: Events, decay_ns: int, now_ns: int | None = None) -> Grid:
    """Return exp(-(now - t) / decay) of each pixel's last event, (2, rows, cols) float32.

    The first map is of events that became brighter, the second of the others; 0 where there was
    none (Lagorce et al., "HOTS: A Hierarchy of Event-Based Time-Surfaces", PAMI 2017).
    ``now_ns`` is no earlier than the last event, whose time it is unless given.  Raises ValueError
    unless ``decay_ns`` is positive.
    """
    if decay_ns <= 0:
        raise ValueError(f'a decay of {decay_ns} ns: must be positive')
    rows, cols = events.size
    surface = np.zeros(2 * rows * cols, np.float32)
    if len(events):
        now_ns = int(events.t[-1]) if now_ns is None else now_ns
        cell = events.pixels + np.where(events.p, 0, rows * cols)
        # Of several that go to one cell numpy keeps the last one.
        surface[cell] = np.exp((events.t - now_ns) / decay_ns)
    return surface.reshape(2, rows, cols)


def age_counts(events: Events, now_ns: int, bins: int, bin_ns: int) -> Grid:
    """Return how many events each pixel had by their age, (bins, rows, cols) float32.

    Bin b has those of b to b + 1 times ``bin_ns`` at ``now_ns``; older ones than all bins,
    and those after ``now_ns``, are left out.  Polarity does not count.  Raises ValueError unless
    ``bins`` and ``bin_ns`` are positive.
    """
    if bins < 1 or bin_ns < 1:
        raise ValueError(f'{bins} bins of {bin_ns} ns: both must be positive')
    rows, cols = events.size
    age = (now_ns - events.t) // bin_ns
    seen = (age >= 0) & (age < bins)
    cell = age[seen] * (rows * cols) + events.pixels[seen]
    return np.bincount(cell, minlength=bins * rows * cols).reshape(
        bins, rows, cols).astype(np.float32)
