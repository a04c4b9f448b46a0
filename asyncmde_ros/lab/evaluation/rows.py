"""The rows of an evaluation: each is an object that knows how its depth is predicted.

Every prediction has one map a frame; where the schedule has no memory yet, it is NaN.
"""

from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asyncmde_ros.engine.interface import Graph
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.evaluation import predict
from asyncmde_ros.lab.evaluation.glossary import EVERY_FRAME, TEACHER
from asyncmde_ros.lab.evaluation.image_model import ImageModel
from asyncmde_ros.lab.evaluation.schedule import Schedule
from asyncmde_ros.lab.evaluation.stage import Prediction, Stage
from asyncmde_ros.pipeline.evidence import Ingredients


class EveryFrameRow(ABC):
    """A row that needs no schedule: it sees every frame."""

    name: str

    @abstractmethod
    def predict(self, stage: Stage) -> Prediction: ...


class ScheduledRow(ABC):
    """A row that depends on when the memory is refreshed."""

    remembers = False
    """Whether its memory is mended by every frame, and so can win back what holding loses."""

    name: str

    @abstractmethod
    def predict(self, stage: Stage, schedule: Schedule) -> Prediction | None:
        """Return the prediction, or None where the row has no meaning on this schedule."""


class TeacherRow(EveryFrameRow):
    """The foundation model on every frame."""

    name = TEACHER

    def predict(self, stage: Stage) -> Prediction:
        return Prediction(self.name, EVERY_FRAME, range(stage.frames), stage.teacher,
                          delay_ms=stage.latencies.alone_ms)


class FastRow(EveryFrameRow):
    """The spatial memory's fast network without a memory."""

    name = 'fast'

    def predict(self, stage: Stage) -> Prediction:
        maps = stage.stored({'row': self.name}, (Graph.FAST, Graph.SLOW), lambda: (
            predict.fast_alone(stage.engines, stage.pictures, stage.settings)), self.name)
        return Prediction(self.name, EVERY_FRAME, [None] * stage.frames, maps,
                          delay_ms=stage.latencies.spatial_memory.fast_ms)


class GlanceRow(EveryFrameRow):
    """The small network of the glances by itself."""

    name = 'glance'

    def predict(self, stage: Stage) -> Prediction:
        return Prediction(self.name, EVERY_FRAME, [None] * stage.frames, stage.glances,
                          delay_ms=stage.latencies.moved.glance_ms)


@dataclass(frozen=True)
class PeerRow(EveryFrameRow):
    """Another model to compare with, as :class:`ImageModel` takes it; called as its file."""

    path: Path
    gives: str = 'disparity'
    wants: str = 'imagenet'

    @classmethod
    def parse(cls, text: str) -> 'PeerRow':
        """Parse ``FILE[,depth][,unit]``; AsyncMDEError names what is wrong."""
        path, *words = text.split(',')
        for word in words:
            if word not in ('depth', 'unit'):
                raise AsyncMDEError(f'--onnx {text!r}: after the file only "depth" and "unit"')
        if not Path(path).is_file():
            raise AsyncMDEError(f'--onnx {path}: no such file')
        return cls(Path(path), 'depth' if 'depth' in words else 'disparity',
                   'unit' if 'unit' in words else 'imagenet')

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.path.stem

    def predict(self, stage: Stage) -> Prediction:
        def depths() -> Iterator[predict.Depth]:
            net = ImageModel(self.path, stage.sizes.network, stage.model.threads.slow, self.gives,
                             self.wants)
            return predict.peer(net, stage.pictures)
        maps = stage.stored({'peer': str(self.path.resolve()), 'gives': self.gives,
                             'changed': self.path.stat().st_mtime_ns, 'wants': self.wants},
                            (), depths, self.name)
        return Prediction(self.name, EVERY_FRAME, [None] * len(maps), maps)


class HoldRow(ScheduledRow):
    """The last refresh's depth, unchanged."""

    name = 'hold'

    def predict(self, stage: Stage, schedule: Schedule) -> Prediction:
        keyframes = _keyframes(stage, schedule)
        return Prediction(self.name, schedule.name, keyframes, np.stack(list(
            predict.hold(stage.teacher, keyframes))), delay_ms=0.0)


class TeacherRateRow(ScheduledRow):
    """The foundation model at the rate it reaches, its last depth held."""

    name = 'teacher_rate'

    def predict(self, stage: Stage, schedule: Schedule) -> Prediction | None:
        alone = schedule.alone()
        if alone is None:
            return None
        keyframes = alone.keyframes(stage.frames, lambda: stage.latencies.alone_ms)
        return Prediction(self.name, schedule.name, keyframes, np.stack(list(
            predict.hold(stage.teacher, keyframes))), delay_ms=0.0)


