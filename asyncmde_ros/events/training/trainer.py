"""EventSPD's training: queries on windows of events, one window after the other."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from asyncmde_ros.events.network.auxiliary import Connectors, DenseHeads
from asyncmde_ros.events.network.event_spd import EventSPD
from asyncmde_ros.events.network.precompute import Context
from asyncmde_ros.events.training import losses
from asyncmde_ros.events.training.augmentation import changed, drawn
from asyncmde_ros.events.training.clips import DEPTH, EVENTS, LABELS, NAMES, EventClip
from asyncmde_ros.events.training.config import EventConfig, EventTrainConfig
from asyncmde_ros.events.training.sampling import HardMap, at, draw, query_weights
from asyncmde_ros.lab.training.loop import Budget, Loop, TrainingError, warmed_cosine
from asyncmde_ros.lab.training.losses import aligned_error

logger = logging.getLogger(__name__)

HELD_OUT = 12
"""Clips of each kind that weights are chosen by, at most."""

MEASURED_STRIDE = 8
"""Pixels between the queries that validation asks."""

TEACHER_WIDTH = 384


@dataclass
class EventBatch:
    """B clips of T windows: what :meth:`EventClip.read` gives, each (T, B, ...), and (B,) kinds.

    ``labelled``: which of the windows have depth; of what goes with that there are but so many.
    """

    tensors: dict[str, Tensor]
    metric: Tensor
    labelled: list[int]

    def to(self, device: torch.device) -> 'EventBatch':
        """Return the batch on a device."""
        return EventBatch({name: value.to(device) for name, value in self.tensors.items()},
                          self.metric.to(device), self.labelled)


class Learned(nn.Module):
    """The network, and what only training has of it."""

    def __init__(self, config: EventTrainConfig) -> None:
        super().__init__()
        self.network = EventSPD(config.network)
        self.dense = DenseHeads(config.network)
        self.connectors = Connectors(config.network, TEACHER_WIDTH)

    def contexts(self, events: Tensor, hidden: Tensor | None = None,
                 wanted: Collection[int] | None = None) -> list[Context]:
        """Go through windows (T, B, inputs, H, W), from h_0 = 0 unless ``hidden`` is given.

        The contexts of those that are ``wanted`` come back, of all if that is None.  The others
        hand the memory on, and no gradient.
        """
        if hidden is None:
            hidden = self.network.no_memory(events.shape[1], *events.shape[3:])
        found = []
        for index, window in enumerate(events):
            if wanted is None or index in wanted:
                found.append(self.network.shared(window, hidden))
                hidden = found[-1].l4
            else:
                with torch.no_grad():
                    hidden = self.network.shared.remembered(window, hidden)
        return found


class EventTrainer(Loop[EventBatch]):
    """Trains EventSPD in place and keeps the best weights by validation.

    Validation is :func:`aligned_error` on held-out clips, gone through from their beginning: of
    each kind of clip, and the mean of the kinds.
    """

    def __init__(self, learned: Learned, clips: Sequence[EventClip], config: EventTrainConfig,
                 budget: Budget, out: Path, device: torch.device) -> None:
        self._clips = by_kind([clip for clip in clips if not clip.validation])
        self._held = by_kind([clip for clip in clips if clip.validation])
        if not self._clips:
            raise TrainingError('every clip is held out: nothing is left to train on')
        if not self._held:
            raise TrainingError('no clip is held out to validate on: make more clips')
        self._learnt = learned.to(device)
        self._events: EventConfig = config.events
        self._device = device
        ((rows, cols), _), = config.sizes()
        self._hard = HardMap(rows, cols, config.events.hard_average, device)
        optimiser = torch.optim.AdamW(_groups(learned, config.events))
        super().__init__(learned, optimiser, config, budget, out, config.events.average,
                         config.events.gradient_clip)

    def _extra(self) -> dict[str, Tensor]:
        return {'hard': self._hard.losses}

    def _restore(self, extra: dict[str, Tensor]) -> None:
        self._hard.losses = extra['hard'].to(self._device)

    def _load(self, phase: int, step: int) -> EventBatch:
        rng = np.random.default_rng([self._config.seed, step, 6])
        kinds = sorted(self._clips)
        shares = np.array([self._events.shares.get(kind, 0.0) for kind in kinds])
        if not shares.sum():
            raise TrainingError(f'there are clips of {", ".join(kinds)} only, and the shares of '
                                'these are 0')
        unroll = self._events.unroll
        parts, metric = [], []
        for _ in range(self._events.batch):
            same = self._clips[kinds[rng.choice(len(kinds), p=shares / shares.sum())]]
            clip = same[rng.integers(len(same))]
            ends = [window for window in clip.labelled if window >= unroll - 1]
            first = int(rng.choice(ends)) - unroll + 1
            parts.append(changed(clip.read(first, unroll), drawn(self._events.augmentation, rng),
                                 clip.metric))
            metric.append(clip.metric)
        # As the last window has depth, it is the same ones of every clip that have.
        every = self._events.labelled_every
        return EventBatch({name: torch.stack([part[name] for part in parts], dim=1)
                           for name in NAMES}, torch.tensor(metric),
                          list(range((unroll - 1) % every, unroll, every)))

    def step(self, batch: EventBatch, phase: int, share: float) -> dict[str, float]:
        settings = self._events
        factor = warmed_cosine(share, self.progress.step, settings.warmup_steps,
                               settings.final_rate_share)
        for group in self._optimiser.param_groups:
            group['lr'] = factor * settings.rate * group['share']
        # Dropout and queries are of the step's number, so that a resumed run goes on as it was.
        torch.manual_seed(self._config.seed * 1_000_003 + self.progress.step)
        generator = torch.Generator(self._device).manual_seed(
            self._config.seed * 1_000_033 + self.progress.step)
        batch = batch.to(self._device)
        self._learnt.train()
        self._optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, torch.bfloat16, self._device.type == 'cuda'):
            parts = self._losses(batch, generator)
        down = 1 - (1 - settings.losses.dense_end) * min(share, 1.0)
        total = (parts['loss_point'] + settings.losses.silog * parts['loss_silog']
                 + down * parts['loss_dense'] + parts['loss_features'])
        norm = self._learn(total)
        return {'loss': float(total.detach()),
                **{name: float(value.detach()) for name, value in parts.items()},
                'gradient': norm, 'rate': factor * settings.rate}

    def _losses(self, batch: EventBatch, generator: torch.Generator) -> dict[str, Tensor]:
        settings, learned = self._events, self._learnt
        windows = {name: batch.tensors[name].flatten(0, 1) for name in LABELS}
        metric = batch.metric.repeat(len(batch.tensors[DEPTH]))
        # The windows of all times, side by side: only the pyramid goes one after the other.
        contexts = learned.contexts(batch.tensors[EVENTS], wanted=batch.labelled)
        context = Context(*(torch.cat(parts) for parts in zip(*contexts, strict=True)))
        truth = windows[DEPTH]
        queries = draw(query_weights(truth, windows['counts'], self._hard, settings.sampling),
                       settings.queries, generator)
        inverse, expected = learned.network.decoder(context, queries), at(truth, queries)
        errors = losses.form_and_point_errors(inverse, expected, metric)
        self._hard.update(queries, errors)
        dense = [weight * losses.dense_error(ours, truth, metric, level) for weight, ours, level
                 in zip(settings.losses.dense, learned.dense(context), (1, 2), strict=True)]
        features = [weight * losses.feature_distance(ours, windows[name], windows['counts'], level)
                    for weight, ours, name, level in
                    zip(settings.losses.features, learned.connectors(context),
                        ('features3', 'features4'), (2, 3), strict=True)]
        return {'loss_point': errors.mean(),
                'loss_silog': losses.silog(inverse, expected, metric,
                                           settings.losses.silog_mean),
                'loss_dense': torch.stack(dense).sum(),
                'loss_features': torch.stack(features).sum()}

    @torch.no_grad()
    def measure(self, learned: nn.Module, check: Callable[[], None]) -> dict[str, float]:
        values: dict[str, float] = {}
        for kind, clips in self._held.items():
            found = []
            for clip in clips[:HELD_OUT]:
                check()
                found.append(self._clip_errors(cast(Learned, learned), clip))
            points, dense = torch.cat(found, dim=1).mean(1).tolist()
            values |= {f'error_{kind}': points, f'dense_{kind}': dense}
        mean = {name: float(np.mean([value for key, value in values.items()
                                     if key.startswith(f'{name}_')]))
                for name in ('error', 'dense')}
        return mean | values

    def _clip_errors(self, learned: Learned, clip: EventClip) -> Tensor:
        """Return the errors of queries and of L2's dense head, (2, labelled windows)."""
        tensors = {name: value.to(self._device)
                   for name, value in clip.read(0, clip.windows).items()}
        truth = tensors[DEPTH]
        queries = query_grid(clip.size, self._device)                       # (h, w, 2)
        pairs = []
        contexts = learned.contexts(tensors[EVENTS][:, None], wanted=clip.labelled)
        for window, context in enumerate(contexts):
            inverse = learned.network.decoder(context, queries.flatten(0, 1)[None])
            expected = at(truth[window:window + 1], queries.flatten(0, 1)[None])
            dense, _ = learned.dense(context)
            averaged = losses.averaged(truth[window:window + 1], 1)
            pairs.append(torch.cat([aligned_error(inverse[:, None, None], expected[:, None, None]),
                                    aligned_error(dense, averaged)]))
        return torch.stack(pairs, dim=1)

    def _score(self, values: dict[str, float]) -> float:
        return values['error']

    def _tell(self, values: dict[str, float]) -> None:
        logger.info('step %d, %.1f min: %s', self.progress.step, self.progress.minutes,
                    ', '.join(f'{name} {value:.4f}' for name, value in values.items()))


