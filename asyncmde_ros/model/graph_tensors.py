"""The inputs and outputs of the graphs that run: their names, in order, and their shapes.

All maps are (1, channels, rows, cols) of the memory's four levels, but for phi1, p1 and trust,
which have the size of level 2; what each means is said in
:mod:`asyncmde_ros.network.spatial_memory`.
"""

from asyncmde_ros.model.geometry import Size, memory_sizes, patch_grid

LEVELS = 4

MEMORY = ('m1', 'm2', 'm3', 'm4')
OBSERVED = ('phi1', 'phi2', 'phi3', 'phi4')
KEYFRAME = (*MEMORY, *OBSERVED)
"""What the network gets of a keyframe: the foundation model's features, and the light ones."""

STATE = ('a2', 'a3', 'a4', 'p1', 'p4', 'trust')

KEYFRAME_OF_STATE = {'p1': 'phi1', 'p4': 'phi4'}
"""What a frame is compared with, and what of the keyframe that is just after a swap."""

WARPS = ('step', 'keyframe', 'step_flow', 'keyframe_flow')
SCALARS = ('beta', 'k', 'fresh')

TEMPORAL_SMOOTHING = 0.5
GATE_TEMPERATURE = 4.0
"""beta (AsyncMDE III-C-1) and k (eq. 6) where nobody sets them; the networks are trained so."""

FAST_INPUTS = ('image', *WARPS, *KEYFRAME, *STATE, *SCALARS)
FAST_OUTPUTS = ('depth', 'share', *(f'next_{name}' for name in STATE))
TRUNK_OUTPUTS = (*FAST_OUTPUTS[1:], 'undecoded')
"""Of the fast graph without the decoder's tail: what that goes on from instead of depth."""

WHOLE_FAST_OUTPUTS = ('depth', *TRUNK_OUTPUTS)
SLOW_INPUTS = ('image', 'positions')
SLOW_OUTPUTS = (*KEYFRAME, 'depth')
"""The foundation model's own depth is for whoever compares with it; a refresh leaves it out."""


CHECK = 'check'
"""What a graph on a GPU says of the features it leaves there: finite if they all are."""

FEATURES = frozenset(('image', 'positions', *KEYFRAME, 'p1', 'p4'))
"""What a graph may have in half precision; warps, weights and trust are float32 for good."""


def fast_shapes(size: Size, channels: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every input of the fast graph, in order, for a network size."""
    levels = memory_sizes(patch_grid(size))
    shapes: dict[str, tuple[int, ...]] = {
        'image': (1, 3, *size), 'trust': (1, 1, *levels[1]),
        'p1': (1, channels, *levels[1]), 'p4': (1, channels, *levels[3]),
        **dict.fromkeys(('step', 'keyframe'), (3, 3)),
        **dict.fromkeys(('step_flow', 'keyframe_flow'), (1, 2, *levels[0])),
        **dict.fromkeys(SCALARS, (1,))}
    for level, level_size in enumerate(levels, start=1):
        shapes |= {f'm{level}': (1, channels, *level_size),
                   f'phi{level}': (1, channels, *(levels[1] if level == 1 else level_size)),
                   f'a{level}': (1, 1, *level_size)}
    return {name: shapes[name] for name in FAST_INPUTS}
