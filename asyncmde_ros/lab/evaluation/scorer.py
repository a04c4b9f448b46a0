"""The scores of predictions for one sequence, against its truth."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.evaluation import metric_scale, metrics, predict, temporal
from asyncmde_ros.lab.evaluation.alignment import (
    ScaleShift,
    fit,
    fit_sequence,
    inverse_truth,
    to_depth,
    valid_truth,
)
from asyncmde_ros.lab.evaluation.cache import digest, stored_json
from asyncmde_ros.lab.evaluation.glossary import OURS, TEACHER
from asyncmde_ros.lab.evaluation.metrics import FrameScores, mean_of_defined
from asyncmde_ros.lab.evaluation.plots import SheetFrame
from asyncmde_ros.lab.evaluation.record import METRIC, FrameSeries, LagScores, Record
from asyncmde_ros.lab.evaluation.sequence import PinholeIntrinsics
from asyncmde_ros.lab.evaluation.sequence import Sequence as Footage
from asyncmde_ros.lab.evaluation.sparsification import sparsification
from asyncmde_ros.lab.evaluation.stage import VERSION, Prediction
from asyncmde_ros.lab.media.frames import ASSUMED_RATE_HZ

Maps = npt.NDArray[np.floating]

FAR = 0.05
"""Where a video has no truth: share of the teacher's 95th percentile below which it says nothing.
"""

SAMPLES = 4
CLOUD_STRIDE = 5
"""Point clouds are compared at every fifth frame or pair: each takes as long as all else."""


class Scorer:
    """The truth of one sequence, prepared once for all rows."""

    def __init__(self, path: Path, footage: Footage, pictures: Sequence[predict.Picture],
                 teacher: Maps, sources: Sequence[metric_scale.Source | None] = ()) -> None:
        """``sources``: what measures the metres of the row OURS; None is nothing."""
        self._path, self._footage, self._pictures = path, footage, pictures
        self._sources = sources
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
        if prediction.row == OURS and self._sources:
            key['scale'] = repr(self._sources)
        kept = stored_json(key, lambda: [record.to_json() for record in self._records(prediction)])
        return [Record.from_json(record) for record in kept]

    def _records(self, prediction: Prediction) -> list[Record]:
        frames = [index for index in range(len(prediction.maps))
                  if not np.isnan(prediction.maps[index]).all()]
        maps = {index: metrics.resize_to(prediction.maps[index].astype(np.float32), self._shape)
                for index in frames}
        closeness = [metrics.scores_against_teacher(
            metrics.resize_to(prediction.maps[index].astype(np.float32),
                              self._teacher.shape[1:]), self._teacher[index])
            for index in frames]
        aligned, whole = (self._record(prediction, alignment, maps, closeness,
                                       self._fits(alignment, maps))
                          for alignment in ('frame', 'sequence'))
        if prediction.row != OURS:
            return [aligned, whole]
        if None in self._sources:
            whole = dataclasses.replace(whole, scale=metric_scale.NOTHING)
        scene = metric_scale.ScoredScene(self._footage, self._truths, self._valid,
                                         self._max_depth_m)
        metric = [self._record(
            prediction, METRIC, maps, closeness, metric_scale.scales(
                source, maps, prediction.keyframes, scene), source.name)
            for source in self._sources if source is not None]
        return [aligned, *(_over(record, aligned) for record in (whole, *metric))]

    def _record(self, prediction: Prediction, alignment: str, maps: dict[int, predict.Depth],
                closeness: Sequence[metrics.TeacherScores],
                fits: dict[int, ScaleShift | None], scale: str | None = None) -> Record:
        depths = {index: to_depth(maps[index], scale_shift, self._max_depth_m)
                  for index, scale_shift in fits.items() if scale_shift is not None}
        scores = {index: metrics.score(depth, self._truths[index], self._max_depth_m)
                  for index, depth in depths.items()}
        lags = {index: index - keyframe for index, keyframe in enumerate(prediction.keyframes)
                if keyframe is not None}
        mean = metrics.mean_scores(scores.values())
        return Record(
            sequence=self._footage.name, row=prediction.row, schedule=prediction.schedule,
            alignment=alignment, frames=len(scores),
            reference='truth' if self._footage.has_depth else TEACHER,
            absrel=mean.absrel, rmse=mean.rmse, delta1=mean.delta1, delta2=mean.delta2,
            delta3=mean.delta3, edge_absrel=mean.edge_absrel, edge_sharpness=mean.edge_sharpness,
            coverage=mean.coverage,
            teacher_absrel=mean_of_defined(score.absrel for score in closeness),
            teacher_delta1=mean_of_defined(score.delta1 for score in closeness),
            absrel_at_publication=self._at_publication(prediction, fits, maps),
            **self._trust(prediction, depths), **self._temporal(depths, alignment),
            scale=scale, per_lag=_per_lag(scores, lags),
            per_frame=FrameSeries(
                [scores[i].absrel if i in scores else None for i in range(len(prediction.maps))],
                [lags.get(i) for i in range(len(prediction.maps))]))

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
        return mean_of_defined(errors)

    def _trust(self, prediction: Prediction, depths: dict[int, predict.Depth]
               ) -> dict[str, float | None]:
        """Return how well the row's trust tells where it errs, beside a constant."""
        trust = prediction.trust
        areas = [] if trust is None else [
            sparsification(depth, self._truths[index], self._max_depth_m, metrics.resize_to(
                trust[index].astype(np.float32), self._shape))
            for index, depth in depths.items()]
        return {'trust_ause': mean_of_defined(area.trust for area in areas if area is not None),
                'trust_ause_constant': mean_of_defined(area.constant for area in areas
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
                poses: Sequence[Any], calibration: PinholeIntrinsics) -> dict[str, float | None]:
        found = {'f1': temporal.f1(run[::CLOUD_STRIDE], truths[::CLOUD_STRIDE], calibration,
                                   self._max_depth_m)}
        if self._footage.has_poses:
            found['tcd'] = mean_of_defined(
                temporal.tcd(run[i:i + 2], poses[i:i + 2], calibration)
                for i in range(0, len(run) - 1, CLOUD_STRIDE))
        return found

    def samples(self, prediction: Prediction) -> list[SheetFrame]:
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
            shown.append(SheetFrame(
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


def _over(record: Record, aligned: Record) -> Record:
    """Return a record with its error over that of the same depth aligned per frame."""
    if record.scale is None or record.absrel is None or not aligned.absrel:
        return record
    return dataclasses.replace(record, absrel_over_aligned=record.absrel / aligned.absrel)


def _per_lag(scores: dict[int, FrameScores], lags: dict[int, int]) -> list[LagScores]:
    """Return the mean scores of the frames of each lag."""
    groups: dict[int, list[FrameScores]] = {}
    for index, score in scores.items():
        if index in lags:
            groups.setdefault(lags[index], []).append(score)
    rows = []
    for lag, group in sorted(groups.items()):
        mean = metrics.mean_scores(group)
        rows.append(LagScores(lag, len(group), mean.absrel, mean.rmse, mean.delta1))
    return rows
