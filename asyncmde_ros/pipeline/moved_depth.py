"""The fast path without a network: a keyframe's depth, moved, and mended by glances.

The memory is the depth of a keyframe, whole and at its own size.  Each frame it is moved by the
motion since (homography and optical flow).  In between a small network glances at a frame now and
then; where the memory cannot know what that frame shows (:mod:`asyncmde_ros.pipeline.evidence`)
the glance takes its place, scaled and shifted to agree with the rest.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.preprocess import at_size
from asyncmde_ros.pipeline import evidence
from asyncmde_ros.pipeline.evidence import Evidence, Ingredients
from asyncmde_ros.pipeline.feature_cache import Keyframe, Slot
from asyncmde_ros.pipeline.field import Field, Indices, Map, Values
from asyncmde_ros.pipeline.motion import (
    Grey,
    NormalisedPoints,
    Warp,
    resample,
    sample,
    sample_at,
    source_at,
)

SMALLEST_TRUST = 1e-3
"""A mean trust below which there is none left to lose."""

GLANCES = 32
"""How many are kept, to find one that is near a keyframe when that arrives."""

NEAR = 3
"""Frames from a keyframe within which a glance tells how well glances fit it."""

Since = Callable[[int, int], Warp]
"""The warp to the frame of the first id from that of the second, which is later or the same."""


class TrackedFrame(NamedTuple):
    """A frame as the fast path sees it.

    ``picture``: (H, W, 3) uint8, and its small grey image; ``step``: to the frame before;
    ``since`` tells motion.
    """

    frame_id: int
    picture: npt.NDArray[np.uint8]
    grey: Grey
    step: Warp
    since: Since


class Base(NamedTuple):
    """What is moved to the present frame: depth of a frame, its trust, and how it looked.

    ``confidence`` is :func:`evidence.confidence` of the depth; it hardly changes as that is moved.
    """

    frame_id: int
    depth: Map
    trust: Map
    confidence: Map
    grey: Grey


def _base(frame_id: int, depth: Map, trust: Map, grey: Grey) -> Base:
    return Base(frame_id, depth, trust, evidence.confidence(at_size(depth, trust.shape)), grey)


class MovedField(Field):
    """A base as a later frame sees it."""

    many = 1000  # measured: docs/performance.md

    def __init__(self, base: Base, warp: Warp, source: NormalisedPoints, present: Map) -> None:
        """``warp`` leads to the base's frame.

        ``source`` are the places that the pixels of ``present`` come from, which tells how far
        what the base shows is still there.
        """
        self._base, self._warp, self._source, self._present = base, warp, source, present
        self.size, self.trust_size = base.depth.shape, present.shape

    def depth_at(self, rows: Indices, cols: Indices) -> Values:
        return sample_at(self._base.depth, source_at(self._warp, self.size, rows, cols))

    def depth(self) -> Map:
        return resample(self._base.depth, self._warp)

    def trust(self) -> Map:
        return self._present * sample(self._base.confidence, self._source)

    def trust_at(self, rows: Indices, cols: Indices) -> Values:
        x, y, in_front = self._source
        source = NormalisedPoints(x[rows, cols], y[rows, cols], in_front[rows, cols])
        return self._present[rows, cols] * sample_at(self._base.confidence, source)


class _Glance(NamedTuple):
    """Depth of a frame by itself, at the network's size and at the evidence's, and its look."""

    frame_id: int
    depth: Map
    small: Map
    grey: Grey


class MovedDepth:
    """Owns the depth that is moved from frame to frame.

    ``keyframe`` is that of the last step, None before the first.  ``mean_trust`` is that of the
    last step, but for the confidence that any depth has; ``trust_kept`` what it became of that
    of the step before (1 at a swap); ``change_per_frame`` how fast what is seen changes
    (:attr:`Evidence.change`).
    """

    def __init__(self, ingredients: Ingredients = evidence.ALL) -> None:
        self._ingredients = ingredients
        self.keyframe: Keyframe | None = None
        self.trust_kept = 1.0
        self.mean_trust = 1.0
        self.change_per_frame = 0.0
        self._memory: Base | None = None
        self._base: Base | None = None
        self._glanced = 0
        self._glances: deque[_Glance] = deque(maxlen=GLANCES)
        self._mended_by: _Glance | None = None
        self._misfit: float | None = None

    def forget(self) -> None:
        """Drop everything; the next step starts from its slot as if just swapped."""
        self.keyframe = self._memory = self._base = None
        self._glances.clear()
        self._glanced = 0

    def step(self, view: TrackedFrame, slot: Slot, glance: Slot | None) -> MovedField:
        """Return the memory as a frame sees it, at the keyframe's size.

        ``glance`` is the newest glance, None without one; one that shows no later frame than the
        keyframe, or another epoch, is left alone.
        """
        assert slot.keyframe is not None and slot.depth is not None and slot.grey is not None
        fresh = self.keyframe is None or self.keyframe.generation != slot.keyframe.generation
        self.keyframe = slot.keyframe
        if fresh or self._memory is None or self._base is None:
            self._base = self._memory = _base(slot.keyframe.frame_id, slot.depth,
                                              np.ones(slot.grey.shape, np.float32), slot.grey)
        newer = self._look(glance, slot.keyframe)
        if fresh:
            self._misfit = self._misfit_at(self._memory, view.since)
        base = self._base
        if newer is not None and (base is self._memory or newer is not self._mended_by):
            base = self._base = self._mixed(newer, self._memory, view.since)
            self._mended_by = newer
        warp = view.since(base.frame_id, view.frame_id)
        seen = self._compared(base, view.grey, warp)
        if base is self._memory:
            self._changed(seen, view.frame_id - base.frame_id)
        present = sample(base.trust, seen.source) * seen.presence
        mean = float(present.mean())
        self.trust_kept = (1.0 if fresh or self.mean_trust < SMALLEST_TRUST
                           else mean / self.mean_trust)
        self.mean_trust = mean
        return MovedField(base, warp, seen.source, present)

    def _look(self, slot: Slot | None, keyframe: Keyframe) -> _Glance | None:
        """Take in the newest glance; return it if it can tell more than the keyframe."""
        if slot is None or slot.keyframe is None or slot.keyframe.epoch != keyframe.epoch:
            return None
        assert slot.depth is not None and slot.grey is not None
        if slot.keyframe.generation != self._glanced:
            self._glanced = slot.keyframe.generation
            self._glances.append(_Glance(slot.keyframe.frame_id, slot.depth,
                                         at_size(slot.depth, slot.grey.shape), slot.grey))
        if not self._glances or self._glances[-1].frame_id <= keyframe.frame_id:
            return None
        return self._glances[-1]

    def _misfit_at(self, memory: Base, since: Since) -> float | None:
        """Return how badly the glance nearest to a keyframe fits it, None where none is near."""
        nearest = min(self._glances, default=None,
                      key=lambda glance: abs(glance.frame_id - memory.frame_id))
        if nearest is None or abs(nearest.frame_id - memory.frame_id) > NEAR:
            return None
        depth, seen = at_size(memory.depth, memory.grey.shape), nearest.small
        if nearest.frame_id > memory.frame_id:
            depth = resample(depth, since(memory.frame_id, nearest.frame_id))
        elif nearest.frame_id < memory.frame_id:
            seen = resample(seen, since(nearest.frame_id, memory.frame_id))
        return evidence.misfit(seen, depth, np.ones_like(depth))

    def _mixed(self, glance: _Glance, memory: Base, since: Since) -> Base:
        """Return the memory as the glance's frame sees it, mended by the glance."""
        warp = since(memory.frame_id, glance.frame_id)
        moved = resample(memory.depth, warp)
        coarse = at_size(moved, glance.grey.shape)
        seen = self._compared(memory, glance.grey, warp)
        self._changed(seen, glance.frame_id - memory.frame_id)
        soundness = seen.soundness
        weight = np.square(soundness)
        scale, shift = evidence.align(glance.small, coarse, weight)
        moved_by = (evidence.displacement(seen.source)
                    if self._ingredients.displacement else 0.0)
        misfit = (evidence.USUAL_MISFIT if not self._ingredients.misfit else
                  self._misfit if self._misfit is not None else
                  evidence.misfit(glance.small, coarse, weight))
        apart = evidence.difference(scale * glance.small + shift, coarse)
        surprising = (evidence.surprise(apart, soundness)
                      if self._ingredients.surprise else np.zeros_like(coarse))
        share = evidence.glance_share(soundness, moved_by, misfit, surprising)
        aligned = scale * at_size(glance.depth, moved.shape) + shift
        depth = np.asarray(moved + at_size(share, moved.shape) * (aligned - moved), np.float32)
        doubt = (1 - soundness) * evidence.contradiction(apart, coarse)
        return _base(glance.frame_id, depth, 1 - doubt, glance.grey)

    def _compared(self, earlier: Base, grey: Grey, warp: Warp) -> Evidence:
        seen = evidence.look(earlier.grey, grey, warp)
        return (seen if self._ingredients.photometry else
                seen._replace(residual=np.zeros_like(seen.residual)))

    def _changed(self, seen: Evidence, frames: int) -> None:
        """Note how much has changed in the frames since the keyframe."""
        if frames > 0:
            self.change_per_frame = seen.change / frames
