"""One fast step: the memory fused with a frame."""

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.interface import Buffer, Engine
from asyncmde_ros.graph_tensors import KEYFRAME, SCALARS, STATE, WARPS
from asyncmde_ros.pipeline.feature_cache import Slot
from asyncmde_ros.pipeline.motion import Warp
from asyncmde_ros.preprocess import normalise


class FastPath:
    """Owns the running state A, p1, p4, T in ping-pong buffers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inputs = {name: engine.allocate(name)
                        for name in ('image', *WARPS, *SCALARS)}
        self._depth, self._share = engine.allocate('depth'), engine.allocate('share')
        self._states = tuple({name: engine.allocate(name) for name in STATE} for _ in range(2))
        self._side = 0
        self._generation: int | None = None

    def forget(self) -> None:
        """Drop the running state; the next step starts from its slot as if just swapped."""
        self._generation = None

    def step(self, rgb: npt.NDArray[np.uint8], slot: Slot, step: Warp,
             keyframe: Warp, beta: float,
             k: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return inverse depth (H, W) and trust (rows, cols) for an image at network size.

        Both are views that the next step overwrites.  ``step`` maps to the frame of the step
        before, ``keyframe`` to the slot's.  On a slot's first step this frame is compared with
        the keyframe itself, which is what the memory shows (design, "Delay").
        """
        assert slot.keyframe is not None
        fresh = slot.keyframe.generation != self._generation
        self._generation = slot.keyframe.generation
        normalise(rgb, self._inputs['image'].array)
        for name, warp in (('step', keyframe if fresh else step), ('keyframe', keyframe)):
            self._inputs[name].array[...] = warp.homography
            self._inputs[f'{name}_flow'].array[0] = warp.flow
        for name, value in zip(SCALARS, (beta, k, float(fresh)), strict=True):
            self._inputs[name].array[...] = value

        before, after = self._states[self._side], self._states[1 - self._side]
        bindings: dict[str, Buffer] = {**self._inputs, **before, 'depth': self._depth,
                                       'share': self._share}
        bindings |= {name: slot.buffers[name] for name in KEYFRAME}
        bindings |= {f'next_{name}': buffer for name, buffer in after.items()}
        try:
            self._engine.run(bindings)
        except Exception:
            self.forget()  # half-written state must not be built upon
            raise
        self._side = 1 - self._side
        return self._depth.array[0, 0], self._share.array[0, 0]
