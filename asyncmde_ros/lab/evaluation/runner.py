"""From sequences, rows and schedules to records and a report."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from asyncmde_ros import files
from asyncmde_ros.engine.interface import Engines, Graph
from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.files import ensure_writable
from asyncmde_ros.lab import machine
from asyncmde_ros.lab.charts import require_matplotlib
from asyncmde_ros.lab.evaluation import metrics, plots, predict, report, temporal
from asyncmde_ros.lab.evaluation.alignment import (
    ScaleShift,
    fit,
    fit_sequence,
    inverse_truth,
    to_depth,
    valid_truth,
)
from asyncmde_ros.lab.evaluation.cache import Arrays, digest, stored_arrays, stored_json
from asyncmde_ros.lab.evaluation.image_model import ImageModel
from asyncmde_ros.lab.evaluation.latency import Latencies, Measured, Sizes, Stated, Statement
from asyncmde_ros.lab.evaluation.metrics import FrameScores
from asyncmde_ros.lab.evaluation.schedule import Asynchronous, Schedule, parse
from asyncmde_ros.lab.evaluation.sequence import Calibration, open_sequence
from asyncmde_ros.lab.evaluation.sequence import Sequence as Footage
from asyncmde_ros.lab.evaluation.sparsification import sparsification
from asyncmde_ros.lab.media.frames import ASSUMED_RATE_HZ
from asyncmde_ros.model.geometry import Size, network_size
from asyncmde_ros.model.preprocess import shrink
from asyncmde_ros.pipeline.evidence import Ingredients
from asyncmde_ros.pipeline.settings import Settings

Maps = npt.NDArray[np.floating]
Record = dict[str, Any]
T = TypeVar('T')

ALIGNMENTS = ('frame', 'sequence')
FAR = 0.05
"""Where a video has no truth: share of the teacher's 95th percentile below which it says nothing.
"""

SAMPLES = 4
CLOUD_STRIDE = 5
"""Point clouds are compared at every fifth frame or pair: each takes as long as all else."""

VERSION = 2
"""Raised when predictions or scores change for the same key."""


@dataclass(frozen=True)
class Peer:
    """Another model to compare with, as :class:`ImageModel` takes it."""

    path: Path
    gives: str = 'disparity'
    wants: str = 'imagenet'

    @classmethod
    def parse(cls, text: str) -> 'Peer':
        """Parse ``FILE[,depth][,unit]``."""
        path, *words = text.split(',')
        for word in words:
            if word not in ('depth', 'unit'):
                raise AsyncMDEError(f'--onnx {text!r}: after the file only "depth" and "unit"')
        if not Path(path).is_file():
            raise AsyncMDEError(f'--onnx {path}: no such file')
        return cls(Path(path), 'depth' if 'depth' in words else 'disparity',
                   'unit' if 'unit' in words else 'imagenet')


@dataclass(frozen=True)
class Variant:
    """What a row that moves depth has of ``async``: without any of it, it would be a hold.

    ``sizes``: which of the two sizes, 0 the smaller, a refresh may have.
    """

    glances: bool = True
    flow: bool = True
    sizes: tuple[int, ...] = (0, 1)
    ingredients: Ingredients = Ingredients()


VARIANTS = {
    'async': Variant(),
    'moved': Variant(glances=False),
    'small_refresh': Variant(sizes=(0,)),
    'large_refresh': Variant(sizes=(1,)),
    'no_flow': Variant(flow=False),
    'no_photometry': Variant(ingredients=Ingredients(photometry=False)),
    'no_displacement': Variant(ingredients=Ingredients(displacement=False)),
    'no_misfit': Variant(ingredients=Ingredients(misfit=False)),
    'no_surprise': Variant(ingredients=Ingredients(surprise=False)),
}
"""What the node publishes, and that without one ingredient at a time."""

REMEMBERING = (*VARIANTS, 'spatial_memory')


@dataclass(frozen=True)
class Request:
    """What to evaluate."""

    sequences: Sequence[Path]
    schedules: Sequence[str]
    rows: Sequence[str]
    peers: Sequence[Peer]
    frames: int | None
    short_side: int
    settings: Settings = Settings()
    latencies: Statement | None = None
    """None measures them here."""


@dataclass(frozen=True)
class Prediction:
    """One row's inverse depth of a sequence: (T, h, w), NaN where the schedule has no memory.

    ``delay_ms`` is how long after the image its depth is published; None where that has no
    meaning.
    """

    row: str
    schedule: str
    keyframes: Sequence[int | None]
    maps: Maps
    trust: Maps | None = None
    delay_ms: float | None = None


def evaluate(model: Model, request: Request, out: Path) -> list[Record]:
    """Evaluate, write the report to ``out`` and return the records.

    Predictions are kept on disk, so that a second run takes seconds.  Raises AsyncMDEError or
    MediaError for input that cannot be used, before anything slow is started.
    """
    require_matplotlib()
    footages = [open_sequence(path, request.frames) for path in request.sequences]
    names = [footage.name for footage in footages]
    if len(set(names)) < len(names):
        raise AsyncMDEError(f'two sequences have the same name: {", ".join(names)}')
    schedules = [parse(text).name for text in request.schedules]
    if len(set(schedules)) < len(schedules):
        raise AsyncMDEError(f'two schedules have the same name: {", ".join(schedules)}; '
                            'evaluate them one after the other')
    rows = [*request.rows, *(peer.path.stem for peer in request.peers)]
    if len(set(rows)) < len(rows):
        raise AsyncMDEError(f'two rows have the same name: {", ".join(rows)}; another model is '
                            'called as its file')
    sizes_of = [_sizes(model, request, footage) for footage in footages]
    ensure_writable(out / 'results.json')
    pictured = ([name for name in schedules if name.startswith('async')] or schedules)[-1]
    records: list[Record] = []
    samples: dict[str, list[plots.Sample]] = {}
    strips: dict[tuple[str, str], Maps] = {}
    latencies: dict[str, Any] = {}
    for path, footage, sizes in zip(request.sequences, footages, sizes_of, strict=True):
        stage = _Stage(model, request, path, footage, sizes)
        scorer = _Scorer(path, footage, stage.pictures, stage.teacher)
        shown: Prediction | None = None
        for prediction in tqdm(stage.predictions(), desc=f'{footage.name}: scores', unit='row'):
            records += scorer.records(prediction)
            if prediction.schedule in ('every', pictured):
                strips[footage.name, prediction.row] = scorer.strip(prediction)
            if shown is None or _prominence(prediction) >= _prominence(shown):
                shown = prediction
        latencies[footage.name] = stage.latencies.known()
        samples[footage.name] = scorer.samples(shown) if shown is not None else []
    _add_gaps(records)
    meta = dataclasses.asdict(machine.describe(sys.argv[1:]))
    meta |= {'command': ' '.join(['asyncmde', *sys.argv[1:]]), 'hardware': meta.pop('cpu'),
             'short_side': request.short_side, 'threads': dataclasses.asdict(model.threads),
             'precision': model.precision.value, 'latencies': latencies}
    report.write(files.make_directory(out), records, meta, samples, strips)
    return records


def _sizes(model: Model, request: Request, footage: Footage) -> Sizes:
    """Return the networks' sizes for a sequence; AsyncMDEError where a file lacks their latencies.
    """
    sizes = Sizes.of(network_size(footage.rgb(0).shape[:2], request.short_side))
    if request.latencies is not None:
        Stated(request.latencies, sizes, [parse(text) for text in request.schedules])
    return sizes


def _prominence(prediction: Prediction) -> tuple[bool, bool]:
    """Return what tells which prediction is worth a picture: the node's on the real schedule."""
    return prediction.row == 'async', prediction.schedule.startswith('async')


