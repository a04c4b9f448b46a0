"""What motion estimation adds to a frame."""

from dataclasses import dataclass
from functools import partial

from asyncmde_ros.lab.bench.options import BenchOptions
from asyncmde_ros.lab.bench.pictures import Pictures
from asyncmde_ros.lab.bench.progress import rounds
from asyncmde_ros.lab.bench.statistics import Summary, summarise, timed_ms
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.preprocess import shrink
from asyncmde_ros.pipeline.motion import MotionEstimator
from asyncmde_ros.pipeline.settings import Settings

COMPENSATION = Settings.motion_compensation


@dataclass(frozen=True)
class MotionCost:
    """Milliseconds to track one frame of ``size``; ``failures`` are frames taken for still."""

    size: Size
    frame_ms: Summary
    failures: int


def measure(options: BenchOptions, pictures: Pictures) -> MotionCost:
    """Track the moving pictures, frame by frame, as the network's input has them."""
    estimator = MotionEstimator()
    size = options.size
    estimator.update(0, shrink(pictures.at(0), size), COMPENSATION)
    times_ms = []
    for index in rounds(options.seconds, 'motion'):
        small = shrink(pictures.at(index + 1), size)
        times_ms.append(timed_ms(partial(estimator.update, index + 1, small, COMPENSATION)))
    summary = summarise(times_ms)
    assert summary is not None
    return MotionCost(size, summary, estimator.failures)
