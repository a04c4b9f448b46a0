"""What each row of the table shows: inverse depth per frame, at the network's size.

Every function yields one map per frame; where the schedule has no memory yet, a map of NaN.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.interface import Engines
from asyncmde_ros.engine.loader import Model
from asyncmde_ros.lab.evaluation.image_model import ImageModel
from asyncmde_ros.lab.evaluation.simulation import Sight, Watch
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.preprocess import at_size, average
from asyncmde_ros.pipeline.evidence import Ingredients
from asyncmde_ros.pipeline.fast_path import FastPath
from asyncmde_ros.pipeline.feature_cache import Keyframe, Slot
from asyncmde_ros.pipeline.motion import (
    Homography,
    MotionEstimator,
    Warp,
    compose,
    matches,
    resample,
    small_grey,
    still,
)
from asyncmde_ros.pipeline.moved_depth import MovedDepth, TrackedFrame
from asyncmde_ros.pipeline.refresher import DepthRefresher, FeatureRefresher, make_slot
from asyncmde_ros.pipeline.settings import MotionCompensation, Settings
from asyncmde_ros.scale.steady import Steady

Maps = npt.NDArray[np.floating]
"""(T, h, w)."""

Depth = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]
Keyframes = Sequence[int | None]


def nowhere(size: Size) -> Warp:
    """Return a warp whose source lies behind the camera everywhere: nothing is remembered."""
    return still(size)._replace(homography=np.diag([1, 1, -1]).astype(np.float32))


@dataclass(frozen=True)
class Footage:
    """A sequence at network size, (H, W, 3) uint8 each, with its estimated motion."""

    pictures: Sequence[Picture]
    steps: Sequence[Warp]

    def since(self, keyframe: int, frame: int) -> Warp:
        """Return the warp from ``frame`` to ``keyframe``, composed of the steps."""
        flow = self.steps[frame].flow
        known = Warp(np.eye(3, dtype=np.float32), np.zeros_like(flow))
        for step in self.steps[keyframe + 1:frame + 1]:
            known = compose(known, step)
        return known

    def homographies_since(self, keyframe: int, frame: int) -> Homography:
        """Return the same by the homographies alone."""
        product = np.eye(3)
        for step in self.steps[keyframe + 1:frame + 1]:
            product = product @ step.homography
        return (product / np.linalg.norm(product)).astype(np.float32)


def footage(pictures: Sequence[Picture], compensation: MotionCompensation,
            size: Size | None = None) -> Footage:
    """Estimate the motion through ``pictures`` exactly as the pipeline does.

    The flow is for an image of ``size``, the pictures' own unless given.
    """
    estimator = MotionEstimator()
    return Footage(pictures, [estimator.update(index, picture, compensation, size=size).step
                              for index, picture in enumerate(pictures)])


def without_flow(track: Footage) -> Footage:
    """Return the same footage, moved by the homographies alone."""
    return Footage(track.pictures, [step._replace(flow=np.zeros_like(step.flow))
                                    for step in track.steps])


class Foundation:
    """The foundation model alone, for its depth."""

    def __init__(self, model: Model, size: Size) -> None:
        """Compile it for images of ``size``, on the slow path's threads."""
        self._refresher = DepthRefresher(model.compile_depth(size))

    def depth(self, picture: Picture) -> Depth:
        """Return inverse depth (H, W) of a picture."""
        return self._refresher.depth(picture)


class MemoryRefresh:
    """What refreshes the memory, with buffers of its own."""

    def __init__(self, engines: Engines) -> None:
        self._refresher = FeatureRefresher(engines)
        self._generation = 0
        self.slot = make_slot(engines.slow)

    def refresh(self, picture: Picture, index: int) -> Slot:
        """Run the slow graph on a picture; return the slot, which the next call overwrites."""
        self._refresher.fill(picture, self.slot)
        self._generation += 1
        self.slot.keyframe = Keyframe(index, index, 0, self._generation, 0.0)
        return self.slot


def glance_depths(model: Model, size: Size, pictures: Sequence[Picture]) -> Iterator[Depth]:
    """Yield the small network's own depth of every frame, at its ``size``."""
    refresher = DepthRefresher(model.compile_glance(size), average)
    for picture in pictures:
        yield refresher.depth(picture)


def teacher(foundation: Foundation, pictures: Sequence[Picture]) -> Iterator[Depth]:
    """Yield the foundation model's own depth of every frame."""
    for picture in pictures:
        yield foundation.depth(picture)


def hold(teacher_depth: npt.NDArray[np.floating], keyframes: Keyframes) -> Iterator[Depth]:
    """Yield the last keyframe's depth, unchanged."""
    for keyframe in keyframes:
        yield (_nothing(teacher_depth) if keyframe is None
               else teacher_depth[keyframe].astype(np.float32))


