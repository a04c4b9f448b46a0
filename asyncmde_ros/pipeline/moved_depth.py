"""The fast path without a network: a keyframe's depth, moved, and mended by glances.

The memory is the depth of a keyframe, whole and at its own size.  Each frame it is moved by the
motion since (homography and optical flow).  In between a small network glances at a frame now and
then; where the memory cannot know what that frame shows (:mod:`asyncmde_ros.pipeline.evidence`)
the glance takes its place, scaled and shifted to agree with the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.pipeline import evidence
from asyncmde_ros.pipeline.evidence import Ingredients, Map
from asyncmde_ros.pipeline.feature_cache import Keyframe, Slot
from asyncmde_ros.pipeline.motion import Grey, Warp, resample, small_grey
from asyncmde_ros.preprocess import at_size

SMALLEST_TRUST = 1e-3
"""A mean trust below which there is none left to lose."""

Since = Callable[[int, int], Warp]
"""The warp to the frame of the first id from that of the second, which is later or the same."""


class View(NamedTuple):
    """A frame as the fast path sees it.

    ``picture``: (H, W, 3) uint8; ``step``: to the frame before; ``since`` tells motion.
    """

    frame_id: int
    picture: npt.NDArray[np.uint8]
    step: Warp
    since: Since


@dataclass(frozen=True)
class _Base:
    """What is moved to the present frame: depth of a frame, its trust, and how it looked."""

    frame_id: int
    depth: Map
    trust: Map
    grey: Grey


class MovedDepth:
    """Owns the depth that is moved from frame to frame.

    ``keyframe`` is that of the last step, None before the first; ``trust_kept`` is what its mean
    trust became in that step, relative to the step before (1 at a swap), and ``mean_trust`` what
    it is.
    """

    def __init__(self, ingredients: Ingredients = evidence.ALL) -> None:
        self._ingredients = ingredients
        self.keyframe: Keyframe | None = None
        self.trust_kept = 1.0
        self.mean_trust = 1.0
        self._memory: _Base | None = None
        self._base: _Base | None = None
        self._glanced = 0

    def forget(self) -> None:
        """Drop everything; the next step starts from its slot as if just swapped."""
        self.keyframe = self._memory = self._base = None

    def step(self, view: View, slot: Slot, glance: Slot | None) -> tuple[Map, Map]:
        """Return inverse depth (rows, cols), at the keyframe's size, and trust.

        ``glance`` is the newest glance, None without one; one that shows no later frame than the
        keyframe, or another epoch, is left alone.
        """
        assert slot.keyframe is not None and slot.depth is not None and slot.picture is not None
        fresh = (self.keyframe is None or self._memory is None
                 or self.keyframe.generation != slot.keyframe.generation)
        self.keyframe = slot.keyframe
        if fresh or self._memory is None:
            grey = small_grey(slot.picture)
            self._memory = _Base(slot.keyframe.frame_id, slot.depth,
                                 np.ones(grey.shape, np.float32), grey)
            self._base = self._memory
        if glance is not None and _adds_to(glance, slot.keyframe) and (
                fresh or _keyframe(glance).generation != self._glanced):
            self._glanced = _keyframe(glance).generation
            self._base = self._mixed(glance, self._memory, view.since)
        assert self._base is not None
        warp = view.since(self._base.frame_id, view.frame_id)
        depth = resample(self._base.depth, warp)
        trust = (resample(self._base.trust, warp)
                 * evidence.trust(self._base.grey, small_grey(view.picture), warp,
                                  self._ingredients))
        mean = float(trust.mean())
        self.trust_kept = (1.0 if fresh or self.mean_trust < SMALLEST_TRUST
                           else mean / self.mean_trust)
        self.mean_trust = mean
        return depth, trust

    def _mixed(self, glance: Slot, memory: _Base, since: Since) -> _Base:
        """Return the memory as the glance's frame sees it, mended by the glance."""
        assert glance.keyframe is not None
        assert glance.depth is not None and glance.picture is not None
        warp = since(memory.frame_id, glance.keyframe.frame_id)
        grey = small_grey(glance.picture)
        moved = resample(memory.depth, warp)
        trusted = evidence.trust(memory.grey, grey, warp, self._ingredients)
        coarse, seen = at_size(moved, grey.shape), at_size(glance.depth, grey.shape)
        scale, shift = evidence.align(seen, coarse, np.square(trusted))
        kept = evidence.kept_share(coarse, scale * seen + shift, trusted, self._ingredients)
        aligned = scale * at_size(glance.depth, moved.shape) + shift
        share = cv2.resize(kept, moved.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return _Base(glance.keyframe.frame_id,
                     np.asarray(aligned + share * (moved - aligned), np.float32), kept, grey)


def _keyframe(slot: Slot) -> Keyframe:
    assert slot.keyframe is not None
    return slot.keyframe


def _adds_to(glance: Slot, keyframe: Keyframe) -> bool:
    seen = glance.keyframe
    return seen is not None and seen.epoch == keyframe.epoch and seen.frame_id > keyframe.frame_id
