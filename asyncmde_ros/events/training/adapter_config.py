"""What a run is that adapts Depth Anything V2 to pictures of events."""

from dataclasses import dataclass, field

from asyncmde_ros.lab.training.augment import Appearance
from asyncmde_ros.lab.training.config import (
    ConfigError,
    DataConfig,
    StudentConfig,
    TrainConfig,
)


@dataclass(frozen=True)
class DrawnSensor:
    """Between what each clip's sensor is drawn: sensors differ, and so do their settings.

    ``threshold``: the mean of both, and ``imbalance`` how many times the larger of the two is the
    square of their ratio at most; ``deviation`` of a pixel's, as a share of the mean; noise and
    leak in events per second.
    """

    threshold: tuple[float, float] = (0.12, 0.35)
    imbalance: float = 1.2
    deviation: tuple[float, float] = (0.05, 0.25)
    shot_noise_hz: tuple[float, float] = (0.001, 2.0)
    leak_hz: tuple[float, float] = (0.01, 0.2)


@dataclass(frozen=True)
class PictureConfig:
    """Which pictures of events there are.

    ``clips``: how many of each kind are made; of a clip every so many windows one picture is kept,
    with the depth that Depth Anything V2 gives for the image at a short side of
    ``teacher_side``.
    """

    clips: dict[str, int] = field(
        default_factory=lambda: {'video': 520, 'virtual': 700, 'rendered': 300})
    every: int = 4
    teacher_side: int = 294
    sensor: DrawnSensor = DrawnSensor()


@dataclass(frozen=True)
class AdapterTrainConfig(TrainConfig):
    """A whole run; ``data.sizes`` are the sensor's, and the network's, which is shown all of it.

    Of colours a sensor of events has none, so that none are changed.
    """

    data: DataConfig = DataConfig(
        sizes={'196x252': 1.0}, segment_frames=13, virtual_clips=1000, virtual_frames=13,
        rendered_clips=300, rendered_frames=13, photo_views=0, validation_share=0.1,
        appearance=Appearance(strength=0.5, white_balance_probability=0.0,
                              exposure_probability=0.0))
    student: StudentConfig | None = StudentConfig(
        shrink=1, shares={'video': 0.45, 'virtual': 0.25, 'rendered': 0.3})
    pictures: PictureConfig = PictureConfig()

    @property
    def adapter(self) -> StudentConfig:
        """Return how the adapter learns.  Raises ConfigError where that is left out."""
        if self.student is None:
            raise ConfigError('student: an adapter is what is trained; leave the table in')
        return self.student
