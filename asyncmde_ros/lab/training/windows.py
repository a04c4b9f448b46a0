"""Training samples: short windows of cached clips, with appearance and motion as at run time."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.training.augment import augment
from asyncmde_ros.lab.training.cache import Clip
from asyncmde_ros.lab.training.config import TrainConfig
from asyncmde_ros.lab.training.sources import hash_share
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.network.warp import TensorWarp
from asyncmde_ros.pipeline import motion
from asyncmde_ros.pipeline.settings import MotionCompensation

logger = logging.getLogger(__name__)

TRIES = 20
KIND_SHARES = {'video': 0.5, 'virtual': 0.3, 'rendered': 0.2}
STILL_SHARES = {'photo': 0.5, 'video': 0.3, 'virtual': 0.1, 'rendered': 0.1}
"""From which kinds of clip windows and single frames are drawn, among those that there are."""


BySize = dict[Size, dict[str, list[Clip]]]


@dataclass
class Batch:
    """B windows of T frames; targets as cached, in half precision.

    ``images`` (B, T, H, W, 3) uint8; ``levels`` M1-M4, (B, T, C, rows, cols); ``depth``
    (B, T, 1, H, W); ``steps`` and ``keyframe``: each frame's warp to the one before and to the
    window's first, homographies (B, T, 3, 3) and flows (B, T, 2, rows, cols).
    """

    images: Tensor
    levels: list[Tensor]
    depth: Tensor
    steps: TensorWarp
    keyframe: TensorWarp

    def at(self, frames: Sequence[int]) -> 'Batch':
        """Return some frames; ``steps`` is then no longer between neighbours."""
        chosen = list(frames)
        return Batch(self.images[:, chosen], [level[:, chosen] for level in self.levels],
                     self.depth[:, chosen], *(TensorWarp(*(part[:, chosen] for part in warp))
                                              for warp in (self.steps, self.keyframe)))

    def to(self, device: torch.device) -> 'Batch':
        """Return the batch on a device."""
        return Batch(self.images.to(device, non_blocking=True),
                     [level.to(device, non_blocking=True) for level in self.levels],
                     self.depth.to(device, non_blocking=True),
                     *(TensorWarp(*(t.to(device, non_blocking=True) for t in warp))
                       for warp in (self.steps, self.keyframe)))


class Sampler:
    """Draws batches; the draw of a step depends on the seed and the step's number only."""

    def __init__(self, clips: Sequence[Clip], config: TrainConfig) -> None:
        self._config = config
        frame_encoder, gates = split(clips, config)
        self._stills, self._windows = by_size(frame_encoder), by_size(gates)

    def stills(self, step: int, count: int) -> Batch:
        """Return ``count`` windows of a single frame each."""
        rng = np.random.default_rng([self._config.seed, step, 0])
        kinds = draw_size(self._stills, STILL_SHARES, 1, self._config, rng)
        windows = []
        for _ in range(count):
            clip = draw_clip(kinds, STILL_SHARES, 1, rng)
            windows.append(self._window(clip, [int(rng.integers(clip.frames))], rng))
        return _stack(windows)

    def windows(self, step: int, count: int) -> Batch:
        """Return ``count`` windows of the configured length, without scene cuts."""
        rng = np.random.default_rng([self._config.seed, step, 1])
        return _stack(self._tracked(self._windows, count, rng, lambda clip: draw_indices(
            clip.frames, self._config, rng)))

    def pairs(self, step: int, count: int) -> Batch:
        """Return ``count`` windows of two frames, from the frame encoder's clips.

        The second is any frame of a window as :meth:`windows` draws it; its warp to the first is
        what tracking every frame between them gives.
        """
        rng = np.random.default_rng([self._config.seed, step, 2])
        length = self._config.unroll.frames
        found = self._tracked(self._stills, count, rng, lambda clip: draw_indices(
            clip.frames, self._config, rng)[:int(rng.integers(2, length + 1))])
        return _stack([window.at([0, -1]) for window in found])

    def _tracked(self, clips: BySize, count: int, rng: np.random.Generator,
                 draw: Callable[[Clip], list[int]]) -> list[Batch]:
        """Return ``count`` windows without scene cuts, of the frames that ``draw`` chooses."""
        length = self._config.unroll.frames
        kinds = draw_size(clips, KIND_SHARES, length, self._config, rng)
        found: list[Batch] = []
        for _ in range(TRIES * count):
            clip = draw_clip(kinds, KIND_SHARES, length, rng)
            window = self._window(clip, draw(clip), rng)
            if not torch.isnan(window.steps.homography).any():
                found.append(window)
            if len(found) == count:
                return found
        raise MediaError('hardly a window without a scene cut: are the videos slide shows?')

    def _window(self, clip: Clip, indices: Sequence[int], rng: np.random.Generator) -> Batch:
        pictures = augment(clip.pictures(indices), self._config.data.appearance, rng)
        return window(clip, indices, pictures, self._config.unroll.motion)


