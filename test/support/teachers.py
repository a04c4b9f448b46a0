"""A teacher that is quick, for clips whose targets are known."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from asyncmde_ros.lab.training.teacher import Targets
from asyncmde_ros.model.geometry import memory_sizes, patch_grid


class FakeTeacher:
    """Sees grey: ``depth`` is the picture's mean over colours, a level the same, made smaller."""

    def __init__(self, name: str = 'grey', fails_at: int | None = None) -> None:
        self.id = name
        self.fails_at = fails_at
        self.seen: list[np.ndarray] = []

    def targets(self, pictures: Sequence[np.ndarray]) -> Iterator[Targets]:
        for picture in pictures:
            if len(self.seen) == self.fails_at:
                raise KeyboardInterrupt
            self.seen.append(picture.copy())
            grey = picture.astype(np.float32).mean(2) / 255
            sizes = memory_sizes(patch_grid(grey.shape))
            yield {f'm{level}': cv2.resize(grey, size[::-1])[None].astype(np.float16)
                   for level, size in enumerate(sizes, start=1)} | {
                       'depth': grey.astype(np.float16)}
