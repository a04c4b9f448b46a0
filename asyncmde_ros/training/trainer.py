"""The training run: decoder, observer, then clips; validated, resumable, within a budget."""

import logging
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.network.graphs import FastNetwork
from asyncmde_ros.network.warp import Warp, sample, warp_grid
from asyncmde_ros.training import checkpoint, curves, losses
from asyncmde_ros.training.cache import Clip
from asyncmde_ros.training.config import TrainConfig, to_tables
from asyncmde_ros.training.initial import reset_gates
from asyncmde_ros.training.interruption import stop_requested
from asyncmde_ros.training.unroll import as_memory, corrected_at, decode, observe, unroll
from asyncmde_ros.training.validation import Validation
from asyncmde_ros.training.windows import Batch, Sampler

logger = logging.getLogger(__name__)

CHECKPOINT = 'checkpoint.safetensors'
AHEAD = 3
"""Batches prepared while the present one is learned from."""

LOG_EVERY = 5
"""Odd, so that both kinds of the observer's steps are logged."""

MAX_BAD_STEPS = 20
SPREAD_FRAMES = 64
VALIDATIONS = 20
"""Over a budget in steps."""


class Phase(IntEnum):
    """What is learned, in this order: see :class:`OptimiserConfig`."""

    DECODER = 0
    OBSERVER = 1
    CLIPS = 2


class TrainingError(AsyncMDEError):
    """Training that cannot go on; says why."""


@dataclass(frozen=True)
class Budget:
    """When to stop: after ``minutes`` of training and validation, or after ``steps``.

    Only steps make two runs alike to the last bit, and only on one core: the learning rate
    follows the share of the budget that is used up, and several cores add up in any order.
    """

    minutes: float | None = None
    steps: int | None = None

    def share(self, progress: checkpoint.Progress) -> float:
        """Return how much is used up, 1 or more at the end."""
        if self.steps is not None:
            return progress.step / self.steps if self.steps else 1.0
        return progress.minutes / self.minutes if self.minutes else 1.0


