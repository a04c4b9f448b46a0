"""What a run that trains EventSPD is: the document's section 4, at a size of one's choice."""

from dataclasses import dataclass, field

from asyncmde_ros.events.network.config import CONFIGS, SMALL, EventNetworkConfig
from asyncmde_ros.lab.training.config import ConfigError, DataConfig, TrainConfig
from asyncmde_ros.model.geometry import PATCH

COARSEST_SAMPLED = 8
"""Sides of training pictures are multiples of it, so that cells and averaged truth agree."""


@dataclass(frozen=True)
class QueryShares:
    """From where a query is drawn (section 4.3).

    ``known``: any pixel whose depth is known, which is 40 % with a lidar's and 20 % with a pseudo
    label in the document; here a clip has either exact depth or a pseudo label everywhere.
    ``events``: by the number of events around; ``edges``: by the gradient of depth; ``hard``: by
    the loss there so far.
    """

    known: float = 0.60
    events: float = 0.15
    edges: float = 0.15
    hard: float = 0.10


@dataclass(frozen=True)
class Augmentation:
    """How often a clip is mirrored, inverted (bright is dark) and zoomed into, and how far."""

    mirrored: float = 0.5
    inverted: float = 0.25
    zoomed: float = 0.5
    largest_zoom: float = 1.4


@dataclass(frozen=True)
class EventLosses:
    """Weights of eqs. 28 to 32.

    ``dense`` are those of L2 and L3 and go down to ``dense_end`` of themselves in the course of
    the run; ``features`` those of L3 and L4.
    """

    silog: float = 0.5
    silog_mean: float = 0.5
    dense: tuple[float, ...] = (0.5, 0.25)
    dense_end: float = 0.25
    features: tuple[float, ...] = (0.1, 0.1)


@dataclass(frozen=True)
class EventConfig:
    """How EventSPD is trained.

    ``clips``: how many of each kind are made, of ``windows`` windows each, of which every
    ``labelled_every``-th has depth: the foundation model, which gives that, costs most of a clip.
    ``shares``: how often each kind is drawn.  A step goes through ``unroll`` windows of ``batch``
    clips, one after the other, and learns from those with depth, with ``queries`` queries in each;
    the others only hand the memory on.  ``least_events`` a pixel and window must have been seen in
    a clip's mean: a camera at rest shows nothing to learn from.
    """

    network: str = SMALL.name
    clips: dict[str, int] = field(
        default_factory=lambda: {'video': 420, 'virtual': 520, 'rendered': 200})
    windows: int = 9
    labelled_every: int = 3
    shares: dict[str, float] = field(
        default_factory=lambda: {'video': 0.3, 'virtual': 0.5, 'rendered': 0.2})
    least_events: float = 0.01
    batch: int = 4
    unroll: int = 4
    queries: int = 128
    sampling: QueryShares = QueryShares()
    augmentation: Augmentation = Augmentation()
    losses: EventLosses = EventLosses()
    hard_average: float = 0.99
    rate: float = 1e-3
    offset_rate: float = 0.1
    final_rate_share: float = 0.02
    warmup_steps: int = 50
    weight_decay: float = 0.05
    gradient_clip: float = 1.0
    average: float = 0.99


@dataclass(frozen=True)
class EventTrainConfig(TrainConfig):
    """A whole run; of what it inherits, it is the data, the seed and the schedule that count."""

    data: DataConfig = DataConfig(
        sizes={'168x224': 1.0}, segment_frames=10, virtual_clips=900, virtual_frames=10,
        rendered_clips=240, rendered_frames=10, photo_views=0, validation_share=0.15)
    events: EventConfig = EventConfig()
    validation_minutes: float = 5.0
    checkpoint_minutes: float = 4.0

    def __post_init__(self) -> None:
        """Raise ConfigError for sizes that the losses cannot compare."""
        for (rows, cols), _ in self.sizes():
            if rows % COARSEST_SAMPLED or cols % COARSEST_SAMPLED:
                raise ConfigError(f'a size of {rows}x{cols}: sides must be multiples of '
                                  f'{COARSEST_SAMPLED * PATCH // 2}')

    @property
    def network(self) -> EventNetworkConfig:
        """Return the network's sizes."""
        return CONFIGS[self.events.network]
