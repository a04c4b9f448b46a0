"""Depth of simulated events against the truth, beside that of the images they are simulated of.

The same networks, schedule, frames and scores for all: only what they look at differs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.events.demo import SENSOR_ROWS, grey_of
from asyncmde_ros.events.depth import LEAST_SEEN, as_rgb
from asyncmde_ros.events.packets import joined
from asyncmde_ros.events.reconstruction import Picture, Reconstruction
from asyncmde_ros.events.simulator import Simulator, in_between
from asyncmde_ros.events.window import Window
from asyncmde_ros.images.codec import RGB
from asyncmde_ros.lab.evaluation import metrics
from asyncmde_ros.lab.evaluation.alignment import fit, inverse_truth, to_depth, valid_truth
from asyncmde_ros.lab.evaluation.latency import Sizes, Statement
from asyncmde_ros.lab.evaluation.metrics import FrameScores, mean_of_defined
from asyncmde_ros.lab.evaluation.rows import MovedRow
from asyncmde_ros.lab.evaluation.schedule import Schedule
from asyncmde_ros.lab.evaluation.sequence import Depth, Pose, open_sequence
from asyncmde_ros.lab.evaluation.sequence import Sequence as Footage
from asyncmde_ros.lab.evaluation.stage import Stage
from asyncmde_ros.lab.media.frames import ASSUMED_RATE_HZ
from asyncmde_ros.model.geometry import network_size
from asyncmde_ros.pipeline.settings import Settings

WARM_UP = 10
"""First frames, which are not scored: events have to add up to something."""

GREY, EVENTS, ADAPTED = 'grey', 'events', 'events, adapted'
FLAT, RAMP = 'flat', 'ramp'
EVERY_FRAME, NO_SCHEDULE = 'every frame', '-'


@dataclass(frozen=True)
class Score:
    """Mean scores of a sequence's frames after WARM_UP, aligned per frame in inverse depth.

    ``input`` is GREY (the images, as a camera of the simulated sensor's size would see them),
    EVENTS, or ADAPTED, where the foundation model is one for events.  For FLAT (one depth
    everywhere) and RAMP (inverse depth rises evenly from the top to the bottom) nothing is looked
    at.  ``schedule`` is EVERY_FRAME (the foundation model on each) or the pipeline's.  ``frames``
    were scored; of ``withheld`` ones there was no depth.
    """

    sequence: str
    input: str
    schedule: str
    frames: int
    withheld: int
    absrel: float | None
    delta1: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class _Seen(Footage):
    """A sequence that is seen by other pictures."""

    source: Footage
    pictures: Sequence[RGB]

    def rgb(self, index: int) -> RGB:
        return self.pictures[index]

    def depth(self, index: int) -> Depth | None:
        return self.source.depth(index)

    def pose(self, index: int) -> Pose | None:
        return self.source.pose(index)


@dataclass(frozen=True)
class Request:
    """What to evaluate: ``frames`` of each sequence at most, None all."""

    sequences: Sequence[Path]
    frames: int | None
    short_side: int
    schedule: Schedule
    latencies: Statement
    seed: int = 0


def evaluate(model: Model, request: Request, adapted: Model | None = None) -> Iterator[Score]:
    """Yield the scores, sequence by sequence; depth of every frame is kept for the next time.

    ``adapted`` is a model for pictures of events, which ``model`` is not; None leaves it out.
    Raises MediaError or AsyncMDEError for a sequence that cannot be used.
    """
    footages = [open_sequence(path, request.frames) for path in request.sequences]
    for footage in footages:
        if not footage.has_depth:
            raise AsyncMDEError(f'{footage.name} has no true depth to compare with')
        if footage.length <= WARM_UP:
            raise AsyncMDEError(f'{footage.name} has {footage.length} frames, and the first '
                                f'{WARM_UP} are not scored')
    for path, footage in zip(request.sequences, footages, strict=True):
        truth = [footage.depth(index) for index in range(footage.length)]
        grey, events, blind = _pictures(footage, request.seed)
        nothing = np.zeros(footage.length, np.bool_)
        inputs = [(GREY, model, grey, nothing), (EVENTS, model, events, blind)]
        if adapted is not None:
            inputs.append((ADAPTED, adapted, events, blind))
        for name, seeing, pictures, hidden in inputs:
            seen = _as_seen(footage, name, pictures)
            sizes = Sizes.of(network_size(seen.rgb(0).shape[:2], request.short_side))
            stage = Stage(seeing, Settings(), request.latencies, path, seen, sizes)
            yield _score(footage, name, EVERY_FRAME, stage.teacher, truth, hidden)
            pipeline = MovedRow('async').predict(stage, request.schedule)
            yield _score(footage, name, request.schedule.name, pipeline.maps, truth, hidden)
        for name, column in ((FLAT, np.ones(2)), (RAMP, np.arange(2.0))):
            maps = np.broadcast_to(column[:, None], (footage.length, 2, 2))
            yield _score(footage, name, NO_SCHEDULE, maps, truth, nothing)


def _as_seen(footage: Footage, name: str, pictures: Sequence[RGB]) -> _Seen:
    return _Seen(name=f'{footage.name} ({name})', length=footage.length, rate_hz=footage.rate_hz,
                 max_depth_m=footage.max_depth_m, calibration=None, has_depth=True,
                 has_poses=footage.has_poses, source=footage, pictures=pictures)


def _pictures(footage: Footage, seed: int) -> tuple[list[RGB], list[RGB], npt.NDArray[np.bool_]]:
    """Return grey pictures, what events add up to at each, and where that is next to nothing."""
    rows, cols = footage.rgb(0).shape[:2]
    scale = min(1.0, SENSOR_ROWS / min(rows, cols))
    size = round(rows * scale), round(cols * scale)
    simulator, reconstruction = Simulator(size, seed=seed), Reconstruction(size)
    rate_hz = footage.rate_hz or ASSUMED_RATE_HZ
    before = None
    grey, added_up, seen = [], [], []
    for index in tqdm(range(footage.length), f'{footage.name}: events', unit='frame',
                      leave=False):
        now = grey_of(footage.rgb(index), size, round(index * 1e9 / rate_hz))
        pictures = [now] if before is None else in_between(before, now)
        parts = [simulator.see(*picture) for picture in pictures]
        begin_ns = now.stamp_ns if before is None else before.stamp_ns
        picture = reconstruction.add(Window(joined(parts, size), begin_ns + 1, now.stamp_ns + 1,
                                            before is None))
        grey.append(as_rgb(Picture(np.asarray(now.grey, np.uint8), 1.0)))
        added_up.append(as_rgb(picture))
        seen.append(picture.seen)
        before = now
    return grey, added_up, np.array(seen) < LEAST_SEEN


def _score(footage: Footage, name: str, schedule: str, maps: npt.NDArray[np.floating],
           truths: Sequence[Depth | None], hidden: npt.NDArray[np.bool_]) -> Score:
    scores: list[FrameScores] = []
    frames = range(WARM_UP, footage.length)
    for index in frames:
        truth = truths[index]
        if hidden[index] or truth is None or np.isnan(maps[index]).all():
            continue
        valid = valid_truth(truth, footage.max_depth_m)
        map_ = metrics.resize_to(maps[index].astype(np.float32), truth.shape)
        found = fit(map_, inverse_truth(truth, valid), valid)
        if found is not None:
            scores.append(metrics.score(to_depth(map_, found, footage.max_depth_m), truth,
                                        footage.max_depth_m))
    return Score(footage.name, name, schedule, len(scores), len(frames) - len(scores),
                 mean_of_defined(score.absrel for score in scores),
                 mean_of_defined(score.delta1 for score in scores))