class _Stage:
    """One sequence at network size, and every row's predictions for it."""

    def __init__(self, model: Model, request: Request, path: Path, footage: Footage,
                 sizes: Sizes) -> None:
        self._model, self._request, self._footage, self._sizes = model, request, footage, sizes
        self.pictures = self._images(sizes.network)
        self._key = {'version': VERSION, 'path': str(path.resolve()), 'frames': footage.length,
                     'size': sizes.network, 'precision': model.precision.value,
                     'backend': model.backend, 'pictures': digest(np.stack(self.pictures))}
        self.latencies: Latencies = (
            Stated(request.latencies, sizes) if request.latencies is not None else
            Measured(model, sizes, footage.rgb(0).shape[:2], lambda: self.engines))
        self.teacher = self._stored(
            {'row': 'teacher'}, (Graph.FOUNDATION,), lambda: self._gather(predict.teacher(
                predict.Foundation(model, sizes.network), self.pictures), 'teacher'))['depth']

    def _images(self, size: Size) -> list[predict.Picture]:
        return [shrink(self._footage.rgb(index), size)
                for index in tqdm(range(self._footage.length), unit='frame', leave=False,
                                  desc=f'{self._footage.name}: images')]

    @functools.cached_property
    def engines(self) -> Engines:
        """The spatial memory's, compiled; only where something is not kept from an earlier run."""
        return self._model.compile(self._sizes.network)

    @functools.cached_property
    def _large(self) -> list[predict.Picture]:
        """What the node shrinks images to: the larger refresh's size."""
        return self._images(max(self._sizes.refresh))

    @functools.cached_property
    def _track(self) -> predict.Footage:
        return predict.footage(self.pictures, self._request.settings.motion_compensation)

    @functools.cached_property
    def _moved_track(self) -> predict.Footage:
        return predict.footage(self._large, self._request.settings.motion_compensation,
                               self._sizes.network)

    @functools.cached_property
    def _refreshed(self) -> Callable[[Size], Maps]:
        """What a refresh of a size would give of every frame."""
        @functools.cache
        def maps(size: Size) -> Maps:
            name = f'refresh {size[0]}x{size[1]}'
            return self._stored(
                {'row': 'refresh', 'refresh': size}, (Graph.FOUNDATION,),
                lambda: self._gather(predict.teacher(
                    predict.Foundation(self._model, size), self._large), name))['depth']
        return maps

    @functools.cached_property
    def _glances(self) -> Maps:
        """What a glance would give of every frame."""
        size = self._sizes.glance
        return self._stored({'row': 'glance', 'glance': size}, (Graph.GLANCE,),
                            lambda: self._gather(predict.glimpses(
                                self._model, size, self._large), 'glance'))['depth']

    def predictions(self) -> Iterator[Prediction]:
        """Yield every row's predictions, on every schedule where it has one."""
        rows, count = self._request.rows, self._footage.length
        every = list(range(count))
        if 'teacher' in rows:
            yield Prediction('teacher', 'every', every, self.teacher,
                             delay_ms=self.latencies.alone_ms)
        settings = self._request.settings
        if 'fast' in rows:
            maps = self._stored(
                {'row': 'fast'}, (Graph.FAST, Graph.SLOW), lambda: self._gather(
                    predict.fast_alone(self.engines, self.pictures, settings), 'fast'))['depth']
            yield Prediction('fast', 'every', [None] * count, maps,
                             delay_ms=self.latencies.spatial_memory.fast_ms)
        if 'glance' in rows:
            yield Prediction('glance', 'every', [None] * count, self._glances,
                             delay_ms=self.latencies.moved.glance_ms)
        for peer in self._request.peers:
            yield self._peer(peer)
        for text in self._request.schedules:
            yield from self._scheduled(parse(text))

    def _scheduled(self, schedule: Schedule) -> Iterator[Prediction]:
        rows, count = self._request.rows, self._footage.length

        def keyframes() -> list[int | None]:
            return schedule.keyframes(count, lambda: self.latencies.spatial_memory.slow_ms)
        if 'hold' in rows:
            yield Prediction('hold', schedule.name, keyframes(),
                             np.stack(list(predict.hold(self.teacher, keyframes()))),
                             delay_ms=0.0)
        if 'teacher_rate' in rows and isinstance(schedule, Asynchronous):
            alone = Asynchronous(schedule.rate_hz).keyframes(
                count, lambda: self.latencies.alone_ms)
            yield Prediction('teacher_rate', schedule.name, alone,
                             np.stack(list(predict.hold(self.teacher, alone))), delay_ms=0.0)
        if 'hold_mc' in rows:
            yield Prediction('hold_mc', schedule.name, keyframes(), np.stack(list(
                predict.hold_moved(self.teacher, keyframes(), self._track))), delay_ms=0.0)
        if 'spatial_memory' in rows:
            yield self._spatial_memory(schedule.name, keyframes())
        for row, variant in VARIANTS.items():
            if row in rows:
                yield self._moved(schedule, row, variant)

    def _spatial_memory(self, name: str, keyframes: Sequence[int | None]) -> Prediction:
        settings = self._request.settings

        def compute() -> Arrays:
            return self._pairs(predict.spatial_memory(self.engines, self._track, keyframes,
                                                      settings), f'spatial_memory {name}')
        kept = self._stored({'row': 'spatial_memory', 'keyframes': list(keyframes),
                             'settings': str(settings)}, (Graph.FAST, Graph.SLOW), compute)
        return Prediction('spatial_memory', name, keyframes, kept['depth'], kept['trust'],
                          self.latencies.spatial_memory.fast_ms)

    def _moved(self, schedule: Schedule, row: str, variant: Variant) -> Prediction:
        """Computed anew each time: with every frame's depth kept it is warps, and they change."""
        track, sizes = self._moved_track, self._sizes.refresh
        if not variant.flow:
            track = predict.without_flow(track)
        watch = schedule.watch([sizes[index] for index in variant.sizes],
                               self.latencies.moved.background)
        keyframes: list[int | None] = []

        def pairs() -> Iterator[tuple[predict.Depth, predict.Depth]]:
            for sight, depth, trust in predict.moved_depth(
                    track, watch, self._refreshed, self._glances if variant.glances else None,
                    variant.ingredients):
                keyframes.append(sight.keyframe)
                yield depth, trust
        maps = self._pairs(pairs(), f'{row} {schedule.name}')
        return Prediction(row, schedule.name, keyframes, maps['depth'], maps['trust'],
                          self.latencies.moved.fast_ms)

    def _peer(self, peer: Peer) -> Prediction:
        def compute() -> Arrays:
            net = ImageModel(peer.path, self._sizes.network, self._model.threads.slow, peer.gives,
                             peer.wants)
            return self._gather(predict.peer(net, self.pictures), peer.path.stem)
        maps = self._stored({'peer': str(peer.path.resolve()), 'gives': peer.gives,
                             'changed': peer.path.stat().st_mtime_ns, 'wants': peer.wants},
                            (), compute)['depth']
        return Prediction(peer.path.stem, 'every', [None] * len(maps), maps)

    def _gather(self, depths: Iterable[predict.Depth], row: str) -> Arrays:
        return {'depth': np.stack([depth.astype(np.float16) for depth
                                   in self._progress(depths, row)])}

    def _pairs(self, pairs: Iterable[tuple[predict.Depth, predict.Depth]], row: str) -> Arrays:
        depths, trusts = zip(*((depth.astype(np.float16), trust.astype(np.float16))
                               for depth, trust in self._progress(pairs, row)), strict=True)
        return {'depth': np.stack(depths), 'trust': np.stack(trusts)}

    def _progress(self, frames: Iterable[T], row: str) -> 'tqdm[T]':
        return tqdm(frames, desc=f'{self._footage.name}: {row}', unit='frame',
                    total=self._footage.length, leave=False)

    def _stored(self, key: dict[str, Any], graphs: tuple[Graph, ...],
                compute: Callable[[], Arrays]) -> Arrays:
        """Return what is kept of these ``graphs``' predictions, or compute it."""
        return stored_arrays({**self._key, 'weights': self._model.digest(*graphs), **key}, compute)


