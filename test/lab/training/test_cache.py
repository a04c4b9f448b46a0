"""Cached clips: made once, whole or not at all, of exactly the pixels that the teacher saw."""

import pytest

pytest.importorskip('av', reason='left out: needs av')
pytest.importorskip('torch', reason='left out: needs torch')

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import torch
from safetensors.numpy import load_file
from support import pictures
from support.teachers import FakeTeacher
from support.videos import png_bomb

from asyncmde_ros.lab.media.video import VideoWriter
from asyncmde_ros.lab.training import cache
from asyncmde_ros.lab.training.cache import Recipe, prepare, recipes
from asyncmde_ros.lab.training.config import (
    DataConfig,
    StudentConfig,
    TrainConfig,
    UnrollConfig,
)
from asyncmde_ros.lab.training.quality import Thresholds
from asyncmde_ros.lab.training.sources import find
from asyncmde_ros.lab.training.teacher import TARGETS, Teacher
from asyncmde_ros.model.geometry import Size, memory_sizes, patch_grid
from asyncmde_ros.model.preprocess import shrink

SIZE: Size = (56, 84)
TAKE_ALL = Thresholds(0, 0, 0)
CONFIG = TrainConfig(
    data=DataConfig(sizes={'56x84': 1.0}, segment_frames=8, photo_views=2, virtual_clips=1,
                    virtual_frames=3, rendered_clips=1, rendered_frames=2, quality=TAKE_ALL),
    unroll=UnrollConfig(frames=4, max_delay=0))

LOSSY_GREY_LEVELS = 12
"""By how much a mean pixel of a small, coarse frame of a video may be off."""

BFLOAT16 = 0.02
"""Of the largest value: on CPUs that have it the teacher's convolutions are in bfloat16."""


def texture(seed: int, shape: Size = (96, 120)) -> np.ndarray:
    return pictures.texture(shape, (8, 10), seed)


