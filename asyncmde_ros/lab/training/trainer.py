"""The fast network's training, phase by phase."""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from asyncmde_ros.lab.training import curves
from asyncmde_ros.lab.training.cache import Clip
from asyncmde_ros.lab.training.config import OptimiserConfig, TrainConfig
from asyncmde_ros.lab.training.loop import Budget, Loop, TrainingError, warmed_cosine
from asyncmde_ros.lab.training.phases import Phase, Shared, phases
from asyncmde_ros.lab.training.validation import Validation
from asyncmde_ros.lab.training.windows import Batch, Sampler
from asyncmde_ros.network.graphs import FastNetwork

logger = logging.getLogger(__name__)

SPREAD_FRAMES = 64


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
        self._validation = Validation([clip for clip in clips if clip.validation], config, device)
        rates = config.optimiser
        network.decoder.requires_grad_(max(rates.decoder_rate, rates.decoder_share) > 0)
        optimiser = torch.optim.AdamW(_groups(network, rates), weight_decay=rates.weight_decay)
        super().__init__(network, optimiser, config, budget, out, rates.average,
                         rates.gradient_clip)
        self._shared = Shared(self._network, Sampler(training, config), config, device,
                              self._measure_spread(training))
        self._phases = phases(self._shared)

    def _extra(self) -> dict[str, Tensor]:
        return {'spread': self._shared.spread}

    def _restore(self, extra: dict[str, Tensor]) -> None:
        self._shared.spread = extra['spread'].to(self._device)

    def _phase(self) -> int:
        share = self._budget.share(self.progress)
        due = max(number for number, phase in enumerate(self._phases) if share >= phase.begins)
        # Never back: a resumed run may have a larger budget.
        return max(due, self.progress.phase)

    def _load(self, phase: int, step: int) -> Batch:
        batch = self._phases[phase].load(step)
        if self._device.type == 'cuda':
            batch.images = batch.images.pin_memory()
        return batch

    def _begin(self, phase: int, log: curves.Log) -> None:
        """Go on from the best of the phase before; another score counts from here on."""
        self.progress.phase, self.progress.phase_step = phase, 0
        self._optimiser.state.clear()
        self._network.load_state_dict(self._best)
        self.progress.best = math.inf
        self._phases[phase].begin()
        self.averaged = self._new_average()
        self._validate(log)  # what this phase has to improve on

    def _set_rate(self, phase: Phase, share: float) -> None:
        settings = self._config.optimiser
        rate = settings.rate * warmed_cosine(phase.done(share), self.progress.phase_step,
                                             settings.warmup_steps, settings.final_rate_share)
        for group in self._optimiser.param_groups:
            group['lr'] = phase.part_rate(rate, group['name'], group['share'])

    def step(self, batch: Batch, phase: int, share: float) -> dict[str, float]:
        present = self._phases[phase]
        self._set_rate(present, share)
        batch = batch.to(self._device)
        self._train_mode()
        self._network.decoder.requires_grad_(present.decoder_learns)
        self._optimiser.zero_grad(set_to_none=True)
        with self._shared.autocast(self._device.type == 'cuda'):
            parts = present.losses(batch, self.progress.step)
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

    def _train_mode(self) -> None:
        self._network.train()
        if self._frozen_norm:
            self._network.frame_encoder.encoder.eval()

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

    def measure(self, learned: nn.Module, check: Callable[[], None]) -> dict[str, float]:
        return self._validation.measure(cast(FastNetwork, learned), check)

    def _score(self, values: dict[str, float]) -> float:
        return self._phases[self.progress.phase].score(values)

    def _tell(self, values: dict[str, float]) -> None:
        logger.info('step %d, %.1f min: error %.3f (warped hold %.3f, held %.3f, without memory '
                    '%.3f), ratio to warped hold %.3f, at worst %.3f, trust %.3f',
                    self.progress.step, self.progress.minutes, values['error'],
                    values['error_warped'], values['error_held'], values['error_alone'],
                    values['ratio_warped'], values['worst_ratio_warped'], values['trust'])


def _groups(network: FastNetwork, settings: OptimiserConfig) -> list[dict[str, Any]]:
    """Return AdamW's groups; weight decay is for convolutions' kernels only."""
    groups = []
    for name, module, share in (
            ('encoder', network.frame_encoder.encoder, settings.encoder_rate),
            ('projector', network.frame_encoder.projector, 1.0),
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