class HoldMovedRow(ScheduledRow):
    """The last refresh's depth, warped by the homographies since."""

    name = 'hold_mc'

    def predict(self, stage: Stage, schedule: Schedule) -> Prediction:
        keyframes = _keyframes(stage, schedule)
        return Prediction(self.name, schedule.name, keyframes, np.stack(list(
            predict.hold_moved(stage.teacher, keyframes, stage.track))), delay_ms=0.0)


class SpatialMemoryRow(ScheduledRow):
    """AsyncMDE's own fast path."""

    name = 'spatial_memory'
    remembers = True

    def predict(self, stage: Stage, schedule: Schedule) -> Prediction:
        keyframes = _keyframes(stage, schedule)
        depth, trust = stage.stored_pairs(
            {'row': self.name, 'keyframes': keyframes, 'settings': str(stage.settings)},
            (Graph.FAST, Graph.SLOW), lambda: predict.spatial_memory(
                stage.engines, stage.track, keyframes, stage.settings),
            f'{self.name} {schedule.name}')
        return Prediction(self.name, schedule.name, keyframes, depth, trust,
                          stage.latencies.spatial_memory.fast_ms)


@dataclass(frozen=True)
class MovedRow(ScheduledRow):
    """What the node publishes, or that with one ingredient less or more.

    Without any of them it would be a hold.  ``sizes``: which of the two sizes, 0 the smaller, a
    refresh may have; ``steady``: whether depth is kept in one scale, which takes the flow.
    """

    name: str
    glances: bool = True
    flow: bool = True
    sizes: tuple[int, ...] = (0, 1)
    steady: bool = False
    ingredients: Ingredients = Ingredients()
    remembers = True

    def predict(self, stage: Stage, schedule: Schedule) -> Prediction:
        """Computed anew each time: with every frame's depth kept it is warps, and they change."""
        track, sizes = stage.moved_track, stage.sizes.refresh
        if not self.flow:
            track = predict.without_flow(track)
        watch = schedule.watch([sizes[index] for index in self.sizes],
                               stage.latencies.moved.background)
        keyframes: list[int | None] = []

        def pairs() -> Iterator[tuple[predict.Depth, predict.Depth]]:
            shown = predict.moved_depth(track, watch, stage.refreshed,
                                        stage.glances if self.glances else None, self.ingredients)
            if self.steady and self.flow:
                shown = predict.in_one_scale(shown, track.steps)
            for sight, depth, trust in shown:
                keyframes.append(sight.keyframe)
                yield depth, trust
        depth, trust = stage.stacked(pairs(), f'{self.name} {schedule.name}')
        return Prediction(self.name, schedule.name, keyframes, depth, trust,
                          stage.latencies.moved.fast_ms)


VARIANTS = (
    MovedRow('async'),
    MovedRow('moved', glances=False),
    MovedRow('small_refresh', sizes=(0,)),
    MovedRow('large_refresh', sizes=(1,)),
    MovedRow('no_flow', flow=False),
    MovedRow('steady', steady=True),
    MovedRow('no_photometry', ingredients=Ingredients(photometry=False)),
    MovedRow('no_displacement', ingredients=Ingredients(displacement=False)),
    MovedRow('no_misfit', ingredients=Ingredients(misfit=False)),
    MovedRow('no_surprise', ingredients=Ingredients(surprise=False)),
)
"""What the node publishes, and that without one ingredient at a time."""

EVERY_FRAME_ROWS: tuple[EveryFrameRow, ...] = (TeacherRow(), FastRow(), GlanceRow())
SCHEDULED_ROWS: tuple[ScheduledRow, ...] = (HoldRow(), TeacherRateRow(), HoldMovedRow(),
                                            SpatialMemoryRow(), *VARIANTS)
REMEMBERING = frozenset(row.name for row in SCHEDULED_ROWS if row.remembers)


def predictions(stage: Stage, names: Container[str], peers: Sequence[PeerRow],
                schedules: Sequence[Schedule]) -> Iterator[Prediction]:
    """Yield the predictions of the rows called ``names`` and of ``peers``, on every schedule."""
    yield from (row.predict(stage) for row in EVERY_FRAME_ROWS if row.name in names)
    yield from (peer.predict(stage) for peer in peers)
    for schedule in schedules:
        for row in SCHEDULED_ROWS:
            if row.name in names:
                prediction = row.predict(stage, schedule)
                if prediction is not None:
                    yield prediction


def _keyframes(stage: Stage, schedule: Schedule) -> list[int | None]:
    return schedule.keyframes(stage.frames, lambda: stage.latencies.spatial_memory.slow_ms)
