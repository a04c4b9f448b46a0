"""The phases of the fast network's training: decoder, frame encoder, then clips.

Each says what it loads, what is lost on it, at which rate what learns, and by which score the best
weights are chosen.  :class:`OptimiserConfig` says why there are three.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asyncmde_ros.lab.training import losses
from asyncmde_ros.lab.training.config import TrainConfig
from asyncmde_ros.lab.training.initial import reset_gates
from asyncmde_ros.lab.training.unroll import as_memory, corrected_at, decode, observe, unroll
from asyncmde_ros.lab.training.windows import Batch, Sampler
from asyncmde_ros.network.graphs import FastNetwork
from asyncmde_ros.network.warp import TensorWarp, sample, warp_grid


@dataclass
class Shared:
    """What all phases work with; ``spread`` (4,) is the standard deviation of M1-M4."""

    network: FastNetwork
    sampler: Sampler
    config: TrainConfig
    device: torch.device
    spread: Tensor

    def autocast(self, enabled: bool) -> torch.autocast:
        """Return a context in which convolutions are computed in bfloat16, if ``enabled``."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def depth_losses(self, levels: Sequence[Tensor], target: Tensor) -> tuple[Tensor, Tensor]:
        """Return eq. 11 of each map, and eq. 12."""
        # bfloat16 pays on a CPU in the decoder's wide convolutions only.
        with self.autocast(True):
            depth = decode(self.network, levels, target.shape[2:])
        prediction, truth = losses.normalised(depth), losses.normalised(target)
        return (losses.squared_errors(prediction, truth),
                losses.multi_scale_gradient(prediction, truth))


class Phase(ABC):
    """One part of the training, from ``begins`` to ``ends`` as shares of the budget."""

    def __init__(self, shared: Shared, begins: float, ends: float) -> None:
        self._shared, self.begins, self.ends = shared, begins, ends

    @abstractmethod
    def load(self, step: int) -> Batch:
        """Prepare the batch of a step."""

    @abstractmethod
    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return what is lost on a batch, by the names of :class:`LossConfig`, unweighted."""

    @abstractmethod
    def score(self, values: dict[str, float]) -> float:
        """Return which of validation's values is to be small."""

    def begin(self) -> None:  # noqa: B027 - two of three have nothing to prepare
        """Prepare the network, which is the best of the phase before."""

    def part_rate(self, rate: float, part: str, share: float) -> float:
        """Return the rate of a part of the network that learns at ``share`` of ``rate``."""
        return rate * share

    @property
    def decoder_learns(self) -> bool:
        return self._shared.config.optimiser.decoder_rate > 0

    def done(self, share: float) -> float:
        """Return how much of the phase is over at a ``share`` of the budget."""
        start = min(self.begins, share)
        return (share - start) / max(self.ends - start, 1e-9)


class DecoderPhase(Phase):
    """The decoder alone learns the foundation model's depth from its features."""

    decoder_learns = True

    def load(self, step: int) -> Batch:
        decoded = self._shared.config.optimiser.frame_encoder_decoded
        return self._shared.sampler.stills(step, decoded)

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Compare what the decoder makes of the foundation model's features with its depth.

        In that depth's own scale, which the memory's features carry from frame to frame.
        """
        target = batch.depth[:, 0].float()
        with self._shared.autocast(True):
            depth = decode(self._shared.network, [level[:, 0].float() for level in batch.levels],
                           target.shape[2:])
        prediction, truth = (losses.standardised(maps, target) for maps in (depth, target))
        return {'loss_decoder': (prediction - truth).abs().mean(),
                'loss_gradient': losses.multi_scale_gradient(prediction, truth)}

    def score(self, values: dict[str, float]) -> float:
        return values['error_decoder']

    def part_rate(self, rate: float, part: str, share: float) -> float:
        if part == 'decoder':
            share = self._shared.config.optimiser.distil_rate
        return super().part_rate(rate, part, share)


class FrameEncoderPhase(Phase):
    """Encoder, projector and correction learn from single frames and from pairs."""

    def load(self, step: int) -> Batch:
        batch = self._shared.config.optimiser.frame_encoder_batch
        if self._of_pairs(step):
            return self._shared.sampler.pairs(step, max(1, batch // 2))
        return self._shared.sampler.stills(step, batch)

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self._pair_losses(batch) if self._of_pairs(step) else self._still_losses(batch)

    def score(self, values: dict[str, float]) -> float:
        # Before the gates are trained, what can get better is the network without them.
        return values['error_corrected' if self._with_pairs() else 'error_alone']

    def _with_pairs(self) -> bool:
        model = self._shared.config.model
        return model.correction and model.memory == 'foundation'

    def _of_pairs(self, step: int) -> bool:
        """Whether a step has pairs: three of four, if they are of use."""
        return self._with_pairs() and step % 4 != 0

    def _pair_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compare the second frame's corrected features with the foundation model's."""
        observed = observe(self._shared.network, batch)
        corrected = corrected_at(self._shared.network, batch, observed, 1)
        depth = batch.depth[:, 1]
        ssi, gradient = self._shared.depth_losses(corrected, depth)
        ssi = ssi / (self._shared.config.loss.relative_corrected
                     + warped_hold_score(batch, [1], 0, depth))
        return {'loss_corrected': ssi.mean(), 'loss_gradient': gradient,
                'loss_observed': losses.feature_distance(
                    corrected, [level[:, 1] for level in batch.levels], self._shared.spread)}

    def _still_losses(self, batch: Batch) -> dict[str, Tensor]:
        observed = as_memory(observe(self._shared.network, batch))
        count = self._shared.config.optimiser.frame_encoder_decoded
        first = [level[:count, 0] for level in observed]
        ssi, gradient = self._shared.depth_losses(first, batch.depth[:count, 0])
        return {
            'loss_ssi': ssi.mean(), 'loss_gradient': gradient,
            'loss_observed': losses.feature_distance(observed, batch.levels, self._shared.spread)}