class Trainer:
    """Trains a network in place and keeps the best weights by validation."""

    def __init__(self, network: FastNetwork, clips: Sequence[Clip], config: TrainConfig,
                 budget: Budget, out: Path, device: torch.device, frozen_norm: bool) -> None:
        """``frozen_norm``: the encoder's normalisation was folded away and must stay so."""
        # The stub leaves out this form of to().
        self._network: FastNetwork = network.to(  # type: ignore[call-overload]
            device, memory_format=torch.channels_last)
        network.unit.gates.scales = config.model.gates
        self._config, self._budget, self._out, self._device = config, budget, out, device
        self._frozen_norm = frozen_norm
        training = [clip for clip in clips if not clip.validation]
        if not training:
            raise TrainingError('every clip is held out: nothing is left to train on')
        self._sampler = Sampler(training, config)
        self._validation = Validation([clip for clip in clips if clip.validation], config, device)
        rates = config.optimiser
        network.decoder.requires_grad_(max(rates.decoder_rate, rates.decoder_share) > 0)
        self._optimiser = torch.optim.AdamW(self._groups(),
                                            weight_decay=config.optimiser.weight_decay)
        self.progress = checkpoint.Progress()
        self._averaged = self._new_average()
        self._best = _copied(network)
        self._spread = self._measure_spread(training)
        self._bad_steps = 0
        self._stop = threading.Event()

    def resume(self) -> None:
        """Go on from the checkpoint in ``out``.  Raises WeightsError where it does not fit."""
        restored = checkpoint.read(self._out / CHECKPOINT, self._network, self._optimiser,
                                   self._averaged)
        if restored.config != _plain(to_tables(self._config)):
            raise TrainingError(f'{self._out / CHECKPOINT} is of another configuration: use that '
                                'one, or train into another folder')
        self._best, self.progress = restored.best, restored.progress
        self._spread = restored.extra['spread'].to(self._device)

    def run(self) -> dict[str, float]:
        """Train until the budget is spent; load the best weights; return their validation.

        Raises KeyboardInterrupt, with everything in a checkpoint, soon after a signal to end.
        """
        with stop_requested() as self._stop:
            return self._run()

    def _run(self) -> dict[str, float]:
        log = curves.Log(self._out, self.progress.step or None)
        self._last = time.monotonic()
        validated = saved = self.progress.minutes
        if self.progress.step == 0:
            self.progress.phase = int(self._phase())
            self.progress.to_validate = True
        if self.progress.to_validate:
            self._validate(log)
        with ThreadPoolExecutor(AHEAD) as pool, tqdm(
                total=100, unit='%', desc='training', initial=self._percent(),
                bar_format='{desc}: {percentage:3.0f}% |{bar}| {elapsed}<{remaining} {postfix}'
                ) as bar:
            pending: dict[tuple[Phase, int], Future[Batch]] = {}
            while (share := self._budget.share(self.progress)) < 1:
                phase = self._phase()
                step = self.progress.step
                for ahead in range(step, step + AHEAD):
                    if (phase, ahead) not in pending:
                        pending[phase, ahead] = pool.submit(self._load, phase, ahead)
                batch = pending.pop((phase, step)).result().to(self._device)
                for stale in [key for key in pending if key[0] != phase or key[1] < step]:
                    pending.pop(stale).cancel()
                if phase != self.progress.phase:
                    self._begin(phase, log)
                values = self._step(batch, phase, share)
                self.progress.step += 1
                self.progress.phase_step += 1
                self._tick()
                if step % LOG_EVERY == 0:
                    log.train(step, self.progress.minutes, **values)
                    bar.set_postfix_str(f'step {step}, loss {values["loss"]:.3f}', refresh=False)
                self.progress.to_validate = self._validation_is_due(validated)
                self._end_if_asked()
                bar.update(self._percent() - bar.n)
                if self.progress.to_validate:
                    self._validate(log)
                    validated = self.progress.minutes
                if self.progress.minutes - saved >= self._config.checkpoint_minutes:
                    self._save()
                    saved = self.progress.minutes
        self._validate(log)
        self._save()
        self._network.load_state_dict(self._best)
        return self._validation.measure(self._network.eval(), partial(self._end_if_asked, False))

    def _end_if_asked(self, save: bool = True) -> None:
        if self._stop.is_set():
            if save:
                self._save()
            raise KeyboardInterrupt

    def _validation_is_due(self, validated: float) -> bool:
        """By the clock only where the budget is: it must not choose the best weights."""
        if self._budget.steps is not None:
            return self.progress.step % max(1, self._budget.steps // VALIDATIONS) == 0
        return self.progress.minutes - validated >= self._config.validation_minutes

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

    def _percent(self) -> int:
        return min(100, int(100 * self._budget.share(self.progress)))

    def _tick(self) -> None:
        now = time.monotonic()
        self.progress.minutes += (now - self._last) / 60
        self._last = now

    def _load(self, phase: Phase, step: int) -> Batch:
        optimiser = self._config.optimiser
        if phase is Phase.CLIPS:
            batch = self._sampler.windows(step, optimiser.batch)
        elif phase is Phase.DECODER:
            batch = self._sampler.stills(step, optimiser.observer_decoded)
        elif self._of_pairs(step):
            batch = self._sampler.pairs(step, max(1, optimiser.observer_batch // 2))
        else:
            batch = self._sampler.stills(step, optimiser.observer_batch)
        if self._device.type == 'cuda':
            batch.images = batch.images.pin_memory()
        return batch

    def _groups(self) -> list[dict[str, Any]]:
        """Return AdamW's groups; weight decay is for convolutions' kernels only."""
        network, settings = self._network, self._config.optimiser
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

    def _begin(self, phase: Phase, log: curves.Log) -> None:
        """Go on from the best of the phase before; another score counts from here on."""
        self.progress.phase, self.progress.phase_step = int(phase), 0
        self._optimiser.state.clear()
        self._network.load_state_dict(self._best)
        self.progress.best = math.inf
        if phase is Phase.CLIPS:
            # The gates compare features that have changed since.
            torch.manual_seed(self._config.seed)
            reset_gates(self._network, self._config.model.initial_trust)
        self._averaged = self._new_average()
        self._validate(log)  # what this phase has to improve on

    def _new_average(self) -> AveragedModel:
        """Return a running average of the weights that begins with the present ones."""
        return AveragedModel(self._network, multi_avg_fn=get_ema_multi_avg_fn(
            self._config.optimiser.average))

    def _set_rate(self, phase: Phase, share: float) -> None:
        settings = self._config.optimiser
        start = min(self._begins(phase), share)
        end = 1.0 if phase is Phase.CLIPS else self._begins(Phase(phase + 1))
        done = (share - start) / max(end - start, 1e-9)
        steps = self.progress.phase_step
        low = settings.final_rate_share
        cosine = low + (1 - low) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
        rate = settings.rate * cosine * min(1.0, (steps + 1) / max(1, settings.warmup_steps))
        for group in self._optimiser.param_groups:
            part, slower = group['name'], 1.0
            if phase is Phase.CLIPS and part in ('encoder', 'projector'):
                slower = settings.clip_rate_share
            group['lr'] = rate * slower * (
                settings.distil_rate if phase is Phase.DECODER and part == 'decoder'
                else group['share'])

    def _step(self, batch: Batch, phase: Phase, share: float) -> dict[str, float]:
        self._set_rate(phase, share)
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
        total.backward()
        norm = nn.utils.clip_grad_norm_(
            [p for group in self._optimiser.param_groups for p in group['params']],
            self._config.optimiser.gradient_clip)
        if torch.isfinite(norm):
            self._optimiser.step()
            self._averaged.update_parameters(self._network)
            self._bad_steps = 0
        else:
            self._bad_steps += 1
            logger.warning('step %d left out: its gradient is not finite', self.progress.step)
            if self._bad_steps > MAX_BAD_STEPS:
                raise TrainingError(f'{self._bad_steps} steps in a row had no finite gradient: '
                                    'lower optimiser.rate')
        absent = dict.fromkeys((*factors, 'trust'), math.nan)
        return {'loss': float(total.detach()), **absent,
                **{name: float(value.detach()) for name, value in parts.items()},
                'gradient': float(norm), 'rate': self._optimiser.param_groups[-1]['lr']}

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

    def _validate(self, log: curves.Log) -> None:
        self.progress.to_validate = True
        values = self._validation.measure(cast(FastNetwork, self._averaged.module.eval()),
                                          self._end_if_asked)
        self.progress.to_validate = False
        # Before the gates are trained, what can get better is the network without them.
        phase = Phase(self.progress.phase)
        score = values['ratio_warped' if phase is Phase.CLIPS else
                       'error_decoder' if phase is Phase.DECODER else
                       'error_corrected' if self._with_pairs() else 'error_alone']
        if score < self.progress.best:
            self.progress.best = score
            self._best = _copied(self._averaged.module)
        self._tick()
        log.validation(self.progress.step, self.progress.minutes, **values)
        curves.plot(self._out)
        logger.info('step %d, %.1f min: error %.3f (warped hold %.3f, held %.3f, without memory '
                    '%.3f), ratio to warped hold %.3f, at worst %.3f, trust %.3f',
                    self.progress.step, self.progress.minutes, values['error'],
                    values['error_warped'], values['error_held'], values['error_alone'],
                    values['ratio_warped'], values['worst_ratio_warped'], values['trust'])

    def _save(self) -> None:
        self._tick()
        checkpoint.write(self._out / CHECKPOINT, self._network, self._optimiser, self._averaged,
                         self._best, {'spread': self._spread}, self.progress,
                         _plain(to_tables(self._config)))


@torch.no_grad()
def _warped_hold_score(batch: Batch, chosen: Sequence[int], delay: int, target: Tensor) -> Tensor:
    """Return eq. 11 (N,) of the first frame's depth, warped to the chosen frames."""
    frames = [delay + int(index) for index in chosen]
    warp = Warp(*(part[:, frames].flatten(0, 1) for part in batch.keyframe))
    first = batch.depth[:, :1].expand(-1, len(frames), -1, -1, -1).flatten(0, 1).float()
    grid, _ = warp_grid(warp, first.shape[2:])
    return losses.squared_errors(losses.normalised(sample(first, grid)),
                                        losses.normalised(target))


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _plain(tables: dict[str, Any]) -> dict[str, Any]:
    """Turn tuples into lists, as JSON gives them back."""
    return {key: _plain(value) if isinstance(value, dict)
            else list(value) if isinstance(value, tuple) else value
            for key, value in tables.items()}
