"""One sequence, prepared for every row: images, motion, engines, and what is kept on disk."""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from asyncmde_ros.engine.interface import Engines, Graph
from asyncmde_ros.engine.loader import Model
from asyncmde_ros.lab.evaluation import predict
from asyncmde_ros.lab.evaluation.cache import Arrays, digest, stored_arrays
from asyncmde_ros.lab.evaluation.latency import Latencies, Measured, Sizes, Stated, Statement
from asyncmde_ros.lab.evaluation.sequence import Sequence as Footage
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.preprocess import shrink
from asyncmde_ros.pipeline.settings import Settings

Maps = npt.NDArray[np.floating]
T = TypeVar('T')

VERSION = 6
"""Raised when predictions or scores change for the same key."""


@dataclass(frozen=True)
class Prediction:
    """One row's inverse depth of a sequence: (T, h, w), NaN where the schedule has no memory.

    ``keyframes`` are those that the frames see, None where there is none; ``trust`` (T, r, c) is
    a memory's; ``delay_ms`` is how long after the image its depth is published, None where that
    has no meaning.
    """

    row: str
    schedule: str
    keyframes: Sequence[int | None]
    maps: Maps
    trust: Maps | None = None
    delay_ms: float | None = None


class Stage:
    """One sequence at network size, and what its rows share; all is made when first asked for."""

    def __init__(self, model: Model, settings: Settings, latencies: Statement | None, path: Path,
                 footage: Footage, sizes: Sizes) -> None:
        """``latencies``: what each stage takes; None measures it."""
        self.model, self.settings, self.sizes = model, settings, sizes
        self._footage = footage
        self.frames = footage.length
        self.pictures = self._images(sizes.network)
        self._key = {'version': VERSION, 'path': str(path.resolve()), 'frames': footage.length,
                     'size': sizes.network, 'precision': model.precision.value,
                     'backend': model.backend, 'pictures': digest(np.stack(self.pictures))}
        self.latencies: Latencies = (
            Stated(latencies, sizes) if latencies is not None else
            Measured(model, sizes, footage.rgb(0).shape[:2], lambda: self.engines))
        self.teacher = self.stored(
            {'row': 'teacher'}, (Graph.FOUNDATION,), lambda: predict.teacher(
                predict.Foundation(model.in_half(), sizes.network), self.pictures), 'teacher')
        """The foundation model's inverse depth of every frame, (T, h, w), as others run it."""

    def _images(self, size: Size) -> list[predict.Picture]:
        return [shrink(self._footage.rgb(index), size)
                for index in tqdm(range(self.frames), unit='frame', leave=False,
                                  desc=f'{self._footage.name}: images')]

    @functools.cached_property
    def engines(self) -> Engines:
        """The spatial memory's, compiled; only where something is not kept from an earlier run."""
        return self.model.compile(self.sizes.network)

    @functools.cached_property
    def _large(self) -> list[predict.Picture]:
        """What the node shrinks images to: the larger refresh's size."""
        return self._images(max(self.sizes.refresh))

    @functools.cached_property
    def track(self) -> predict.Footage:
        """The motion between the images of the network's size."""
        return predict.footage(self.pictures, self.settings.motion_compensation)

    @functools.cached_property
    def moved_track(self) -> predict.Footage:
        """The motion between the larger images, for maps of the network's size."""
        return predict.footage(self._large, self.settings.motion_compensation, self.sizes.network)

    @functools.cached_property
    def refreshed(self) -> Callable[[Size], Maps]:
        """What a refresh of a size would give of every frame, (T, h, w)."""
        @functools.cache
        def maps(size: Size) -> Maps:
            return self.stored(
                {'row': 'refresh', 'refresh': size}, (Graph.FOUNDATION,), lambda: predict.teacher(
                    predict.Foundation(self.model, size), self._large),
                f'refresh {size[0]}x{size[1]}')
        return maps

    @functools.cached_property
    def glances(self) -> Maps:
        """What a glance would give of every frame, (T, h, w)."""
        size = self.sizes.glance
        return self.stored({'row': 'glance', 'glance': size}, (Graph.GLANCE,),
                           lambda: predict.glance_depths(self.model, size, self._large), 'glance')

    def stored(self, key: dict[str, Any], graphs: tuple[Graph, ...],
               depths: Callable[[], Iterable[predict.Depth]], name: str) -> Maps:
        """Return inverse depth (T, h, w), kept from the last time or computed by ``depths``.

        ``key`` and the weights of ``graphs`` name all that it depends on beside the sequence.
        """
        return self._stored(key, graphs, lambda: {
            'depth': np.stack([depth.astype(np.float16)
                               for depth in self._progress(depths(), name)])})['depth']

    def stored_pairs(self, key: dict[str, Any], graphs: tuple[Graph, ...],
                     pairs: Callable[[], Iterable[tuple[predict.Depth, predict.Depth]]],
                     name: str) -> tuple[Maps, Maps]:
        """Return the same and its trust (T, r, c)."""
        def compute() -> Arrays:
            depth, trust = self.stacked(pairs(), name)
            return {'depth': depth, 'trust': trust}
        kept = self._stored(key, graphs, compute)
        return kept['depth'], kept['trust']

    def stacked(self, pairs: Iterable[tuple[predict.Depth, predict.Depth]], name: str
                ) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]]:
        """Return depth and trust of every frame as two arrays, without keeping them."""
        depths, trusts = zip(*((depth.astype(np.float16), trust.astype(np.float16))
                               for depth, trust in self._progress(pairs, name)), strict=True)
        return np.stack(depths), np.stack(trusts)

    def _stored(self, key: dict[str, Any], graphs: tuple[Graph, ...],
                compute: Callable[[], Arrays]) -> Arrays:
        return stored_arrays({**self._key, 'weights': self.model.digest(*graphs), **key}, compute)

    def _progress(self, frames: Iterable[T], name: str) -> 'tqdm[T]':
        return tqdm(frames, desc=f'{self._footage.name}: {name}', unit='frame',
                    total=self.frames, leave=False)