def save_photo(path: Path, rgb: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return path


def save_video(path: Path, frames: Sequence[np.ndarray]) -> Path:
    with VideoWriter(path, 20) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """A folder with a video of 20 frames and two photos."""
    folder = tmp_path / 'footage'
    folder.mkdir()
    save_video(folder / 'pan.mp4', [np.ascontiguousarray(texture(0, (96, 160))[:, i:i + 120])
                                    for i in range(20)])
    save_photo(folder / 'one.png', texture(1))
    save_photo(folder / 'two.png', texture(2))
    return folder


def wanted(folder: Path, config: TrainConfig = CONFIG) -> list[Recipe]:
    return recipes(find(folder, config.data), config)


def made(folder: Path, directory: Path, teacher: FakeTeacher,
         config: TrainConfig = CONFIG) -> cache.Prepared:
    return prepare(wanted(folder, config), teacher, directory, config.data.quality)


# Recipes


def test_the_same_footage_and_seed_give_the_same_recipes(footage: Path) -> None:
    first = wanted(footage)
    assert wanted(footage) == first
    assert wanted(footage, replace(CONFIG, seed=1)) != first
    assert {recipe.kind for recipe in first} == {'video', 'photo', 'virtual', 'rendered'}
    assert len({recipe.key('grey', TAKE_ALL) for recipe in first}) == len(first)


def test_what_was_cached_before_there_was_a_choice_of_frames_and_targets_stays() -> None:
    recipe = Recipe('rendered', 'rendered_00000', '', 'rendered here', False, 7, SIZE, 0, 2,
                    (0.25, 0.5, 0.75, 0.75), True)
    assert recipe.key('grey', TAKE_ALL) == '2abc4e9393e4d00e304f4431'
    others = {replace(recipe, **change).key('grey', TAKE_ALL)
              for change in ({}, {'every': 2}, {'targets': ('depth',)})}
    assert len(others) == 3


def test_a_student_has_one_frame_of_many_and_only_their_depth(footage: Path,
                                                              tmp_path: Path) -> None:
    config = replace(CONFIG, student=StudentConfig(shrink=1),
                     data=replace(CONFIG.data, video_every=3, segment_frames=10))
    recipes_ = [recipe for recipe in wanted(footage, config) if recipe.kind == 'video']
    assert [(recipe.start, recipe.frames) for recipe in recipes_] == [(0, 4), (10, 4)]
    teacher = FakeTeacher()
    clips = prepare(recipes_, teacher, tmp_path / 'cache', TAKE_ALL).clips
    every = prepare([replace(recipes_[0], frames=10, every=1)], FakeTeacher(),
                    tmp_path / 'every', TAKE_ALL).clips[0]
    assert len(teacher.seen) == 8
    for index, picture in enumerate(clips[0].pictures(range(4))):
        np.testing.assert_array_equal(picture, every.pictures([3 * index])[0])
    assert set(load_file(clips[0].path)) == {'images', 'depth'}


@pytest.mark.parametrize(('frames', 'expected'), [
    (4, [(0, 8), (8, 8), (16, 4)]), (5, [(0, 8), (8, 8)])])
def test_a_video_is_cut_into_segments_long_enough_for_a_window(
        footage: Path, frames: int, expected: list[tuple[int, int]]) -> None:
    config = replace(CONFIG, unroll=UnrollConfig(frames=frames, max_delay=0))
    videos = [recipe for recipe in wanted(footage, config) if recipe.kind == 'video']
    assert [(recipe.start, recipe.frames) for recipe in videos] == expected


def test_a_video_shorter_than_a_window_is_kept_whole(tmp_path: Path) -> None:
    save_video(tmp_path / 'short.mp4', [texture(0)] * 3)
    (recipe,) = (r for r in wanted(tmp_path) if r.kind == 'video')
    assert (recipe.start, recipe.frames) == (0, 3)


def test_counts_are_as_configured(footage: Path) -> None:
    data = replace(CONFIG.data, videos=False, photo_views=3, virtual_clips=5, rendered_clips=4)
    kinds = [recipe.kind for recipe in wanted(footage, replace(CONFIG, data=data))]
    assert {kind: kinds.count(kind) for kind in kinds} == {'photo': 6, 'virtual': 2,
                                                           'rendered': 4}


def test_sizes_are_drawn_by_their_weights(tmp_path: Path) -> None:
    data = replace(CONFIG.data, sizes={'56x84': 3.0, '84x56': 1.0}, rendered_clips=400)
    drawn = [recipe.size for recipe in wanted(tmp_path, replace(CONFIG, data=data))]
    assert drawn.count((84, 56)) / len(drawn) == pytest.approx(0.25, abs=0.07)


def test_a_photo_more_leaves_the_clips_of_the_others(footage: Path) -> None:
    """Otherwise a growing folder would have its targets computed again and again."""
    before = [recipe for recipe in wanted(footage) if recipe.kind != 'virtual']
    save_photo(footage / 'three.png', texture(3))
    after = wanted(footage)
    assert [recipe for recipe in before if recipe not in after] == []


def test_a_broken_video_is_left_out_and_does_not_end_the_run(
        footage: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (footage / 'broken.mp4').write_bytes(b'no video at all' * 100)
    prepared = made(footage, tmp_path / 'cache', FakeTeacher())
    assert 'broken.mp4' in caplog.text
    assert 'broken.mp4' in prepared.dropped
    assert 'pan.mp4' in {clip.name for clip in prepared.clips}


# Making clips


def test_targets_read_back_are_the_teachers_of_the_pictures_read_back(footage: Path,
                                                                      tmp_path: Path) -> None:
    prepared = made(footage, tmp_path / 'cache', FakeTeacher())
    assert {clip.kind: clip.frames for clip in prepared.clips if clip.frames != 8} == {
        'video': 4, 'photo': 1, 'virtual': 3, 'rendered': 2}
    for clip in prepared.clips:
        assert clip.size == SIZE
        indices = list(range(clip.frames))[::-1]
        pictures, stored = clip.pictures(indices), clip.targets(indices)
        assert set(stored) == set(TARGETS)
        assert all(p.shape == (*SIZE, 3) and p.dtype == np.uint8 for p in pictures)
        for index, target in enumerate(FakeTeacher().targets(pictures)):
            for name, expected in target.items():
                assert stored[name].dtype == torch.float16
                np.testing.assert_array_equal(stored[name][index].numpy(), expected)
        assert set(clip.targets([0], ['m4'])) == {'m4'}


def test_clips_remember_what_they_are(footage: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, validation_share=0.5))
    kept = {recipe.name: recipe for recipe in wanted(footage, config)}
    prepared = made(footage, tmp_path / 'cache', FakeTeacher(), config)
    assert {clip.name: clip.validation for clip in prepared.clips} == {
        name: recipe.validation for name, recipe in kept.items()}
    assert len({clip.validation for clip in prepared.clips}) == 2


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('shape', [(100, 300), (300, 100), (112, 168)])
@pytest.mark.parametrize('scale', [0.5, 1.0])
def test_a_crop_is_the_window_that_the_recipe_says(tmp_path: Path, flip: bool, shape: Size,
                                                   scale: float) -> None:
    rows, cols = shape
    # Red tells the column and green the row, as shares of the photo.
    x, y = np.meshgrid((np.arange(cols) + 0.5) / cols, (np.arange(rows) + 0.5) / rows)
    path = save_photo(tmp_path / 'where.png', np.stack(
        [255 * x, 255 * y, np.zeros(shape)], 2).round().astype(np.uint8))
    top, left = 0.25, 0.75
    recipe = Recipe('photo', path.name, str(path), '', False, 0, SIZE, 0, 1,
                    (top, left, scale, scale), flip)
    teacher = FakeTeacher()
    (clip,) = prepare([recipe], teacher, tmp_path, TAKE_ALL).clips
    (picture,) = clip.pictures([0])
    np.testing.assert_array_equal(picture, teacher.seen[0])

    aspect = SIZE[0] / SIZE[1]
    height = min(rows, cols * aspect) * scale / rows  # as shares of the photo
    width = min(cols, rows / aspect) * scale / cols
    across = left * (1 - width) + width * (np.arange(SIZE[1]) + 0.5) / SIZE[1]
    down = top * (1 - height) + height * (np.arange(SIZE[0]) + 0.5) / SIZE[0]
    pixel = 255 * 1.5 / min(shape)  # the window lies on whole pixels
    inner = slice(2, -2)  # bicubic resampling repeats the border
    np.testing.assert_allclose(picture[:, inner, 0].mean(0),
                               (255 * across)[::-1 if flip else 1][inner], atol=pixel)
    np.testing.assert_allclose(picture[inner, :, 1].mean(1), 255 * down[inner], atol=pixel)


def test_every_frame_of_a_video_is_cropped_and_flipped_alike(footage: Path,
                                                             tmp_path: Path) -> None:
    # A video that does not change: whatever differs between frames is the cache's doing.
    save_video(footage / 'pan.mp4', [texture(5)] * 20)
    recipe = next(r for r in wanted(footage) if r.kind == 'video')
    clips = prepare([replace(recipe, flip=flip) for flip in (False, True)], FakeTeacher(),
                    tmp_path, TAKE_ALL).clips
    plain, flipped = (np.stack(clip.pictures(range(clip.frames))).astype(int) for clip in clips)
    assert np.abs(plain - plain[:1]).mean() < LOSSY_GREY_LEVELS
    np.testing.assert_allclose(flipped, plain[:, :, ::-1], atol=2)
    assert np.abs(flipped - plain).mean() > LOSSY_GREY_LEVELS


def test_segments_hold_the_videos_own_frames(tmp_path: Path) -> None:
    frames = [np.full((56, 84, 3), 10 * index + 20, np.uint8) for index in range(20)]
    save_video(tmp_path / 'count.mp4', frames)
    videos = [recipe for recipe in wanted(tmp_path) if recipe.kind == 'video']
    clips = prepare(videos, FakeTeacher(), tmp_path / 'cache', TAKE_ALL).clips
    shown = [picture.mean() for clip in clips for picture in clip.pictures(range(clip.frames))]
    np.testing.assert_allclose(shown, [frame.mean() for frame in frames], atol=6)


def test_a_virtual_camera_asks_for_the_photos_depth_once(footage: Path, tmp_path: Path) -> None:
    recipe = next(r for r in wanted(footage) if r.kind == 'virtual')
    teacher = FakeTeacher()
    prepare([recipe], teacher, tmp_path / 'cache', TAKE_ALL)
    assert len(teacher.seen) == 1 + recipe.frames
    assert {picture.shape for picture in teacher.seen} == {(*SIZE, 3)}
    photo = cv2.cvtColor(cv2.imread(recipe.path), cv2.COLOR_BGR2RGB)
    assert np.abs(teacher.seen[0].mean((0, 1)) - shrink(photo, SIZE).mean((0, 1))).max() < 40


# Once, and whole


def test_a_second_preparation_asks_nothing(footage: Path, tmp_path: Path) -> None:
    first = made(footage, tmp_path / 'cache', FakeTeacher())
    idle = FakeTeacher()
    second = made(footage, tmp_path / 'cache', idle)
    assert idle.seen == []
    assert [vars(clip) for clip in second.clips] == [vars(clip) for clip in first.clips]


@pytest.mark.proves('training-killed')
def test_an_interrupted_preparation_goes_on_where_it_stopped(footage: Path,
                                                             tmp_path: Path) -> None:
    directory = tmp_path / 'cache'
    whole = FakeTeacher()
    made(footage, tmp_path / 'other', whole)
    broken_off = FakeTeacher(fails_at=13)  # within the second segment of the video
    with pytest.raises(KeyboardInterrupt):
        made(footage, directory, broken_off)
    finished = list(directory.iterdir())
    assert finished and all(path.suffix == '.safetensors' for path in finished)
    rest = FakeTeacher()
    prepared = made(footage, directory, rest)
    assert len(prepared.clips) == len(wanted(footage))
    done = sum(len(load_file(path)['images']) for path in finished)
    assert len(rest.seen) == len(whole.seen) - done < len(whole.seen)


@pytest.mark.proves('training-killed')
def test_what_a_killed_run_leaves_is_no_clip(footage: Path, tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / 'cache'
    killed = Mock(side_effect=KeyboardInterrupt)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, 'replace', killed)  # a clip gets its name when all of it is written
        made(footage, directory, FakeTeacher())
    assert killed.call_count == 1 and list(directory.glob('*.safetensors')) == []
    name = wanted(footage)[0].key('grey', TAKE_ALL)
    (directory / f'.{name}.safetensors.77.tmp').write_bytes(b'half')
    assert len(made(footage, directory, FakeTeacher()).clips) == len(wanted(footage))


@pytest.mark.parametrize('damage', [
    lambda content: content[:len(content) // 2], lambda content: content[:-1],
    lambda content: b'', lambda content: b'\xff' * len(content),
    lambda content: content[:8] + b'x' + content[9:]],
    ids=['half', 'a byte short', 'empty', 'other bytes', 'header'])
def test_a_damaged_clip_is_made_again(footage: Path, tmp_path: Path, damage,
                                      caplog: pytest.LogCaptureFixture) -> None:
    first = made(footage, tmp_path / 'cache', FakeTeacher())
    victim = first.clips[1]
    content, tensors = victim.path.read_bytes(), load_file(victim.path)
    victim.path.write_bytes(damage(content))
    again = FakeTeacher()
    second = made(footage, tmp_path / 'cache', again)
    assert len(again.seen) == victim.frames
    assert [vars(clip) for clip in second.clips] == [vars(clip) for clip in first.clips]
    for name, value in load_file(victim.path).items():
        np.testing.assert_array_equal(value, tensors[name])
    assert victim.path.name in caplog.text and 'made again' in caplog.text


def test_another_source_teacher_or_threshold_is_another_clip(footage: Path,
                                                             tmp_path: Path) -> None:
    directory = tmp_path / 'cache'
    frames = {clip.path: clip.frames for clip in made(footage, directory, FakeTeacher()).clips}
    before = set(frames)

    save_photo(footage / 'one.png', texture(9))
    changed = FakeTeacher()
    after = {clip.path: clip for clip in made(footage, directory, changed).clips}
    assert {clip.name for path, clip in after.items() if path not in before} == {'one.png'}
    assert len(changed.seen) <= 2 + 1 + 3  # its views, and perhaps its virtual clip

    other = FakeTeacher('other')
    assert before.isdisjoint(clip.path for clip in made(footage, directory, other).clips)
    stricter = replace(CONFIG, data=replace(CONFIG.data, quality=Thresholds(0, 0, 1e-6)))
    assert before.isdisjoint(
        clip.path for clip in made(footage, directory, FakeTeacher(), stricter).clips)


def test_folders_may_move(footage: Path, tmp_path: Path) -> None:
    made(footage, tmp_path / 'cache', FakeTeacher())
    moved = footage.rename(tmp_path / 'moved')
    idle = FakeTeacher()
    made(moved, tmp_path / 'cache', idle)
    assert idle.seen == []


# What is left out


def test_a_broken_photo_is_left_out_and_remembered(footage: Path, tmp_path: Path,
                                                   caplog: pytest.LogCaptureFixture) -> None:
    (footage / 'torn.jpg').write_bytes(b'\xff\xd8\xff no picture')
    prepared = made(footage, tmp_path / 'cache', FakeTeacher())
    assert prepared.dropped == {'torn.jpg': 'cannot be read'}
    assert 'torn.jpg' in caplog.text
    assert 'torn.jpg' not in {clip.name for clip in prepared.clips}
    assert made(footage, tmp_path / 'cache', FakeTeacher()).dropped == prepared.dropped


@pytest.mark.proves('picture-damaged')
def test_pictures_that_claim_to_be_huge_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / 'footage'
    folder.mkdir()
    (folder / 'bomb.png').write_bytes(png_bomb())
    save_photo(folder / 'one.png', texture(1))
    prepared = made(folder, tmp_path / 'cache', FakeTeacher())
    assert prepared.dropped == {'bomb.png': 'cannot be read'}
    assert {clip.name for clip in prepared.clips if clip.kind == 'photo'} == {'one.png'}


@pytest.mark.proves('odd-name')
def test_footage_may_have_any_name(footage: Path, tmp_path: Path) -> None:
    for path in list(footage.iterdir()):
        path.rename(footage / os.fsdecode(b'caf\xe9-' + path.name.encode()))
    prepared = made(footage, tmp_path / 'cache', FakeTeacher())
    assert not prepared.dropped
    assert {'caf\\xe9-pan.mp4', 'caf\\xe9-one.png'} < {clip.name for clip in prepared.clips}


def test_a_video_shorter_than_its_container_says_is_left_out_from_there(footage: Path,
                                                                        tmp_path: Path) -> None:
    recipe = next(r for r in wanted(footage) if r.kind == 'video')
    prepared = prepare([replace(recipe, start=16), replace(recipe, start=24)], FakeTeacher(),
                       tmp_path / 'cache', TAKE_ALL)
    assert [clip.frames for clip in prepared.clips] == [4]
    assert prepared.dropped == {'pan.mp4': 'cannot be read'}


def test_depth_of_no_structure_is_left_out_and_not_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / 'data').mkdir()
    save_photo(tmp_path / 'data' / 'wall.png', np.full((96, 120, 3), 90, np.uint8))
    data = replace(CONFIG.data, virtual_clips=0, rendered_clips=0, quality=Thresholds())
    config = replace(CONFIG, data=data)
    teacher, idle = FakeTeacher(), FakeTeacher()
    first = made(tmp_path / 'data', tmp_path / 'cache', teacher, config)
    assert first.clips == [] and first.dropped['wall.png'].startswith('distribution')
    assert len(teacher.seen) == data.photo_views
    assert made(tmp_path / 'data', tmp_path / 'cache', idle, config).dropped == first.dropped
    assert idle.seen == []


# The foundation model


@pytest.mark.parametrize('size', [(56, 84), (98, 70), (28, 42)])
def test_cached_memory_decodes_to_the_cached_depth(foundation_path: Path, tmp_path: Path,
                                                   size: Size) -> None:
    teacher = Teacher('vits', torch.device('cpu'))
    path = save_photo(tmp_path / 'photo.png', texture(4, (200, 220)))
    recipe = Recipe('photo', path.name, str(path), '', False, 0, size, 0, 1, (0.5, 0.5, 1, 1),
                    False)
    (clip,) = prepare([recipe], teacher, tmp_path, TAKE_ALL).clips
    stored = clip.targets([0])
    sizes = memory_sizes(patch_grid(size))
    assert [tuple(stored[f'm{level}'].shape) for level in range(1, 5)] == [
        (1, teacher.config.channels, *s) for s in sizes]
    with torch.inference_mode():
        depth = teacher.module.depth_head.scratch.decode(
            [stored[f'm{level}'].float() for level in range(1, 5)], size)[0]
    assert float(depth.max()) > 0.1
    np.testing.assert_allclose(depth, stored['depth'], atol=BFLOAT16 * float(depth.max()))
