"""Depth that waits in the fast network's features until somebody asks for it."""

import logging
import threading
from collections.abc import Callable

import numpy as np

from asyncmde_ros.engine.interface import Buffer, Engine, SparseEngines
from asyncmde_ros.errors import in_words
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.patches import SIDE
from asyncmde_ros.pipeline.field import Indices, Map, MapField, Values

logger = logging.getLogger(__name__)

MANY = 100
"""Blocks of pixels from which on it is quicker to decode the whole map.

Measured on one thread, for the light decoder in bfloat16 and a network of 252x336: a map takes as
long as 130 blocks.  Fewer, because where depth is steep points ask for more afterwards.
"""

COMPILER = 'point_engines'
"""The name of the thread that compiles for frames without a map."""

ACROSS = np.arange(SIDE)
DOWN = ACROSS[:, None]


class SparseDecoder:
    """The end of the fast network's decoder, for whole maps and for blocks of their pixels.

    ``trunk`` is the network without it, whose output ``undecoded`` it goes on from.
    """

    def __init__(self, engines: SparseEngines) -> None:
        """Take the engines, and run each once, since the first run takes longer."""
        self.trunk, self._whole, self._points = engines.trunk, engines.whole, engines.points
        self._tail = engines.tail
        for engine in (self.trunk, self._whole, self._points):
            engine.prepare(_allocate(engine))
        self._depth, self._blocks = engines.whole.allocate('depth'), _allocate(engines.points)
        self.size: Size = self._depth.array.shape[2:]

    def whole(self, undecoded: Buffer) -> Map:
        """Return the depth map."""
        self._whole.run({'undecoded': undecoded, 'depth': self._depth})
        return np.array(self._depth.array[0, 0])

    def blocks(self, undecoded: Buffer, rows: Indices, cols: Indices) -> Values:
        """Return the depth (n, SIDE, SIDE) of blocks of the map, by their first pixels."""
        inputs = self._tail.inputs(undecoded.array[0], rows, cols)
        at_once = len(self._blocks['depth'].array)
        found = []
        for first in range(0, len(rows), at_once):
            for name, values in inputs.items():
                part = values[first:first + at_once]
                self._blocks[name].array[:len(part)] = part
            self._points.run(self._blocks)
            found.append(self._blocks['depth'].array.copy())
        return np.concatenate(found)[:len(rows)]


class DecoderOnDemand:
    """A decoder that is compiled when first wanted, in a thread of its own.

    Not in the slow path's: the runtime's workers inherit its low priority, and serve every frame.
    """

    def __init__(self, compile_sparse: Callable[[], SparseEngines] | None) -> None:
        """Without ``compile_sparse`` there is none, ever."""
        self._compile = compile_sparse
        self._thread: threading.Thread | None = None
        self._made: SparseDecoder | None = None

    def wanted(self) -> SparseDecoder | None:
        """Return the decoder if it is there; until then maps have to serve."""
        if self._thread is None and self._compile is not None:
            self._thread = threading.Thread(target=self._make, args=(self._compile,),
                                            name=COMPILER, daemon=True)
            self._thread.start()
        return self._made

    def stop(self, timeout_s: float | None) -> bool:
        """Wait for a compilation under way; False where it takes longer."""
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _make(self, compile_sparse: Callable[[], SparseEngines]) -> None:
        try:
            self._made = SparseDecoder(compile_sparse())
        except Exception as error:  # whatever went wrong, maps go on
            logger.warning('depth at points takes as long as a map: %s', in_words(error))


def _allocate(engine: Engine) -> dict[str, Buffer]:
    return {name: engine.allocate(name) for name in (*engine.inputs, *engine.outputs)}


class UndecodedField(MapField):
    """Of a frame whose depth is decoded where it is asked for: at few pixels, or all of it.

    What was decoded is kept, and not decoded again.
    """

    def __init__(self, decoder: SparseDecoder, undecoded: Buffer, trust: Map) -> None:
        """``undecoded`` is the field's own: nobody else writes it any more."""
        super().__init__(np.zeros(decoder.size, np.float32), trust)
        self._decoder, self._undecoded = decoder, undecoded
        self._known = np.zeros(self.size, bool)

    def depth_at(self, rows: Indices, cols: Indices) -> Values:
        blocks = self._unknown(rows.reshape(len(rows), -1), cols.reshape(len(cols), -1))
        if blocks is None:
            return self.depth()[rows, cols]
        if blocks.size:
            top, left = np.divmod(blocks, self.size[1])
            pixels = top[:, None, None] + DOWN, left[:, None, None] + ACROSS
            self._depth[pixels] = self._decoder.blocks(self._undecoded, top, left)
            self._known[pixels] = True
        return super().depth_at(rows, cols)

    def depth(self) -> Map:
        if not self._known.all():
            self._depth[...] = self._decoder.whole(self._undecoded)
            self._known[...] = True
        return super().depth()

    def _unknown(self, rows: Indices, cols: Indices) -> Indices | None:
        """Return the blocks that (n, m) pixels still lack, None where these are too MANY.

        By the number of their first pixel in the map.  Each row of pixels picks blocks for itself,
        uppermost and leftmost first: one holds a point and its neighbours.
        """
        height, width = self.size
        known, found = self._known.copy(), np.empty(0, np.intp)
        while True:
            lacking = ~known[rows, cols]
            some = lacking.any(axis=1)
            if not some.any():
                return found
            rows, cols, lacking = rows[some], cols[some], lacking[some]
            top = np.where(lacking, rows, height).min(axis=1)
            in_reach = lacking & (rows < top[:, None] + SIDE)
            left = np.where(in_reach, cols, width).min(axis=1)
            blocks = np.unique(np.minimum(top, height - SIDE) * width
                               + np.minimum(left, width - SIDE))
            found = np.concatenate([found, blocks])
            if len(found) > MANY:
                return None
            top, left = np.divmod(blocks, width)
            known[top[:, None, None] + DOWN, left[:, None, None] + ACROSS] = True
