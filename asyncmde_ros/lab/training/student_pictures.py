"""What the student learns from and is measured on: pictures shrunk, with the teacher's depth."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from asyncmde_ros.lab.training.augment import augment
from asyncmde_ros.lab.training.cache import Clip
from asyncmde_ros.lab.training.config import StudentConfig, TrainConfig
from asyncmde_ros.lab.training.windows import by_size, draw_clip, draw_size
from asyncmde_ros.model.geometry import Size

HELD_OUT = 96
"""Held-out pictures that are measured on, at most."""


@dataclass
class StudentBatch:
    """B pictures (B, H, W, 3) uint8 at the student's size, and inverse depth (B, 1, H, W)."""

    pictures: Tensor
    depth: Tensor

    def to(self, device: torch.device) -> 'StudentBatch':
        """Return the batch on a device."""
        return StudentBatch(self.pictures.to(device), self.depth.to(device))


class StudentPictures:
    """Draws batches; the draw of a step depends on the seed and the step's number only."""

    def __init__(self, clips: Sequence[Clip], config: TrainConfig, student: StudentConfig) -> None:
        self._clips = by_size(clips)
        self._config, self._student = config, student

    def batch(self, step: int) -> StudentBatch:
        """Return a step's pictures, all of one size.

        MediaError where no clip is of a kind of ``student.shares``.
        """
        rng = np.random.default_rng([self._config.seed, step, 3])
        shares = self._student.shares
        kinds = draw_size(self._clips, shares, 1, self._config, rng)
        return stack([self._drawn(draw_clip(kinds, shares, 1, rng), rng)
                      for _ in range(self._student.batch)])

    def _drawn(self, clip: Clip, rng: np.random.Generator) -> StudentBatch:
        picture, depth = _frame(clip, int(rng.integers(clip.frames)))
        if rng.random() < 0.5:
            picture, depth = picture[:, ::-1], depth[:, ::-1]
        if rng.random() < self._student.crop_share:
            picture, depth = _window(picture, depth, rng.uniform(self._student.crop_min, 1), rng)
        seen = shrunk(picture, depth, self._student.shrink, clip.size)
        changed = augment([seen.pictures[0].numpy()], self._config.data.appearance, rng)
        return StudentBatch(torch.from_numpy(np.stack(changed)), seen.depth)


def held_out(clips: Sequence[Clip], config: TrainConfig, student: StudentConfig
             ) -> dict[str, list[StudentBatch]]:
    """Return one picture of each of up to ``HELD_OUT`` clips, by kind; kinds count alike."""
    kinds = {kind: [clip for clip in clips if clip.kind == kind] for kind in student.shares}
    kinds = {kind: found for kind, found in kinds.items() if found}
    chosen: dict[str, list[StudentBatch]] = {}
    for kind, found in kinds.items():
        order = np.random.default_rng([config.seed, 4]).permutation(len(found))
        chosen[kind] = [shrunk(*_frame(clip, clip.frames // 2), student.shrink, clip.size)
                        for clip in (found[i] for i in order[:HELD_OUT // len(kinds)])]
    return chosen


def shrunk(picture: npt.NDArray[np.uint8], depth: npt.NDArray[np.float32], shrink: int,
           size: Size) -> StudentBatch:
    """Return a batch of one: a picture and its depth at ``size`` over ``shrink``.

    By the mean of the pixels that become one, as a camera with so few would see it.
    """
    small = (size[1] // shrink, size[0] // shrink)
    seen, target = (cv2.resize(np.ascontiguousarray(part), small, interpolation=cv2.INTER_AREA)
                    for part in (picture, depth))
    return StudentBatch(torch.from_numpy(np.asarray(seen))[None],
                        torch.from_numpy(np.asarray(target))[None, None])


def stack(batches: Sequence[StudentBatch]) -> StudentBatch:
    """Join batches of one size."""
    return StudentBatch(torch.cat([batch.pictures for batch in batches]),
                        torch.cat([batch.depth for batch in batches]))


def _frame(clip: Clip, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    return (clip.pictures([index])[0],
            clip.targets([index], ('depth',))['depth'][0].float().numpy())


def _window(picture: npt.NDArray[np.uint8], depth: npt.NDArray[np.float32], share: float,
            rng: np.random.Generator
            ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Cut out a window of the same aspect, of ``share`` of the sides, anywhere."""
    rows, cols = depth.shape
    tall, wide = round(share * rows), round(share * cols)
    top, left = int(rng.integers(rows - tall + 1)), int(rng.integers(cols - wide + 1))
    where = np.s_[top:top + tall, left:left + wide]
    return picture[where], depth[where]