def split(clips: Sequence[Clip], config: TrainConfig) -> tuple[list[Clip], list[Clip]]:
    """Return the clips that the frame encoder learns from and those that the gates do.

    Where the frame encoder goes on learning in the clips (``clip_rate_share``), has no phase of
    its own, or one side would be left with nothing, both are all.
    """
    everything = list(clips), list(clips)
    if config.optimiser.clip_rate_share > 0 or not config.optimiser.frame_encoder_share:
        return everything
    gates = [clip for clip in clips if clip.kind != 'photo'
             and hash_share(f'gates {clip.name}') < config.data.gate_share]
    kept = {clip.name for clip in gates}
    frame_encoder = [clip for clip in clips if clip.name not in kept]
    if frame_encoder and any(clip.frames >= config.unroll.frames for clip in gates):
        return frame_encoder, gates
    logger.warning('too little footage to keep some from the frame encoder: the gates will take '
                   'it for better than it is')
    return everything


def by_size(clips: Sequence[Clip]) -> BySize:
    """Sort clips by network size and kind."""
    found: BySize = {}
    for clip in clips:
        found.setdefault(clip.size, {}).setdefault(clip.kind, []).append(clip)
    return found


def draw_indices(frames: int, config: TrainConfig, rng: np.random.Generator) -> list[int]:
    """Choose which frames of a clip make a window: a step, perhaps drops, perhaps reversed.

    Time runs backwards in ``data.reverse`` of the windows: a camera that goes forward has then
    gone back, for nothing.
    """
    length = config.unroll.frames
    possible = [step for step in config.data.frame_steps if step * (length - 1) < frames] or [1]
    gaps = np.full(length - 1, int(rng.choice(possible)))
    room = frames - 1 - int(gaps.sum())
    for position in np.flatnonzero(rng.random(length - 1) < config.data.frame_drop):
        if room > 0:
            gaps[position] += 1
            room -= 1
    start = int(rng.integers(room + 1))
    indices = [start, *(start + int(offset) for offset in np.cumsum(gaps))]
    return indices[::-1] if rng.random() < config.data.reverse else indices


def window(clip: Clip, indices: Sequence[int], pictures: Sequence[npt.NDArray[np.uint8]],
           compensation: MotionCompensation) -> Batch:
    """Return a batch of one window; its steps are NaN from a scene cut on."""
    targets = clip.targets(indices)
    steps, keyframe = track(pictures, compensation)
    return Batch(torch.from_numpy(np.stack(pictures))[None],
                 [targets[f'm{level}'][None] for level in range(1, 5)],
                 targets['depth'][None, :, None], steps, keyframe)


def track(pictures: Sequence[npt.NDArray[np.uint8]],
          compensation: MotionCompensation) -> tuple[TensorWarp, TensorWarp]:
    """Return each frame's warp to the one before and to the first, as a batch of one.

    By the estimator that runs on the robot, so with its failures.  NaN from a scene cut on, where
    the robot would drop its memory.
    """
    estimator = motion.MotionEstimator()
    steps, products = [], []
    lost = False
    for index, picture in enumerate(pictures):
        step, cut = estimator.update(index, picture, compensation)
        lost = lost or cut
        steps.append(step._replace(homography=step.homography * np.nan) if lost else step)
        products.append(estimator.since(0, index))
    return _as_batch(steps), _as_batch(products)


def _as_batch(warps: Sequence[motion.Warp | None]) -> TensorWarp:
    present = [warp for warp in warps if warp is not None]
    return TensorWarp(torch.from_numpy(np.stack([warp.homography for warp in present]))[None],
                      torch.from_numpy(np.stack([warp.flow for warp in present]))[None])


def draw_size(clips: BySize, shares: Mapping[str, float], length: int, config: TrainConfig,
              rng: np.random.Generator) -> dict[str, list[Clip]]:
    """Choose a size as the configuration weighs them, among those with usable clips.

    MediaError where there is none: no clip of one of the kinds of ``shares`` has ``length``
    frames.
    """
    usable = [(kinds, share) for size, share in config.sizes()
              if (kinds := clips.get(size, {}))
              and any(clip.frames >= length for kind in shares for clip in kinds.get(kind, []))]
    if not usable:
        raise MediaError(f'no clip of at least {length} frames to train on')
    weights = np.array([share for _, share in usable])
    return usable[rng.choice(len(usable), p=weights / weights.sum())][0]


def draw_clip(kinds: dict[str, list[Clip]], shares: Mapping[str, float], length: int,
              rng: np.random.Generator) -> Clip:
    """Draw a clip of at least ``length`` frames: the kind by its share, then any of the kind."""
    usable = {kind: [clip for clip in kinds.get(kind, []) if clip.frames >= length]
              for kind in shares}
    names = [kind for kind, clips in usable.items() if clips]
    weights = np.array([shares[name] for name in names])
    clips = usable[names[rng.choice(len(names), p=weights / weights.sum())]]
    return clips[int(rng.integers(len(clips)))]


def _stack(windows: Sequence[Batch]) -> Batch:
    return Batch(torch.cat([w.images for w in windows]),
                 [torch.cat([w.levels[level] for w in windows]) for level in range(4)],
                 torch.cat([w.depth for w in windows]),
                 _join([w.steps for w in windows]), _join([w.keyframe for w in windows]))


def _join(warps: Sequence[TensorWarp]) -> TensorWarp:
    return TensorWarp(torch.cat([warp.homography for warp in warps]),
                      torch.cat([warp.flow for warp in warps]))
