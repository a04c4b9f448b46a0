"""Which fault comes when: seeded, so that a run that found something can be repeated."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from asyncmde_ros.model.geometry import Size

CALM_S = (1.5, 3.5)
"""Between a recovery and the next fault, so that the node is also seen at rest."""

FAULT_S = (0.5, 2.0)
"""How long a fault lasts; an image a frame, so fifteen at the least."""


class Kind(str, Enum):
    """What is done to the node."""

    BAD_IMAGES = 'bad images'
    PARAMETERS = 'parameter change'
    SUBSCRIBERS = 'subscribers come and go'
    RESOLUTION = 'resolution change'
    CLOCK = 'clock jump'
    PAUSE = 'camera pauses'
    BURST = 'burst'


@dataclass(frozen=True)
class Change:
    """A parameter set over the service, and whether the node is to take it."""

    name: str
    value: bool | float | str
    accepted: bool


CHANGES = {f'{change.name}={change.value}': change for change in (
    Change('slow_path.enabled', False, True),
    Change('slow_path.max_rate', 2.0, True),
    Change('memory.temporal_smoothing', 1.0, True),
    Change('memory.gate_temperature', 20.0, True),
    Change('memory.motion_compensation', 'off', True),
    Change('memory.motion_compensation', 'homography', True),
    Change('memory.motion_compensation', 'imu', True),
    Change('memory.cut_similarity', 0.9, True),
    Change('memory.max_age', 0.2, True),
    Change('memory.when_too_old', 'withhold', True),
    Change('output.resolution', 'network', True),
    Change('input.rotation', '180', True),
    Change('slow_path.max_rate', -1.0, False),
    Change('memory.temporal_smoothing', float('nan'), False),
    Change('memory.motion_compensation', 'magic', False),
    Change('output.resolution', 7.0, False),
    Change('backend', 'torch', False))}
"""By what the report calls them."""

SPOILT = {'step': 'step', 'truncated': 'data', 'encoding': 'encoding', 'zero size': 'size',
          'too long': 'data', 'ribbon': 'size'}
"""Ways to spoil an image, and the reason that the node must count it under."""

JUMPS_S: dict[str, float | None] = {'back': -100.0, 'far ahead': 3600.0, 'zero': None}
"""What is added to every stamp; None: every stamp is zero."""

SIZES: dict[str, Size] = {'240x320': (240, 320), '360x640': (360, 640)}
"""One of the camera's own aspect, and one for which the node builds engines anew."""

WATCHED = {'colored': ('depth/colored',), 'trust': ('depth/trust',),
           'all': ('depth/relative', 'depth/colored', 'depth/trust')}
"""What a visitor subscribes to."""

PAUSES_S = {'0.3 s': 0.3, '1 s': 1.0, '4 s': 4.0}
BURST_HZ = 120.0

VARIANTS: dict[Kind, tuple[str, ...]] = {
    Kind.BAD_IMAGES: tuple(SPOILT),
    Kind.PARAMETERS: tuple(CHANGES),
    Kind.SUBSCRIBERS: tuple(WATCHED),
    Kind.RESOLUTION: tuple(SIZES),
    Kind.CLOCK: tuple(JUMPS_S),
    Kind.PAUSE: tuple(PAUSES_S),
    Kind.BURST: (f'{BURST_HZ:g} Hz',)}


@dataclass(frozen=True)
class FaultPlan:
    """A fault to come: ``calm_s`` after the last one was over, for ``fault_s``."""

    kind: Kind
    variant: str
    calm_s: float
    fault_s: float


def plans(seed: int) -> Iterator[FaultPlan]:
    """Yield faults for ever.

    First every size once, since what the node allocates for one must not look like growth later.
    Then rounds of every kind in random order; a kind's variants come in random order as well,
    each before any comes twice.
    """
    rng = random.Random(seed)
    decks: dict[Kind, list[str]] = {kind: [] for kind in Kind}

    def plan(kind: Kind, variant: str) -> FaultPlan:
        return FaultPlan(kind, variant, rng.uniform(*CALM_S), rng.uniform(*FAULT_S))

    for size in SIZES:
        yield plan(Kind.RESOLUTION, size)
    while True:
        for kind in rng.sample(list(Kind), len(Kind)):
            if not decks[kind]:
                variants = VARIANTS[kind]
                decks[kind] = rng.sample(variants, len(variants))
            yield plan(kind, decks[kind].pop())
