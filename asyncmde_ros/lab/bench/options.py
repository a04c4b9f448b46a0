"""What is measured, and for how long."""

from dataclasses import dataclass
from pathlib import Path

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.settings import FastPathModel


@dataclass(frozen=True)
class BenchOptions:
    """One run's settings, the same for every section.

    ``size`` is the network's (rows, cols), ``image`` the camera's; ``video`` None means generated
    pictures.  ``seconds`` is how long each measurement lasts, ``startups`` how many fresh
    processes are started to time the start.  ``backend`` and ``fast_path`` are what ``auto``
    means here, where that was asked for.
    """

    size: Size
    image: Size
    rate_hz: float
    seconds: float
    startups: int
    model: str
    backend: str
    video: Path | None
    fast_path: FastPathModel

    @property
    def period_s(self) -> float:
        """Time between two frames of the camera."""
        return 1 / self.rate_hz
