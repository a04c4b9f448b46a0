"""The student's training: the foundation model's own depth, from pictures of fewer tokens."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from asyncmde_ros.lab.training import losses
from asyncmde_ros.lab.training.cache import Clip
from asyncmde_ros.lab.training.config import StudentConfig, TrainConfig
from asyncmde_ros.lab.training.loop import Budget, Loop, TrainingError, copied, warmed_cosine
from asyncmde_ros.lab.training.student import Student
from asyncmde_ros.lab.training.student_pictures import (
    StudentBatch,
    StudentPictures,
    held_out,
    stack,
)

logger = logging.getLogger(__name__)

MEASURED_AT_ONCE = 8


class StudentTrainer(Loop[StudentBatch]):
    """Trains a student's adapter in place and keeps the best one by validation.

    Validation is :func:`losses.aligned_error` to the foundation model's depth of the larger
    picture, on held-out ones: of each kind of clip, and the mean of the kinds.
    """

    def __init__(self, student: Student, clips: Sequence[Clip], config: TrainConfig,
                 settings: StudentConfig, budget: Budget, out: Path,
                 device: torch.device) -> None:
        training = [clip for clip in clips if not clip.validation]
        held = held_out([clip for clip in clips if clip.validation], config, settings)
        if not training:
            raise TrainingError('every clip is held out: nothing is left to train on')
        if not held:
            raise TrainingError('no clip is held out to validate on: raise data.validation_share')
        self._student, self._settings, self._device = student.to(device), settings, device
        self._pictures = StudentPictures(training, config, settings)
        self._held = {kind: _batches(pictures) for kind, pictures in held.items()}
        self._rates = {'low_rank': settings.rate, 'head': settings.rate * settings.head_rate,
                       'other': settings.rate * settings.other_rate}
        optimiser = torch.optim.AdamW(
            [{'params': part, 'name': name} for name, part in student.groups().items()],
            weight_decay=settings.weight_decay)
        super().__init__(student.learned, optimiser, config, budget, out, settings.average,
                         settings.gradient_clip)

    def _load(self, phase: int, step: int) -> StudentBatch:
        return self._pictures.batch(step)

    def step(self, batch: StudentBatch, phase: int, share: float) -> dict[str, float]:
        settings = self._settings
        factor = warmed_cosine(share, self.progress.step, settings.warmup_steps,
                               settings.final_rate_share)
        for group in self._optimiser.param_groups:
            group['lr'] = factor * self._rates[group['name']]
        self._optimiser.zero_grad(set_to_none=True)
        batch = batch.to(self._device)
        parts = depth_losses(self._student.depth(batch.pictures), batch.depth)
        total = (parts['loss_relative'] + settings.gradient * parts['loss_gradient']
                 + settings.scale * parts['loss_scale'])
        norm = self._learn(total)
        return {'loss': float(total.detach()),
                **{name: float(value.detach()) for name, value in parts.items()},
                'gradient': norm, 'rate': factor * settings.rate}

    @torch.no_grad()
    def measure(self, learned: nn.Module, check: Callable[[], None]) -> dict[str, float]:
        # The network reads its own tensors: the averaged ones take their place for so long.
        own = copied(self._student.learned)
        self._student.learned.load_state_dict(learned.state_dict())
        try:
            errors = {}
            for kind, batches in self._held.items():
                found = []
                for batch in batches:
                    check()
                    batch = batch.to(self._device)
                    found.append(losses.aligned_error(self._student.depth(batch.pictures),
                                                      batch.depth))
                errors[f'error_{kind}'] = float(torch.cat(found).mean())
        finally:
            self._student.learned.load_state_dict(own)
        return {'error': sum(errors.values()) / len(errors), **errors}

    def _score(self, values: dict[str, float]) -> float:
        return values['error']

    def _tell(self, values: dict[str, float]) -> None:
        logger.info('step %d, %.1f min: %s', self.progress.step, self.progress.minutes,
                    ', '.join(f'{name} {value:.4f}' for name, value in values.items()))


def depth_losses(depth: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Compare depth with the teacher's, (B, 1, H, W) each: its form, its edges, its scale.

    The last is in units of the target's mean deviation, of the whole batch.
    """
    ours, theirs = losses.robustly_normalised(depth), losses.robustly_normalised(target)
    deviation = (target - target.mean((2, 3), keepdim=True)).abs().mean()
    return {'loss_relative': (ours - theirs).abs().mean(),
            'loss_gradient': losses.multi_scale_gradient(ours, theirs),
            'loss_scale': (depth - target).abs().mean() / (deviation + losses.EPS)}


def _batches(pictures: Sequence[StudentBatch]) -> list[StudentBatch]:
    """Join pictures of the same size, a few at a time."""
    sizes: dict[tuple[int, ...], list[StudentBatch]] = {}
    for picture in pictures:
        sizes.setdefault(tuple(picture.depth.shape[2:]), []).append(picture)
    return [stack(same[start:start + MEASURED_AT_ONCE]) for same in sizes.values()
            for start in range(0, len(same), MEASURED_AT_ONCE)]
