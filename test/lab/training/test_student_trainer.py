"""The student's training: it learns, repeats itself, goes on, and sees what it should."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from support.curves import rows
from support.students import RANK, TINY, random_weights

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.training import loop
from asyncmde_ros.lab.training.augment import Appearance
from asyncmde_ros.lab.training.cache import Clip
from asyncmde_ros.lab.training.config import DataConfig, StudentConfig, TrainConfig
from asyncmde_ros.lab.training.loop import CHECKPOINT, Budget, TrainingError
from asyncmde_ros.lab.training.student import Student
from asyncmde_ros.lab.training.student_pictures import StudentPictures, held_out, shrunk
from asyncmde_ros.lab.training.student_trainer import StudentTrainer, depth_losses
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.weights.canonical import Tensors

pytestmark = pytest.mark.usefixtures('one_core', 'no_curves')

SIZE: Size = (56, 84)
SMALL: Size = (28, 42)
FRAMES = 3
NEVER = 1e9
ROUNDING = 1e-4
"""Sums in float32, and the little number that keeps a flat map from dividing by zero."""
CPU = torch.device('cpu')
STUDENT = StudentConfig(rank=RANK, batch=2, rate=3e-3, head_rate=1.0, other_rate=1.0,
                        warmup_steps=1, average=0.0, shares={'photo': 1.0, 'video': 1.0})
CONFIG = TrainConfig(data=DataConfig(sizes={'56x84': 1.0}, appearance=Appearance(strength=0)),
                     student=STUDENT, validation_minutes=NEVER, checkpoint_minutes=NEVER)

BASE = random_weights(0)


def make_clip(path: Path, kind: str, validation: bool, size: Size = SIZE) -> Clip:
    """Write a clip of noise whose depth is its brightness."""
    rng = np.random.default_rng(list(path.name.encode()))
    coarse = rng.integers(0, 255, (FRAMES, size[0] // 14, size[1] // 14, 3), np.uint8)
    images = np.ascontiguousarray(coarse.repeat(14, 1).repeat(14, 2))
    header = {'kind': kind, 'name': path.name, 'frames': str(FRAMES), 'size': json.dumps(size)}
    save_file({'images': images, 'depth': (images.mean(3) / 64).astype(np.float16)}, path, header)
    return Clip(path, header, validation)


@pytest.fixture(scope='module')
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Of photos and of videos two to train on and one to validate on."""
    directory = tmp_path_factory.mktemp('clips')
    return [make_clip(directory / f'{kind}_{index}', kind, index == 2)
            for kind in ('photo', 'video') for index in range(3)]


def prepared(clips: list[Clip], out: Path, steps: int, config: TrainConfig = CONFIG
             ) -> tuple[Student, StudentTrainer]:
    student = Student(TINY, BASE, BASE, RANK, 0)
    assert config.student is not None
    return student, StudentTrainer(student, clips, config, config.student, Budget(steps=steps),
                                   out, CPU)


def trained(clips: list[Clip], out: Path, steps: int, config: TrainConfig = CONFIG) -> Tensors:
    student, training = prepared(clips, out, steps, config)
    training.run()
    return student.adapter()


def test_it_learns_and_keeps_the_best(clips: list[Clip], tmp_path: Path) -> None:
    student, training = prepared(clips, tmp_path, 12)
    scores = training.run()
    validated = rows(tmp_path / 'validation.csv')
    assert scores['error'] == pytest.approx(min(row['error'] for row in validated), rel=1e-5)
    assert scores['error'] < validated[0]['error']
    assert scores['error'] == pytest.approx((scores['error_photo'] + scores['error_video']) / 2)
    assert all(np.isfinite(value).all() for value in student.adapter().values())


def test_two_steps_on_the_same_pictures_lower_their_loss(
        clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, 'LOG_EVERY', 1)
    batch = StudentPictures(clips, CONFIG, STUDENT).batch(0)
    monkeypatch.setattr(StudentPictures, 'batch', lambda self, step: batch)
    trained(clips, tmp_path, 3)
    logged = [row['loss'] for row in rows(tmp_path / 'train.csv')]
    assert logged[2] < logged[0]


