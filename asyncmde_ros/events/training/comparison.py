"""How good EventSPD is on held-out clips, beside what it has to beat.

All see the same windows of the same clips and are scored at the same points, each aligned in every
frame by the scale and shift in inverse depth that fit best.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from asyncmde_ros.events.reconstruction import Reconstruction
from asyncmde_ros.events.training.clips import DEPTH, EVENTS, EventClip, footage, seen
from asyncmde_ros.events.training.sampling import at
from asyncmde_ros.events.training.trainer import Learned, by_kind, query_grid
from asyncmde_ros.lab.evaluation import metrics
from asyncmde_ros.lab.evaluation.alignment import fit, inverse_truth, to_depth
from asyncmde_ros.lab.evaluation.metrics import mean_of_defined
from asyncmde_ros.lab.training.teacher import Picture, Teacher
from asyncmde_ros.model.geometry import Size, network_size
from asyncmde_ros.model.preprocess import at_size

WARM_UP = 4
"""First windows of a clip, which are not scored: memory and picture have to form."""

CLIPS = 16
"""Of each kind, at most; the last ones, as the first ones are those that choose the weights."""

FARTHEST_M = 80.0
SHORT_SIDE = 252
"""Of the picture that the foundation model gets: the package's on a CPU."""

Map = npt.NDArray[np.float32]
CPU = torch.device('cpu')

QUERIES, DENSE, EVENT_PICTURE, PICTURE = 'queries', 'dense head', 'event picture', 'picture'
CONSTANT, MEAN_MAP = 'mean depth', 'mean map'


@dataclass(frozen=True)
class Comparison:
    """Means over the scored windows of a kind of clip.

    ``error`` is the mean |error| of inverse depth over the truth's mean deviation, 1 for a
    constant that fits best.  ``absrel`` and ``rmse_m`` only where depth is exact.
    """

    kind: str
    method: str
    windows: int
    error: float
    absrel: float | None
    rmse_m: float | None


def compare(learned: Learned, clips: Sequence[EventClip], teacher: Teacher) -> list[Comparison]:
    """Score everything on the held-out ones of ``clips``; the others give the mean map.

    The mean map is what a network would give that looks at nothing: the mean of the training
    clips' inverse depth at each place, each map brought to mean 0 and deviation 1 before.
    """
    mean_map = _mean_map([clip for clip in clips if not clip.validation])
    found: dict[tuple[str, str], list[tuple[float, float | None, float | None]]] = {}
    held = by_kind([clip for clip in clips if clip.validation])
    for clip in [clip for same in held.values() for clip in same[-CLIPS:]]:
        truths = _truths(clip)[-len(_scored(clip)):]
        for method, maps in _predictions(learned, clip, teacher, mean_map):
            found.setdefault((clip.kind, method), []).extend(
                _score(inverse, truth, clip.metric)
                for inverse, truth in zip(maps, truths, strict=True))
    return [Comparison(kind, method, len(scores), float(np.mean([score[0] for score in scores])),
                       mean_of_defined(score[1] for score in scores),
                       mean_of_defined(score[2] for score in scores))
            for (kind, method), scores in found.items()]


def _predictions(learned: Learned, clip: EventClip, teacher: Teacher, mean_map: Map
                 ) -> Iterator[tuple[str, Sequence[Map]]]:
    """Yield each method's inverse depth at the points, one map for each window of _scored.

    Of pictures the foundation model's depth is the truth itself, unless that is exact.
    """
    scored = _scored(clip)
    yield CONSTANT, [np.ones_like(mean_map)] * len(scored)
    yield MEAN_MAP, [mean_map] * len(scored)
    queries, dense = [], []
    points = query_grid(clip.size, CPU)
    with torch.no_grad():
        for context in learned.contexts(clip.read(0, clip.windows)[EVENTS][:, None],
                                        wanted=scored):
            inverse = learned.network.decoder(context, points.flatten(0, 1)[None])
            queries.append(inverse.reshape(points.shape[:2]).numpy())
            dense.append(learned.dense(context)[0][0, 0].numpy())
    yield QUERIES, queries
    yield DENSE, dense  # L2's cells are the points
    shown = footage(clip.recipe, teacher)
    reconstruction = Reconstruction(clip.size)
    pictures = [reconstruction.add(window)
                for window in seen(shown.pictures, clip.recipe.seed)]
    yield EVENT_PICTURE, _foundation([np.repeat(pictures[window].grey[..., None], 3, axis=2)
                                      for window in scored], teacher)
    if clip.metric:
        yield PICTURE, _foundation([shown.pictures[1 + window] for window in scored], teacher)


def _scored(clip: EventClip) -> list[int]:
    return [window for window in clip.labelled if window >= WARM_UP]


def _truths(clip: EventClip) -> Map:
    """Return the depth of the labelled windows at the points, (windows, rows, cols)."""
    return _sampled(clip.read(0, clip.windows)[DEPTH].numpy(), clip.size)


def _foundation(pictures: Sequence[Picture], teacher: Teacher) -> list[Map]:
    size = pictures[0].shape[:2]
    larger = network_size(size, SHORT_SIDE)
    resized = [np.asarray(cv2.resize(picture, larger[::-1]), np.uint8) for picture in pictures]
    return [_sampled(at_size(targets[DEPTH].astype(np.float32), size)[None], size)[0]
            for targets in teacher.targets(resized)]


def _sampled(maps: Map, size: Size) -> Map:
    """Return maps (N, H, W) at the points that are scored, (N, rows, cols)."""
    points = query_grid(size, CPU)
    found = at(torch.from_numpy(maps), points.flatten(0, 1)[None].expand(len(maps), -1, -1))
    return found.reshape(-1, *points.shape[:2]).numpy()


def _mean_map(clips: Sequence[EventClip]) -> Map:
    total = np.zeros(0, np.float32)
    for clip in clips:
        maps = _truths(clip)
        maps = (maps - maps.mean((1, 2), keepdims=True)) / (maps.std((1, 2), keepdims=True) + 1e-6)
        total = total + maps.mean(0) if total.size else maps.mean(0)
    return np.asarray(total / len(clips), np.float32)


def _score(inverse: Map, truth: Map, metric: bool) -> tuple[float, float | None, float | None]:
    """Return error, AbsRel and RMSE in metres of one window, aligned."""
    everywhere = np.ones(truth.shape, np.bool_)
    aligned = fit(inverse, truth, everywhere)
    assert aligned is not None
    off = np.abs(aligned.scale * inverse.astype(np.float64) + aligned.shift - truth).mean()
    error = float(off / (np.abs(truth - truth.mean()).mean() + 1e-6))
    if not metric:
        return error, None, None
    depth = np.divide(1, truth, out=np.full(truth.shape, np.inf, np.float32), where=truth > 0)
    near = depth < FARTHEST_M
    if not near.any():
        return error, None, None
    aligned = fit(inverse, inverse_truth(depth, near), near)
    assert aligned is not None
    scores = metrics.score(to_depth(inverse, aligned, FARTHEST_M), depth, FARTHEST_M)
    return error, scores.absrel, scores.rmse
