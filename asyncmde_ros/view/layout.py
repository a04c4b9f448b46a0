"""Where things are in the viewer: pictures above, curves and states below."""

from asyncmde_ros.errors import AsyncMDEError

try:
    import rerun.blueprint as rrb
except ImportError as error:
    raise AsyncMDEError('the view needs Rerun: pip install "rerun-sdk>=0.23.4,<0.42"') from error

IMAGE = 'image'
DEPTH = 'depth'
TRUST = 'trust'
LAG = 'lag'
TIMES = 'times'
RATES = 'rates'
STATE = 'state'

SERIES = {
    'lag_frames': f'{LAG}/frames',
    'memory_age_ms': f'{TIMES}/memory_age_ms',
    'process_ms': f'{TIMES}/process_ms',
    'receipt_ms': f'{TIMES}/receipt_ms',
    'refresh_hz': f'{RATES}/refresh_hz',
}
"""The entity of each field of :class:`Timing`; figures of one unit share a plot."""

PICTURES_SHARE = 2
"""Height of the pictures, where the row of curves has 1."""


def blueprint() -> rrb.Blueprint:
    """Return the layout that a viewer opens with."""
    pictures = rrb.Horizontal(
        rrb.Spatial2DView(origin=IMAGE, name='image'),
        rrb.Spatial2DView(origin=DEPTH, name='inverse depth (red is near)'),
        rrb.Spatial2DView(origin=TRUST, name='trust in the memory, 0 to 1'))
    curves = rrb.Horizontal(
        rrb.TimeSeriesView(origin=LAG, name='lag, frames'),
        rrb.TimeSeriesView(origin=TIMES, name='times, ms'),
        rrb.TimeSeriesView(origin=RATES, name='refreshes, Hz'),
        rrb.TextLogView(origin=STATE, name='state'))
    return rrb.Blueprint(rrb.Vertical(pictures, curves, row_shares=[PICTURES_SHARE, 1]),
                         collapse_panels=True)
