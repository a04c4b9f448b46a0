"""Where things are in the viewer: pictures above, curves and states below."""

from dataclasses import dataclass

from asyncmde_ros.lab.view.library import rrb

IMAGE = 'image'
DEPTH = 'depth'
TRUST = 'trust'
POINTS = 'points'
STATE = 'state'
LAG = 'lag'
AGE = 'age'
LATENCY = 'latency'
RATE = 'rate'


@dataclass(frozen=True)
class Series:
    """Where a figure is, what its curve is called and the (R, G, B) that it has."""

    entity: str
    name: str
    colour: tuple[int, int, int]


SERIES = {
    'lag_frames': Series(f'{LAG}/frames', 'frames since the keyframe', (240, 200, 60)),
    'memory_age_ms': Series(f'{AGE}/memory_ms', "the keyframe's age", (240, 120, 80)),
    'process_ms': Series(f'{LATENCY}/process_ms', 'in the pipeline', (90, 200, 120)),
    'receipt_ms': Series(f'{LATENCY}/receipt_ms', 'from stamp to receipt', (90, 170, 240)),
    'refresh_hz': Series(f'{RATE}/refresh_hz', 'refreshes', (190, 130, 240)),
}
"""For each field of :class:`Timing`; figures of one size share a plot."""

DEPENDS_ON_DEPTH = (DEPTH, TRUST, POINTS, LAG, AGE, LATENCY, RATE)
"""What has nothing to show while depth is withheld."""

PICTURES_SHARE = 2
"""Height of the pictures, where the row of curves has 1."""

CURVE_SHARES = (2, 2, 2, 2, 3)
"""Widths of the plots, and of the words beside them."""


def blueprint() -> rrb.Blueprint:
    """Return the layout that a viewer opens with."""
    pictures = rrb.Horizontal(
        rrb.Spatial2DView(origin=IMAGE, name='image'),
        rrb.Tabs(rrb.Spatial2DView(origin=DEPTH, name='inverse depth (red is near)'),
                 rrb.Spatial3DView(origin=POINTS, name='points in metres')),
        rrb.Spatial2DView(origin=TRUST, name='trust, 0 to 1'))
    curves = rrb.Horizontal(
        rrb.TimeSeriesView(origin=LAG, name='lag, frames'),
        rrb.TimeSeriesView(origin=AGE, name='lag, ms'),
        rrb.TimeSeriesView(origin=LATENCY, name='latency, ms'),
        rrb.TimeSeriesView(origin=RATE, name='refreshes, Hz'),
        rrb.TextLogView(origin=STATE, name='state'),
        column_shares=CURVE_SHARES)
    return rrb.Blueprint(rrb.Vertical(pictures, curves, row_shares=[PICTURES_SHARE, 1]),
                         collapse_panels=True)
