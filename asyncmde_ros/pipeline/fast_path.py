"""One fast step: the memory fused with a frame."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.interface import Buffer, Engine
from asyncmde_ros.model.graph_tensors import KEYFRAME, SCALARS, STATE, WARPS
from asyncmde_ros.model.preprocess import write_image
from asyncmde_ros.pipeline.feature_cache import Keyframe, Slot
from asyncmde_ros.pipeline.field import Field, Map, MapField
from asyncmde_ros.pipeline.motion import Warp, compose, resample
from asyncmde_ros.pipeline.undecoded import SparseDecoder, UndecodedField

SMALLEST_SHARE = 1e-3
"""A mean share of the keyframe below which there is none left to lose."""


class FastPath:
    """Owns the running state A, p1, p4, T in ping-pong buffers.

    ``keyframe`` is that of the last step, None before the first; ``trust_kept`` is what its share
    of the picture became in that step, relative to the step before (1 at a swap).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inputs = {name: engine.allocate(name)
                        for name in ('image', *WARPS, *SCALARS)}
        self._depth, self._share = engine.allocate('depth'), engine.allocate('share')
        self._states = tuple({name: engine.allocate(name) for name in STATE} for _ in range(2))
        self._side = 0
        self.keyframe: Keyframe | None = None
        self.trust_kept = 1.0
        self._mean_share = 1.0
        self._shown: Field | None = None
        self._extrapolated: Warp | None = None

    def prepare(self, slots: Iterable[Slot]) -> None:
        """Do before the first step what the first ones would take their time for."""
        for slot in slots:
            for side in range(2):
                self._engine.prepare(self._bindings(slot, side) | {'depth': self._depth})

    def _bindings(self, slot: Slot, side: int) -> dict[str, Buffer]:
        """Return the buffers of a step that reads ``slot`` and the state on ``side``, but depth's.
        """
        before, after = self._states[side], self._states[1 - side]
        return {**self._inputs, **before, 'share': self._share,
                **{name: slot.buffers[name] for name in KEYFRAME},
                **{f'next_{name}': buffer for name, buffer in after.items()}}

    def forget(self) -> None:
        """Drop the running state; the next step starts from its slot as if just swapped."""
        self.keyframe = self._shown = None
        self._extrapolated = None

    def extrapolate(self, step: Warp) -> tuple[Map, Map] | None:
        """Return depth and trust of a frame without the network: the last step's, moved.

        ``step`` maps to the frame before; sizes are those of :meth:`step`.  None where there was
        no step yet.
        """
        if self._shown is None:
            return None
        self._extrapolated = self._since_the_last(step)
        depth, trust = self._shown.maps()
        return resample(depth, self._extrapolated), resample(trust, self._extrapolated)

    def _since_the_last(self, step: Warp) -> Warp:
        return step if self._extrapolated is None else compose(self._extrapolated, step)

    def step(self, rgb: npt.NDArray[np.uint8], slot: Slot, since_last: Warp,
             since_keyframe: Warp, beta: float, k: float,
             decoder: SparseDecoder | None = None) -> Field:
        """Return inverse depth and trust for an image at network size.

        At the sizes that the network has them.  ``since_last`` maps to the frame before,
        ``since_keyframe`` to the slot's.  On a slot's first step this frame is compared with the
        keyframe itself, which is what the memory shows.  With a ``decoder`` depth is left to it,
        until somebody asks; the state becomes the same.
        """
        assert slot.keyframe is not None
        fresh = self.keyframe is None or self.keyframe.generation != slot.keyframe.generation
        self.keyframe = slot.keyframe
        since_last, self._extrapolated = self._since_the_last(since_last), None
        write_image(rgb, self._inputs['image'].array)
        for name, warp in (('step', since_keyframe if fresh else since_last),
                           ('keyframe', since_keyframe)):
            self._inputs[name].array[...] = warp.homography
            self._inputs[f'{name}_flow'].array[0] = warp.flow
        for name, value in zip(SCALARS, (beta, k, float(fresh)), strict=True):
            self._inputs[name].array[...] = value

        engine, output = self._engine, {'depth': self._depth}
        if decoder is not None:
            engine, output = decoder.trunk, {'undecoded': decoder.trunk.allocate('undecoded')}
        try:
            slot.read = engine.run(self._bindings(slot, self._side) | output, after=slot.written)
        except Exception:
            self.forget()  # half-written state must not be built upon
            raise
        self._side = 1 - self._side
        share = float(self._share.array.mean())
        self.trust_kept = (1.0 if fresh or self._mean_share < SMALLEST_SHARE
                           else share / self._mean_share)
        self._mean_share = share
        trust = self._share.array[0, 0].copy()
        self._shown = (MapField(self._depth.array[0, 0].copy(), trust) if decoder is None else
                       UndecodedField(decoder, output['undecoded'], trust))
        return self._shown