class ClipPhase(Phase):
    """Everything, the gates above all, learns from clips that are carried through the memory."""

    def begin(self) -> None:
        # The gates compare features that have changed since.
        config = self._shared.config
        torch.manual_seed(config.seed)
        reset_gates(self._shared.network, config.model.initial_trust)

    def load(self, step: int) -> Batch:
        return self._shared.sampler.windows(step, self._shared.config.optimiser.batch)

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        config = self._shared.config
        rng = np.random.default_rng([config.seed, step, 2])
        delay = int(rng.integers(config.unroll.max_delay + 1))
        learning = config.optimiser.clip_rate_share > 0
        result = unroll(self._shared.network, batch, delay, config.model, config.unroll, learning)
        count = batch.images.shape[1] - delay
        chosen = sorted(rng.choice(count, min(config.unroll.decoded_frames, count),
                                   replace=False))
        after = [level[:, delay:] for level in batch.levels]
        depth = batch.depth[:, delay:][:, chosen].flatten(0, 1)
        ssi, gradient = self._shared.depth_losses(
            [level[:, chosen].flatten(0, 1) for level in result.fused], depth)
        if config.loss.relative:
            ssi = ssi / (config.loss.relative + warped_hold_score(batch, chosen, delay, depth))
        parts = {'loss_ssi': ssi.mean(), 'loss_gradient': gradient}
        own = as_memory(result.observed)
        if learning:
            alone = int(rng.integers(batch.images.shape[1]))
            parts['loss_alone'] = self._shared.depth_losses(
                [level[:, alone] for level in own], batch.depth[:, alone])[0].mean()
        parts['loss_observed'] = losses.feature_distance(own, batch.levels, self._shared.spread)
        parts['loss_fused'] = losses.feature_distance(result.fused, after, self._shared.spread)
        parts['loss_memory'] = losses.memory_floor(result.trust.flatten(0, 1), config.loss.tau)
        parts['trust'] = result.trust.mean()
        return parts

    def score(self, values: dict[str, float]) -> float:
        return values['ratio_warped']

    def part_rate(self, rate: float, part: str, share: float) -> float:
        if part in ('encoder', 'projector'):
            rate *= self._shared.config.optimiser.clip_rate_share
        return super().part_rate(rate, part, share)


def phases(shared: Shared) -> tuple[Phase, ...]:
    """Return the phases in their order; the number of one is its place."""
    settings = shared.config.optimiser
    first = settings.decoder_share
    second = first + settings.frame_encoder_share
    return (DecoderPhase(shared, 0.0, first), FrameEncoderPhase(shared, first, second),
            ClipPhase(shared, second, 1.0))


@torch.no_grad()
def warped_hold_score(batch: Batch, chosen: Sequence[int], delay: int, target: Tensor) -> Tensor:
    """Return eq. 11 (N,) of the first frame's depth, warped to the chosen frames."""
    frames = [delay + int(index) for index in chosen]
    warp = TensorWarp(*(part[:, frames].flatten(0, 1) for part in batch.keyframe))
    first = batch.depth[:, :1].expand(-1, len(frames), -1, -1, -1).flatten(0, 1).float()
    grid, _ = warp_grid(warp, first.shape[2:])
    return losses.squared_errors(losses.normalised(sample(first, grid)),
                                        losses.normalised(target))
