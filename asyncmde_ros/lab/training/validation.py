"""How a network does on held-out clips: against the teacher, beside held and warped depth."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.training.cache import Clip
from asyncmde_ros.lab.training.config import TrainConfig
from asyncmde_ros.lab.training.losses import aligned_error
from asyncmde_ros.lab.training.unroll import as_memory, corrected_at, decode, unroll
from asyncmde_ros.lab.training.windows import Batch, window
from asyncmde_ros.network.graphs import FastNetwork
from asyncmde_ros.network.warp import TensorWarp, sample, warp_grid

WINDOWS = 20
LEAST_ERROR = 0.01


class Validation:
    """Fixed windows of the held-out clips, with the baselines' errors.

    Errors are :func:`aligned_error` to the foundation model's own depth of each frame.
    """

    def __init__(self, clips: Sequence[Clip], config: TrainConfig, device: torch.device) -> None:
        """Choose windows of validation ``clips``; MediaError where none is long enough."""
        self._config = config
        self._batches = [batch.to(device) for batch in _choose(clips, config)]
        if not self._batches:
            raise MediaError('no held-out clip is long enough to validate on: raise '
                             'data.validation_share or give longer videos')
        self._held, self._warped = [], []
        for batch in self._batches:
            depth = batch.depth[0].float()
            first = depth[:1].expand_as(depth)
            # The baseline is the homography's: what one gets without optical flow.
            homography = batch.keyframe.homography[0]
            grid, _ = warp_grid(TensorWarp(homography, batch.keyframe.flow[0] * 0),
                                depth.shape[2:])
            self._held.append(_mean(first, depth))
            self._warped.append(_mean(sample(first.contiguous(), grid), depth))

    @torch.inference_mode()
    def measure(self, network: FastNetwork, check: Callable[[], None] = lambda: None
                ) -> dict[str, float]:
        """Return mean errors, and geometric means of the error ratios to both baselines.

        ``ratio_warped`` below 1 beats the warped hold; ``worst_ratio_warped`` is of the worst
        window; ``error_alone`` is the network's without memory, ``error_corrected`` with no
        more of it than the correction; ``error_decoder`` is of the foundation model's own
        features through the network's decoder.  ``check`` is called again and again, and may
        raise to give up.
        """
        model, settings = self._config.model, self._config.unroll
        ours, alone, corrected, trust, decoder = [], [], [], [], []
        for batch in self._batches:
            check()
            size = batch.depth.shape[3:]
            result = unroll(network, batch, 0, model, settings)
            depth = batch.depth[0].float()
            # Frame by frame: ten decoders' activations at once would be gigabytes for nothing.
            ours.append(_mean(_decoded(network, result.fused, size), depth))
            decoder.append(_mean(decode(network, [level[0, :1].float() for level in batch.levels],
                                        size), depth[:1]))
            alone.append(_mean(_decoded(network, as_memory(result.observed), size), depth))
            if model.memory == 'foundation':
                levels = [corrected_at(network, batch, result.observed, frame)
                          for frame in range(len(depth))]
                corrected.append(_mean(_decoded(
                    network, [torch.stack(level, 1) for level in zip(*levels, strict=True)],
                    size), depth))
            trust.append(float(result.trust.mean()))
        ratios = np.array(ours) / np.maximum(self._warped, LEAST_ERROR)
        return {'ratio_warped': _geometric(ratios),
                'ratio_held': _geometric(np.array(ours) / np.maximum(self._held, LEAST_ERROR)),
                'worst_ratio_warped': float(ratios.max()), 'error': float(np.mean(ours)),
                'error_warped': float(np.mean(self._warped)),
                'error_held': float(np.mean(self._held)), 'error_alone': float(np.mean(alone)),
                'error_corrected': float(np.mean(corrected)) if corrected else math.nan,
                'error_decoder': float(np.mean(decoder)), 'trust': float(np.mean(trust))}


def _choose(clips: Sequence[Clip], config: TrainConfig) -> list[Batch]:
    """Take windows from all kinds and sources in turn, the middle of each clip first."""
    length = config.unroll.frames
    motion = config.unroll.motion
    usable = [clip for clip in clips if clip.frames >= length]
    order = np.random.default_rng(config.seed).permutation(len(usable))
    chosen: list[Batch] = []
    taken: dict[str, int] = {}
    # The source with the fewest windows so far comes next.
    for _ in range(len(usable)):
        left = [i for i in order if i >= 0]
        if not left or len(chosen) == WINDOWS:
            break
        best = min(left, key=lambda i: (taken.get(usable[i].name, 0),
                                        taken.get(f'kind {usable[i].kind}', 0)))
        order = np.where(order == best, -1, order)
        clip = usable[best]
        step = 2 if clip.frames >= 2 * length else 1
        start = (clip.frames - 1 - step * (length - 1)) // 2
        indices = list(range(start, start + step * length, step))[:length]
        batch = window(clip, indices, clip.pictures(indices), motion)
        if not torch.isnan(batch.steps.homography).any():
            chosen.append(batch)
            for key in (clip.name, f'kind {clip.kind}'):
                taken[key] = taken.get(key, 0) + 1
    return chosen


def _decoded(network: FastNetwork, levels: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    frames = levels[0].shape[1]
    return torch.cat([decode(network, [level[:, frame] for level in levels], size)
                      for frame in range(frames)])


def _mean(prediction: Tensor, target: Tensor) -> float:
    return float(aligned_error(prediction, target).mean())


def _geometric(ratios: np.ndarray) -> float:
    return float(np.exp(np.log(np.maximum(ratios, 1e-6)).mean()))
