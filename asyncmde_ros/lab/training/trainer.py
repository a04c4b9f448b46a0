"""The fast network's training: decoder, observer, then clips."""

import logging
import math
from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from asyncmde_ros.lab.training import curves, losses
from asyncmde_ros.lab.training.cache import Clip
from asyncmde_ros.lab.training.config import OptimiserConfig, TrainConfig
from asyncmde_ros.lab.training.initial import reset_gates
from asyncmde_ros.lab.training.loop import Budget, Loop, TrainingError, warmed_cosine
from asyncmde_ros.lab.training.unroll import as_memory, corrected_at, decode, observe, unroll
from asyncmde_ros.lab.training.validation import Validation
from asyncmde_ros.lab.training.windows import Batch, Sampler
from asyncmde_ros.network.graphs import FastNetwork
from asyncmde_ros.network.warp import Warp, sample, warp_grid

logger = logging.getLogger(__name__)

SPREAD_FRAMES = 64


class Phase(IntEnum):
    """What is learned, in this order: see :class:`OptimiserConfig`."""

    DECODER = 0
    OBSERVER = 1
    CLIPS = 2


class Trainer(Loop[Batch]):
    """Trains a network in place and keeps the best weights by validation."""

    def __init__(self, network: FastNetwork, clips: Sequence[Clip], config: TrainConfig,
                 budget: Budget, out: Path, device: torch.device, frozen_norm: bool) -> None:
        """``frozen_norm``: the encoder's normalisation was folded away and must stay so."""
        # The stub leaves out this form of to().
        self._network: FastNetwork = network.to(  # type: ignore[call-overload]
            device, memory_format=torch.channels_last)
        network.unit.gates.scales = config.model.gates
        self._device, self._frozen_norm = device, frozen_norm
        training = [clip for clip in clips if not clip.validation]
        if not training:
            raise TrainingError('every clip is held out: nothing is left to train on')
        self._sampler = Sampler(training, config)
        self._validation = Validation([clip for clip in clips if clip.validation], config, device)
        rates = config.optimiser
        network.decoder.requires_grad_(max(rates.decoder_rate, rates.decoder_share) > 0)
        optimiser = torch.optim.AdamW(_groups(network, rates), weight_decay=rates.weight_decay)
        super().__init__(network, optimiser, config, budget, out, rates.average,
                         rates.gradient_clip)
        self._spread = self._measure_spread(training)

    def _extra(self) -> dict[str, Tensor]:
        return {'spread': self._spread}

    def _restore(self, extra: dict[str, Tensor]) -> None:
        self._spread = extra['spread'].to(self._device)

    def _phase(self) -> Phase:
        share = self._budget.share(self.progress)
        due = max(phase for phase in Phase if share >= self._begins(phase))
        # Never back: a resumed run may have a larger budget.
        return max(due, Phase(self.progress.phase))

    def _begins(self, phase: Phase) -> float:
        """Return the share of the budget at which a phase begins."""
        settings = self._config.optimiser
        return (0.0, settings.decoder_share, settings.decoder_share + settings.observer_share
                )[phase]

    def _load(self, phase: int, step: int) -> Batch:
        optimiser = self._config.optimiser
        if phase == Phase.CLIPS:
            batch = self._sampler.windows(step, optimiser.batch)
        elif phase == Phase.DECODER:
            batch = self._sampler.stills(step, optimiser.observer_decoded)
        elif self._of_pairs(step):
            batch = self._sampler.pairs(step, max(1, optimiser.observer_batch // 2))
        else:
            batch = self._sampler.stills(step, optimiser.observer_batch)
        if self._device.type == 'cuda':
            batch.images = batch.images.pin_memory()
        return batch

    def _begin(self, phase: int, log: curves.Log) -> None:
        """Go on from the best of the phase before; another score counts from here on."""
        self.progress.phase, self.progress.phase_step = phase, 0
        self._optimiser.state.clear()
        self._network.load_state_dict(self._best)
        self.progress.best = math.inf
        if phase is Phase.CLIPS:
            # The gates compare features that have changed since.
            torch.manual_seed(self._config.seed)
            reset_gates(self._network, self._config.model.initial_trust)
        self._averaged = self._new_average()
        self._validate(log)  # what this phase has to improve on

    def _set_rate(self, phase: Phase, share: float) -> None:
        settings = self._config.optimiser
        start = min(self._begins(phase), share)
        end = 1.0 if phase is Phase.CLIPS else self._begins(Phase(phase + 1))
        done = (share - start) / max(end - start, 1e-9)
        rate = settings.rate * warmed_cosine(done, self.progress.phase_step,
                                             settings.warmup_steps, settings.final_rate_share)
        for group in self._optimiser.param_groups:
            part, slower = group['name'], 1.0
            if phase is Phase.CLIPS and part in ('encoder', 'projector'):
                slower = settings.clip_rate_share
            group['lr'] = rate * slower * (
                settings.distil_rate if phase is Phase.DECODER and part == 'decoder'
                else group['share'])

    def _step(self, batch: Batch, phase: int, share: float) -> dict[str, float]:
        phase = Phase(phase)
        self._set_rate(phase, share)
        batch = batch.to(self._device)
        self._train_mode()
        self._network.decoder.requires_grad_(
            phase is Phase.DECODER or self._config.optimiser.decoder_rate > 0)
        self._optimiser.zero_grad(set_to_none=True)
        with self._autocast(self._device.type == 'cuda'):
            parts = (self._clip_losses(batch) if phase is Phase.CLIPS
                     else self._decoder_losses(batch) if phase is Phase.DECODER
                     else self._pair_losses(batch) if self._of_pairs(self.progress.step)
                     else self._still_losses(batch))
        weights = self._config.loss
        factors = {'loss_decoder': weights.ssi, 'loss_ssi': weights.ssi,
                   'loss_corrected': weights.ssi, 'loss_gradient': weights.gradient,
                   'loss_observed': weights.observed, 'loss_fused': weights.fused,
                   'loss_memory': weights.memory, 'loss_alone': weights.alone}
        total = torch.stack([factor * parts[name] for name, factor in factors.items()
                             if name in parts]).sum()
        norm = self._learn(total)
        absent = dict.fromkeys((*factors, 'trust'), math.nan)
        return {'loss': float(total.detach()), **absent,
                **{name: float(value.detach()) for name, value in parts.items()},
                'gradient': norm, 'rate': self._optimiser.param_groups[-1]['lr']}

    def _with_pairs(self) -> bool:
        model = self._config.model
        return model.correction and model.memory == 'foundation'

    def _of_pairs(self, step: int) -> bool:
        """Whether a step of the observer's phase has pairs: three of four, if they are of use."""
        return self._with_pairs() and step % 4 != 0

    def _decoder_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compare what the decoder makes of the foundation model's features with its depth.

        In that depth's own scale, which the memory's features carry from frame to frame.
        """
        target = batch.depth[:, 0].float()
        with self._autocast(True):
            depth = decode(self._network, [level[:, 0].float() for level in batch.levels],
                           target.shape[2:])
        prediction, truth = (losses.standardised(maps, target) for maps in (depth, target))
        return {'loss_decoder': (prediction - truth).abs().mean(),
                'loss_gradient': losses.multi_scale_gradient(prediction, truth)}

    def _pair_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compare the second frame's corrected features with the foundation model's."""
        observed = observe(self._network, batch)
        corrected = corrected_at(self._network, batch, observed, 1)
        depth = batch.depth[:, 1]
        ssi, gradient = self._depth_losses(corrected, depth)
        ssi = ssi / (self._config.loss.relative_corrected
                     + _warped_hold_score(batch, [1], 0, depth))
        return {'loss_corrected': ssi.mean(), 'loss_gradient': gradient,
                'loss_observed': losses.feature_distance(
                    corrected, [level[:, 1] for level in batch.levels], self._spread)}

    def _still_losses(self, batch: Batch) -> dict[str, Tensor]:
        observed = as_memory(observe(self._network, batch))
        count = self._config.optimiser.observer_decoded
        first = [level[:count, 0] for level in observed]
        ssi, gradient = self._depth_losses(first, batch.depth[:count, 0])
        return {
            'loss_ssi': ssi.mean(), 'loss_gradient': gradient,
            'loss_observed': losses.feature_distance(observed, batch.levels, self._spread)}

    def _clip_losses(self, batch: Batch) -> dict[str, Tensor]:
        config = self._config
        rng = np.random.default_rng([config.seed, self.progress.step, 2])
        delay = int(rng.integers(config.unroll.max_delay + 1))
        learning = config.optimiser.clip_rate_share > 0
        result = unroll(self._network, batch, delay, config.model, config.unroll, learning)
        count = batch.images.shape[1] - delay
        chosen = sorted(rng.choice(count, min(config.unroll.decoded_frames, count),
                                   replace=False))
        after = [level[:, delay:] for level in batch.levels]
        depth = batch.depth[:, delay:][:, chosen].flatten(0, 1)
        ssi, gradient = self._depth_losses(
            [level[:, chosen].flatten(0, 1) for level in result.fused], depth)
        if config.loss.relative:
            ssi = ssi / (config.loss.relative + _warped_hold_score(batch, chosen, delay, depth))
        parts = {'loss_ssi': ssi.mean(), 'loss_gradient': gradient}
        own = as_memory(result.observed)
        if learning:
            alone = int(rng.integers(batch.images.shape[1]))
            parts['loss_alone'] = self._depth_losses(
                [level[:, alone] for level in own], batch.depth[:, alone])[0].mean()
        parts['loss_observed'] = losses.feature_distance(own, batch.levels, self._spread)
        parts['loss_fused'] = losses.feature_distance(result.fused, after, self._spread)
        parts['loss_memory'] = losses.memory_floor(result.trust.flatten(0, 1), config.loss.tau)
        parts['trust'] = result.trust.mean()
        return parts

    def _depth_losses(self, levels: Sequence[Tensor], target: Tensor) -> tuple[Tensor, Tensor]:
        """Return eq. 11 of each map, and eq. 12."""
        # bfloat16 pays on a CPU in the decoder's wide convolutions only.
        with self._autocast(True):
            depth = decode(self._network, levels, target.shape[2:])
        prediction, truth = losses.normalised(depth), losses.normalised(target)
        return (losses.squared_errors(prediction, truth),
                losses.multi_scale_gradient(prediction, truth))

    def _autocast(self, enabled: bool) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=enabled)

    def _train_mode(self) -> None:
        self._network.train()
        if self._frozen_norm:
            self._network.observer.encoder.eval()

    def _measure_spread(self, clips: Sequence[Clip]) -> Tensor:
        """Return the standard deviation (4,) of the foundation model's M1-M4 over clips."""
        rng = np.random.default_rng([self._config.seed, 3])
        squares = np.zeros(4)
        picked = [clips[i] for i in rng.permutation(len(clips))[:SPREAD_FRAMES]]
        for clip in picked:
            targets = clip.targets([clip.frames // 2], ('m1', 'm2', 'm3', 'm4'))
            for level in range(4):
                x = targets[f'm{level + 1}'][0].float()
                squares[level] += float((x - x.mean((1, 2), keepdim=True)).square().mean())
        return torch.tensor(np.sqrt(squares / len(picked)), dtype=torch.float32,
                            device=self._device)

    def _measure(self, learned: nn.Module, check: Callable[[], None]) -> dict[str, float]:
        return self._validation.measure(cast(FastNetwork, learned), check)

    def _score(self, values: dict[str, float]) -> float:
        # Before the gates are trained, what can get better is the network without them.
        phase = self.progress.phase
        return values['ratio_warped' if phase == Phase.CLIPS else
                      'error_decoder' if phase == Phase.DECODER else
                      'error_corrected' if self._with_pairs() else 'error_alone']

    def _tell(self, values: dict[str, float]) -> None:
        logger.info('step %d, %.1f min: error %.3f (warped hold %.3f, held %.3f, without memory '
                    '%.3f), ratio to warped hold %.3f, at worst %.3f, trust %.3f',
                    self.progress.step, self.progress.minutes, values['error'],
                    values['error_warped'], values['error_held'], values['error_alone'],
                    values['ratio_warped'], values['worst_ratio_warped'], values['trust'])


@torch.no_grad()
def _warped_hold_score(batch: Batch, chosen: Sequence[int], delay: int, target: Tensor) -> Tensor:
    """Return eq. 11 (N,) of the first frame's depth, warped to the chosen frames."""
    frames = [delay + int(index) for index in chosen]
    warp = Warp(*(part[:, frames].flatten(0, 1) for part in batch.keyframe))
    first = batch.depth[:, :1].expand(-1, len(frames), -1, -1, -1).flatten(0, 1).float()
    grid, _ = warp_grid(warp, first.shape[2:])
    return losses.squared_errors(losses.normalised(sample(first, grid)),
                                        losses.normalised(target))


def _groups(network: FastNetwork, settings: OptimiserConfig) -> list[dict[str, Any]]:
    """Return AdamW's groups; weight decay is for convolutions' kernels only."""
    groups = []
    for name, module, share in (
            ('encoder', network.observer.encoder, settings.encoder_rate),
            ('projector', network.observer.projector, 1.0),
            ('correction', network.unit.correction, 1.0),
            ('gates', network.unit.gates, settings.gate_rate),
            ('decoder', network.decoder, settings.decoder_rate)):
        parameters = [p for p in module.parameters() if p.requires_grad]
        for kernels in (True, False):
            chosen = [p for p in parameters if (p.dim() > 1) == kernels]
            if chosen:
                groups.append({'params': chosen, 'name': name, 'share': share}
                              | ({} if kernels else {'weight_decay': 0.0}))
    return groups