def test_an_interrupted_run_ends_as_if_it_had_not_been(
        clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, checkpoint_minutes=0.0)
    whole = trained(clips, tmp_path / 'whole', 4, config)
    original = StudentTrainer.step

    def dies(self: StudentTrainer, *arguments: object) -> dict[str, float]:
        if self.progress.step == 2:
            raise KeyboardInterrupt
        return original(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(StudentTrainer, 'step', dies)
        with pytest.raises(KeyboardInterrupt):
            trained(clips, tmp_path / 'parts', 4, config)
    student, training = prepared(clips, tmp_path / 'parts', 4, config)
    training.resume()
    assert training.progress.step == 2
    training.run()
    resumed = student.adapter()
    assert resumed.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
    # What is held, the foundation model, is in no checkpoint.
    kept = load_file(tmp_path / 'whole' / CHECKPOINT)
    assert sum(value.size for name, value in kept.items() if name.startswith('network.')) == sum(
        value.size for value in whole.values())


def test_another_configuration_is_not_resumed(clips: list[Clip], tmp_path: Path) -> None:
    trained(clips, tmp_path, 1)
    other = replace(CONFIG, student=replace(STUDENT, rate=1e-3))
    with pytest.raises(TrainingError, match='another configuration'):
        prepared(clips, tmp_path, 1, other)[1].resume()


def test_validation_is_of_the_averaged_weights_and_leaves_the_others(
        clips: list[Clip], tmp_path: Path) -> None:
    student, training = prepared(clips, tmp_path, 1)
    before = training.measure(student.learned, lambda: None)
    averaged = training.averaged.module
    with torch.no_grad():
        for value in student.learned.values():
            value.mul_(1.5)
    changed = {name: value.clone() for name, value in student.learned.state_dict().items()}
    assert training.measure(averaged, lambda: None) == before
    assert training.measure(student.learned, lambda: None) != before
    for name, value in student.learned.state_dict().items():
        assert torch.equal(value, changed[name])


@pytest.mark.parametrize(('kept', 'words'), [
    (True, 'held out: nothing is left'), (False, 'raise data.validation_share')])
def test_a_split_with_an_empty_side_is_refused(clips: list[Clip], tmp_path: Path, kept: bool,
                                               words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        prepared([clip for clip in clips if clip.validation == kept], tmp_path, 1)


# Pictures


def test_a_draw_depends_on_seed_and_step_alone(clips: list[Clip]) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, appearance=Appearance()))
    batches = [StudentPictures(clips, each, STUDENT).batch(step) for each, step in (
        (config, 3), (config, 3), (config, 4), (replace(config, seed=1), 3))]
    same = [torch.equal(batches[0].pictures, batch.pictures)
            and torch.equal(batches[0].depth, batch.depth) for batch in batches]
    assert same == [True, True, False, False]
    assert batches[0].pictures.shape == (2, *SMALL, 3)
    assert batches[0].depth.shape == (2, 1, *SMALL)


@pytest.mark.parametrize('crop_share', [0.0, 1.0])
def test_depth_goes_with_its_picture_through_flips_and_windows(clips: list[Clip],
                                                               crop_share: float) -> None:
    pictures = StudentPictures(clips, CONFIG, replace(STUDENT, crop_share=crop_share, batch=8))
    batch = pictures.batch(0)
    brightness = batch.pictures.float().mean(3) / 64
    # The rounding of a picture's mean to whole grey levels.
    assert float((brightness - batch.depth[:, 0]).abs().max()) < 1 / 64
    seen = {bytes(picture.numpy()) for picture in batch.pictures}
    whole = {bytes(view.numpy()) for clip in clips for index in range(FRAMES)
             for picture in [shrunk(clip.pictures([index])[0], np.zeros(SIZE, np.float32), 2,
                                    SIZE).pictures[0]] for view in (picture, picture.flip(1))}
    assert (seen <= whole) == (crop_share == 0)


def test_only_kinds_with_a_share_are_drawn_and_held_out(clips: list[Clip]) -> None:
    videos = replace(STUDENT, shares={'video': 1.0}, crop_share=0.0, batch=8)
    batch = StudentPictures(clips, CONFIG, videos).batch(0)
    photos = {bytes(shrunk(clip.pictures([i])[0], np.zeros(SIZE, np.float32), 2, SIZE)
                    .pictures[0].numpy()) for clip in clips if clip.kind == 'photo'
              for i in range(FRAMES)}
    assert not photos & {bytes(picture.numpy()) for picture in batch.pictures}
    assert set(held_out(clips, CONFIG, videos)) == {'video'}
    with pytest.raises(MediaError, match='no clip'):
        StudentPictures(clips, CONFIG, replace(STUDENT, shares={'rendered': 1.0})).batch(0)


# Losses


def test_the_losses_are_zero_for_the_teachers_depth_and_scale_counts_once() -> None:
    target = torch.rand(2, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    assert all(float(value) < ROUNDING for value in depth_losses(target, target).values())
    scaled = {name: float(value) for name, value in depth_losses(3 * target + 1, target).items()}
    assert scaled['loss_relative'] < ROUNDING and scaled['loss_gradient'] < ROUNDING
    assert scaled['loss_scale'] > 1