def hold_moved(teacher_depth: npt.NDArray[np.floating], keyframes: Keyframes,
               track: Footage) -> Iterator[Depth]:
    """Yield the last keyframe's depth, warped by the chain of homographies since."""
    nothing = still(teacher_depth.shape[1:])
    for index, keyframe in enumerate(keyframes):
        yield (_nothing(teacher_depth) if keyframe is None
               else resample(teacher_depth[keyframe].astype(np.float32), nothing._replace(
                   homography=track.homographies_since(keyframe, index))))


def spatial_memory(engines: Engines, track: Footage, keyframes: Keyframes,
                 settings: Settings) -> Iterator[tuple[Depth, Depth]]:
    """Yield depth and trust of the fast network, its memory refreshed by ``keyframes``.

    The same :class:`FastPath` as on a robot: on a swap the frame is compared with the keyframe.
    """
    fast, model = FastPath(engines.fast), MemoryRefresh(engines)
    trust_shape = engines.fast.shape('share')[2:]
    current: int | None = None
    for index, keyframe in enumerate(keyframes):
        if keyframe is None:
            yield (np.full(engines.size, np.nan, np.float32),
                   np.full(trust_shape, np.nan, np.float32))
            continue
        if keyframe != current:
            model.refresh(track.pictures[keyframe], keyframe)
            current = keyframe
        depth, trust = fast.step(
            track.pictures[index], model.slot, track.steps[index], track.since(keyframe, index),
            settings.temporal_smoothing, settings.gate_temperature).maps()
        yield at_size(depth, engines.size), trust


class Shown(NamedTuple):
    """What a frame found, and the depth and trust that came of it."""

    sight: Sight
    depth: Depth
    trust: Depth


def moved_depth(track: Footage, watch: Watch, refreshed: Callable[[Size], Maps],
                glances: Maps | None, ingredients: Ingredients) -> Iterator[Shown]:
    """Yield a keyframe's depth, moved and mended, by what each frame finds.

    The same :class:`MovedDepth` as on a robot, with the depth of every frame computed before:
    ``refreshed`` gives that of a refresh's size, ``glances`` are the small network's, (T, h, w);
    without them the moved depth is left as it is.  Depth has the pictures' size.
    """
    fast = MovedDepth(ingredients)
    slot, generation = Slot({}), 0
    for index, picture in enumerate(track.pictures):
        sight = watch.frame()
        size, grey = picture.shape[:2], small_grey(picture)
        if sight.keyframe is None or sight.size is None:
            yield Shown(sight, np.full(size, np.nan, np.float32),
                        np.full(grey.shape, np.nan, np.float32))
            continue
        if slot.keyframe is None or slot.keyframe.frame_id != sight.keyframe:
            generation += 1
            slot = _seen(track, refreshed(sight.size), sight.keyframe, generation)
        glance = (None if glances is None or sight.glance is None else
                  _seen(track, glances, sight.glance, sight.glance + 1))
        depth, trust = fast.step(
            TrackedFrame(index, picture, grey, track.steps[index], track.since), slot, glance
        ).maps()
        watch.judged(fast.mean_trust, fast.change_per_frame)
        yield Shown(sight, at_size(depth, size), trust)


def in_one_scale(shown: Iterable[Shown], steps: Sequence[Warp]) -> Iterator[Shown]:
    """Yield what is shown, its depth kept in one scale as on a robot."""
    steady = Steady()
    for index, (now, step) in enumerate(zip(shown, steps, strict=True)):
        yield now if now.sight.keyframe is None else now._replace(depth=steady.update(
            index, now.sight.keyframe, now.depth, matches(step)))


def _seen(track: Footage, maps: Maps, index: int, generation: int) -> Slot:
    """Return a slot as the background fills it with a frame."""
    slot = Slot({})
    slot.depth, slot.grey = maps[index].astype(np.float32), small_grey(track.pictures[index])
    slot.keyframe = Keyframe(index, index, 0, generation, 0.0)
    return slot


def fast_alone(engines: Engines, pictures: Sequence[Picture],
               settings: Settings) -> Iterator[Depth]:
    """Yield the fast network's depth without any memory (the paper's "FastPath Only")."""
    fast, slot = FastPath(engines.fast), make_slot(engines.slow)
    nothing = nowhere(engines.size)
    for index, picture in enumerate(pictures):
        slot.keyframe = Keyframe(index, index, 0, index, 0.0)  # fresh: no state carries over
        depth = fast.step(picture, slot, nothing, nothing, settings.temporal_smoothing,
                          settings.gate_temperature).depth()
        yield at_size(depth, engines.size)


def peer(model: ImageModel, pictures: Sequence[Picture]) -> Iterator[Depth]:
    """Yield another model's inverse depth."""
    for picture in pictures:
        yield model.inverse_depth(picture)


def _nothing(depth: npt.NDArray[np.floating]) -> Depth:
    return np.full(depth.shape[1:], np.nan, np.float32)
