"""The training loop: step by step within a budget, validated, resumable, ended without loss."""

import logging
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.training import checkpoint, curves
from asyncmde_ros.lab.training.config import TrainConfig, to_tables
from asyncmde_ros.lab.training.interruption import stop_requested

logger = logging.getLogger(__name__)

CHECKPOINT = 'checkpoint.safetensors'
AHEAD = 3
"""Batches prepared while the present one is learned from."""

LOG_EVERY = 5
"""Odd, so that both kinds of the frame encoder's steps are logged."""

MAX_BAD_STEPS = 20
VALIDATIONS = 20
"""Over a budget in steps."""

Batch = TypeVar('Batch')


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


class Loop(ABC, Generic[Batch]):
    """Trains ``learned`` in place and keeps the best of its running averages by validation.

    What a batch is, how a step learns from it and what validation measures, the kinds of
    training say.  One with phases also says which one is due.
    """

    def __init__(self, learned: nn.Module, optimiser: torch.optim.AdamW, config: TrainConfig,
                 budget: Budget, out: Path, average: float, gradient_clip: float) -> None:
        """``average``: of the running average so much stays at each step."""
        self._learned, self._optimiser = learned, optimiser
        self._config, self._budget, self._out = config, budget, out
        self._average, self._gradient_clip = average, gradient_clip
        self.progress = checkpoint.Progress()
        self.averaged = self._new_average()
        self._best = copied(learned)
        self._bad_steps = 0
        self._stop = threading.Event()

    @abstractmethod
    def _load(self, phase: int, step: int) -> Batch:
        """Prepare the batch of a step, in a thread of its own."""

    @abstractmethod
    def step(self, batch: Batch, phase: int, share: float) -> dict[str, float]:
        """Learn from a batch at ``share`` of the budget; return what to log."""

    @abstractmethod
    def measure(self, learned: nn.Module, check: Callable[[], None]) -> dict[str, float]:
        """Return what validation gives for weights; ``check`` may raise to give up."""

    @abstractmethod
    def _score(self, values: dict[str, float]) -> float:
        """Return which of the values of :meth:`measure` is to be small."""

    @abstractmethod
    def _tell(self, values: dict[str, float]) -> None:
        """Log a validation in words."""

    def _phase(self) -> int:
        return 0

    def _begin(self, phase: int, log: curves.Log) -> None:
        """Prepare for a phase after the first."""

    def _extra(self) -> dict[str, Tensor]:
        """Return what else a checkpoint has to hold."""
        return {}

    def resume(self) -> None:
        """Go on from the checkpoint in ``out``.  Raises WeightsError where it does not fit."""
        restored = checkpoint.read(self._out / CHECKPOINT, self._learned, self._optimiser,
                                   self.averaged)
        if restored.config != plain(to_tables(self._config)):
            raise TrainingError(f'{self._out / CHECKPOINT} is of another configuration: use that '
                                'one, or train into another folder')
        self._best, self.progress = restored.best, restored.progress
        self._restore(restored.extra)

    def _restore(self, extra: dict[str, Tensor]) -> None:
        """Take back what :meth:`_extra` gave."""

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
            pending: dict[tuple[int, int], Future[Batch]] = {}
            while (share := self._budget.share(self.progress)) < 1:
                phase = self._phase()
                step = self.progress.step
                for ahead in range(step, step + AHEAD):
                    if (phase, ahead) not in pending:
                        pending[phase, ahead] = pool.submit(self._load, phase, ahead)
                batch = pending.pop((phase, step)).result()
                for stale in [key for key in pending if key[0] != phase or key[1] < step]:
                    pending.pop(stale).cancel()
                if phase != self.progress.phase:
                    self._begin(phase, log)
                values = self.step(batch, phase, share)
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
        self._learned.load_state_dict(self._best)
        return self.measure(self._learned.eval(), partial(self._end_if_asked, False))

    def _learn(self, loss: Tensor) -> float:
        """Take a step down a loss; return its gradient's norm.

        Without one if that is not finite; TrainingError where too many in a row were not.
        """
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(
            [p for group in self._optimiser.param_groups for p in group['params']],
            self._gradient_clip)
        if torch.isfinite(norm):
            self._optimiser.step()
            self.averaged.update_parameters(self._learned)
            self._bad_steps = 0
        else:
            self._bad_steps += 1
            logger.warning('step %d left out: its gradient is not finite', self.progress.step)
            if self._bad_steps > MAX_BAD_STEPS:
                raise TrainingError(f'{self._bad_steps} steps in a row had no finite gradient: '
                                    'lower the learning rate')
        return float(norm)

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

    def _percent(self) -> int:
        return min(100, int(100 * self._budget.share(self.progress)))

    def _tick(self) -> None:
        now = time.monotonic()
        self.progress.minutes += (now - self._last) / 60
        self._last = now

    def _new_average(self) -> AveragedModel:
        """Return a running average of the weights that begins with the present ones."""
        return AveragedModel(self._learned, multi_avg_fn=get_ema_multi_avg_fn(self._average))

    def _validate(self, log: curves.Log) -> None:
        self.progress.to_validate = True
        values = self.measure(self.averaged.module.eval(), self._end_if_asked)
        self.progress.to_validate = False
        score = self._score(values)
        if score < self.progress.best:
            self.progress.best = score
            self._best = copied(self.averaged.module)
        self._tick()
        log.validation(self.progress.step, self.progress.minutes, **values)
        curves.plot(self._out)
        self._tell(values)

    def _save(self) -> None:
        self._tick()
        checkpoint.write(self._out / CHECKPOINT, self._learned, self._optimiser, self.averaged,
                         self._best, self._extra(), self.progress,
                         plain(to_tables(self._config)))


def warmed_cosine(done: float, steps: int, warmup_steps: int, low: float) -> float:
    """Return the rate's factor: from 1 down to ``low`` at ``done`` 1, after a linear warm-up."""
    cosine = low + (1 - low) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return cosine * min(1.0, (steps + 1) / max(1, warmup_steps))


def copied(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights as they are now."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def plain(tables: dict[str, Any]) -> dict[str, Any]:
    """Turn tuples into lists, as JSON gives them back."""
    return {key: plain(value) if isinstance(value, dict)
            else list(value) if isinstance(value, tuple) else value
            for key, value in tables.items()}