def query_grid(size: Sequence[int], device: torch.device) -> Tensor:
    """Return the pixels that validation asks for, (rows, cols, 2)."""
    y, x = (torch.arange(MEASURED_STRIDE // 2, side, MEASURED_STRIDE, device=device)
            for side in size)
    rows, cols = torch.meshgrid(y, x, indexing='ij')
    return torch.stack([cols, rows], dim=-1).float()


def by_kind(clips: Sequence[EventClip]) -> dict[str, list[EventClip]]:
    """Sort clips by kind."""
    kinds: dict[str, list[EventClip]] = {}
    for clip in clips:
        kinds.setdefault(clip.kind, []).append(clip)
    return kinds


def _groups(learned: Learned, settings: EventConfig) -> list[dict[str, Any]]:
    """Return AdamW's groups; weight decay is for matrices and kernels only."""
    slow = {id(parameter) for layer in (learned.network.decoder.read.offsets,
                                        learned.network.decoder.gather.where)
            for parameter in layer.parameters()}
    groups = []
    for share, chosen in ((settings.offset_rate, True), (1.0, False)):
        for decay, flat in ((settings.weight_decay, False), (0.0, True)):
            parameters = [p for p in learned.parameters()
                          if (id(p) in slow) == chosen and (p.dim() < 2) == flat]
            groups.append({'params': parameters, 'share': share, 'weight_decay': decay})
    return groups