class _Scorer:
    """The truth of one sequence, prepared once for all rows."""

    def __init__(self, path: Path, footage: Footage, pictures: Sequence[predict.Picture],
                 teacher: Maps) -> None:
        self._path, self._footage, self._pictures = path, footage, pictures
        self._teacher = teacher.astype(np.float32)
        self._max_depth_m = footage.max_depth_m
        if footage.has_depth:
            truths = [footage.depth(index) for index in range(footage.length)]
        else:
            truths, self._max_depth_m = _teacher_as_truth(self._teacher)
        shapes = {truth.shape for truth in truths if truth is not None}
        if len(shapes) != 1:
            raise AsyncMDEError(f'{footage.name}: depth maps of one size are needed')
        self._shape = shapes.pop()
        self._truths = [np.zeros(self._shape, np.float32) if truth is None else truth
                        for truth in truths]
        self._valid = [valid_truth(truth, self._max_depth_m) for truth in self._truths]
        self._inverse = [inverse_truth(truth, valid) for truth, valid
                         in zip(self._truths, self._valid, strict=True)]
        self._poses = [footage.pose(index) for index in range(footage.length)]
        self._calibration = footage.calibration and footage.calibration.scaled(
            footage.rgb(0).shape[:2], self._shape)

    @functools.cached_property
    def _truth(self) -> list[str]:
        """What else the scores depend on."""
        return [digest(np.stack(self._truths)), digest(np.stack(self._pictures)),
                repr([None if pose is None else pose.tolist() for pose in self._poses]),
                repr(self._calibration), repr(self._max_depth_m)]

    @functools.cached_property
    def _flow(self) -> list[temporal.FlowWarp]:
        return temporal.flow_warps(self._pictures, self._shape)

    def records(self, prediction: Prediction) -> list[Record]:
        """Return the record of each alignment, kept from the last time where nothing changed."""
        key = {'version': VERSION, 'path': str(self._path.resolve()),
               'frames': self._footage.length, 'row': prediction.row,
               'schedule': prediction.schedule, 'keyframes': list(prediction.keyframes),
               'delay_ms': prediction.delay_ms, 'maps': digest(prediction.maps),
               'trust': None if prediction.trust is None else digest(prediction.trust),
               'teacher': digest(self._teacher), 'truth': self._truth}
        return stored_json(key, lambda: self._records(prediction))

    def _records(self, prediction: Prediction) -> list[Record]:
        frames = [index for index in range(len(prediction.maps))
                  if not np.isnan(prediction.maps[index]).all()]
        maps = {index: metrics.resize_to(prediction.maps[index].astype(np.float32), self._shape)
                for index in frames}
        closeness = [metrics.scores_against_teacher(
            metrics.resize_to(prediction.maps[index].astype(np.float32),
                              self._teacher.shape[1:]), self._teacher[index])
            for index in frames]
        return [self._record(prediction, alignment, maps, closeness) for alignment in ALIGNMENTS]

    def _record(self, prediction: Prediction, alignment: str, maps: dict[int, predict.Depth],
                closeness: Sequence[metrics.TeacherScores]) -> Record:
        fits = self._fits(alignment, maps)
        depths = {index: to_depth(maps[index], scale_shift, self._max_depth_m)
                  for index, scale_shift in fits.items() if scale_shift is not None}
        scores = {index: metrics.score(depth, self._truths[index], self._max_depth_m)
                  for index, depth in depths.items()}
        lags = {index: index - keyframe for index, keyframe in enumerate(prediction.keyframes)
                if keyframe is not None}
        mean = metrics.mean_scores(scores.values())
        return {
            'sequence': self._footage.name, 'row': prediction.row,
            'schedule': prediction.schedule, 'alignment': alignment, 'frames': len(scores),
            'reference': 'truth' if self._footage.has_depth else 'teacher',
            **{name: value for name, value in dataclasses.asdict(mean).items()
               if name != 'pixels'},
            'teacher_absrel': _mean(score.absrel for score in closeness),
            'teacher_delta1': _mean(score.delta1 for score in closeness),
            'absrel_at_publication': self._at_publication(prediction, fits, maps),
            **self._trust(prediction, depths),
            **self._temporal(depths, alignment), 'gap_recovery': None, 'gap_recovery_fast': None,
            'per_lag': _per_lag(scores, lags),
            'per_frame': {
                'absrel': [scores[i].absrel if i in scores else None
                           for i in range(len(prediction.maps))],
                'lag': [lags.get(i) for i in range(len(prediction.maps))]}}

    def _fits(self, alignment: str, maps: dict[int, predict.Depth]
              ) -> dict[int, ScaleShift | None]:
        if alignment == 'frame':
            return {index: fit(map_, self._inverse[index], self._valid[index])
                    for index, map_ in maps.items()}
        whole = fit_sequence((map_, self._inverse[index], self._valid[index])
                             for index, map_ in maps.items())
        return dict.fromkeys(maps, whole)

    def _at_publication(self, prediction: Prediction, fits: dict[int, ScaleShift | None],
                        maps: dict[int, predict.Depth]) -> float | None:
        """AbsRel against the truth of the newest frame when the depth comes out.

        Scale and shift are those of the depth's own frame: what is late is the content.
        """
        if prediction.delay_ms is None:
            return None
        rate_hz = self._footage.rate_hz or ASSUMED_RATE_HZ
        late = int(prediction.delay_ms * rate_hz / 1e3)
        errors = []
        for index, scale_shift in fits.items():
            if scale_shift is not None and index + late < len(self._truths):
                errors.append(metrics.score(
                    to_depth(maps[index], scale_shift, self._max_depth_m),
                    self._truths[index + late], self._max_depth_m).absrel)
        return _mean(errors)

    def _trust(self, prediction: Prediction, depths: dict[int, predict.Depth]
               ) -> dict[str, float | None]:
        """Return how well the row's trust tells where it errs, beside a constant."""
        trust = prediction.trust
        areas = [] if trust is None else [
            sparsification(depth, self._truths[index], self._max_depth_m, metrics.resize_to(
                trust[index].astype(np.float32), self._shape))
            for index, depth in depths.items()]
        return {'trust_ause': _mean(area.trust for area in areas if area is not None),
                'trust_ause_constant': _mean(area.constant for area in areas
                                              if area is not None)}

    def _temporal(self, depths: dict[int, predict.Depth],
                  alignment: str) -> dict[str, float | None]:
        """Return what needs frames in a row; clouds only with one scale for the sequence."""
        nothing: dict[str, float | None] = dict.fromkeys(('tae', 'tcd', 'f1', 'opw'))
        first = min(depths, default=None)
        if first is None or sorted(depths) != list(range(first, len(self._truths))):
            return nothing
        run = [depths[index] for index in range(first, len(self._truths))]
        found = {'opw': temporal.opw(run, self._flow[first:])}
        if self._calibration is not None and self._footage.has_depth:
            poses = self._poses[first:]
            if self._footage.has_poses:
                found['tae'] = temporal.tae(run, poses, self._calibration)
            if alignment == 'sequence':
                found |= self._clouds(run, self._truths[first:], poses, self._calibration)
        return nothing | found

    def _clouds(self, run: Sequence[predict.Depth], truths: Sequence[predict.Depth],
                poses: Sequence[Any], calibration: Calibration) -> dict[str, float | None]:
        found = {'f1': temporal.f1(run[::CLOUD_STRIDE], truths[::CLOUD_STRIDE], calibration,
                                   self._max_depth_m)}
        if self._footage.has_poses:
            found['tcd'] = _mean(temporal.tcd(run[i:i + 2], poses[i:i + 2], calibration)
                                 for i in range(0, len(run) - 1, CLOUD_STRIDE))
        return found

    def samples(self, prediction: Prediction) -> list[plots.Sample]:
        """Return frames spread over the sequence, aligned per frame, for the contact sheet."""
        count = len(prediction.maps)
        shown = []
        for index in np.linspace(count / (2 * SAMPLES), count - 1, SAMPLES).astype(int):
            maps = {name: metrics.resize_to(map_.astype(np.float32), self._shape) for name, map_
                    in (('ours', prediction.maps[index]), ('teacher', self._teacher[index]))}
            fits = {name: fit(map_, self._inverse[index], self._valid[index])
                    for name, map_ in maps.items()}
            if any(scale_shift is None for scale_shift in fits.values()):
                continue
            depths = {name: to_depth(maps[name], scale_shift, self._max_depth_m)
                      for name, scale_shift in fits.items() if scale_shift is not None}
            keyframe = prediction.keyframes[index]
            shown.append(plots.Sample(
                int(index), None if keyframe is None else int(index) - keyframe,
                self._pictures[index], self._truths[index] if self._footage.has_depth else None,
                depths['teacher'], depths['ours'],
                None if prediction.trust is None else
                prediction.trust[index].astype(np.float32)))
        return shown

    def strip(self, prediction: Prediction) -> Maps:
        """Return the middle image column over time, (T, H) inverse depth in 1/m."""
        maps = {index: metrics.resize_to(map_.astype(np.float32), self._shape)
                for index, map_ in enumerate(prediction.maps)}
        whole = fit_sequence((map_, self._inverse[index], self._valid[index])
                             for index, map_ in maps.items())
        strip = np.full((len(maps), self._shape[0]), np.nan, np.float32)
        if whole is not None:
            for index, map_ in maps.items():
                strip[index] = 1 / to_depth(map_, whole, self._max_depth_m)[
                    :, self._shape[1] // 2]
        return strip


def _teacher_as_truth(teacher: Maps) -> tuple[list[predict.Depth | None], float]:
    """Return depth maps made of the teacher's inverse depth, median 1, and where they end."""
    median = float(np.median(teacher))
    floor = FAR * float(np.percentile(teacher, 95))
    if median <= 0 or floor <= 0:
        raise AsyncMDEError('the teacher sees nothing in this video; there is no reference')
    depth = np.where(teacher > floor, median / np.maximum(teacher, floor), 0).astype(np.float32)
    return list(depth), median / floor


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _per_lag(scores: dict[int, FrameScores], lags: dict[int, int]) -> list[Record]:
    """Return the mean scores of the frames of each lag."""
    groups: dict[int, list[FrameScores]] = {}
    for index, score in scores.items():
        if index in lags:
            groups.setdefault(lags[index], []).append(score)
    rows = []
    for lag, group in sorted(groups.items()):
        mean = metrics.mean_scores(group)
        rows.append({'lag': lag, 'frames': len(group), 'absrel': mean.absrel, 'rmse': mean.rmse,
                     'delta1': mean.delta1})
    return rows


def _add_gaps(records: Sequence[Record]) -> None:
    """Fill in how much of the gap to the teacher a row with a memory closes.

    (E_hold - E_row) / (E_hold - E_teacher) on AbsRel at the same schedule, and the paper's
    variant with the fast network alone in place of hold (AsyncMDE, abstract: "77 %").
    """
    errors = {(r['sequence'], r['row'], r['schedule'], r['alignment']): r['absrel']
              for r in records}
    for record in records:
        if record['row'] not in REMEMBERING or record['absrel'] is None:
            continue
        sequence, schedule, alignment = (record[k] for k in ('sequence', 'schedule', 'alignment'))
        teacher = errors.get((sequence, 'teacher', 'every', alignment))
        for key, worst in (('gap_recovery', errors.get((sequence, 'hold', schedule, alignment))),
                           ('gap_recovery_fast', errors.get((sequence, 'fast', 'every',
                                                             alignment)))):
            if teacher is not None and worst is not None and worst > teacher:
                record[key] = (worst - record['absrel']) / (worst - teacher)
