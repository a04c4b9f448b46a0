"""Training windows: which frames, with which motion, and the same ones for the same seed."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.evaluation.predict import footage
from asyncmde_ros.lab.training.augment import Appearance
from asyncmde_ros.lab.training.cache import Clip
from asyncmde_ros.lab.training.config import (
    DataConfig,
    OptimiserConfig,
    TrainConfig,
    UnrollConfig,
)
from asyncmde_ros.lab.training.windows import (
    KIND_SHARES,
    STILL_SHARES,
    Batch,
    Sampler,
    draw_indices,
    split,
    track,
    window,
)
from asyncmde_ros.model.geometry import Size, memory_sizes, patch_grid
from asyncmde_ros.network.warp import TensorWarp, warp_grid
from asyncmde_ros.pipeline.settings import MotionCompensation

SIZE: Size = (112, 154)
LENGTH = 4
CHANNELS = 2
PAN_PX = 3
UNCHANGED = Appearance(strength=0)
CONFIG = TrainConfig(
    data=DataConfig(sizes={'112x154': 1.0}, frame_steps=(1,), frame_drop=0, reverse=0,
                    appearance=UNCHANGED),
    unroll=UnrollConfig(frames=LENGTH, max_delay=0),
    optimiser=OptimiserConfig(clip_rate_share=1.0))

SUBPIXEL = 0.02
"""In normalised coordinates, about one pixel: what tracking a small picture may be off by."""


def texture(seed: int, size: Size = SIZE) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def pan(count: int, seed: int = 0) -> list[np.ndarray]:
    """Return frames of a camera that turns to the right by PAN_PX a frame."""
    wide = texture(seed, (SIZE[0], SIZE[1] + PAN_PX * count))
    return [np.ascontiguousarray(wide[:, PAN_PX * i:PAN_PX * i + SIZE[1]]) for i in range(count)]


def make_clip(path: Path, pictures: Sequence[np.ndarray], kind: str = 'video',
              validation: bool = False) -> Clip:
    """Write a clip whose every target tells the number of its frame."""
    count, size = len(pictures), pictures[0].shape[:2]
    shapes = [(CHANNELS, *s) for s in memory_sizes(patch_grid(size))] + [size]
    number = np.arange(count, dtype=np.float16)
    targets = {name: np.broadcast_to(number.reshape(-1, *[1] * len(shape)), (count, *shape))
               for name, shape in zip(('m1', 'm2', 'm3', 'm4', 'depth'), shapes, strict=True)}
    header = {'kind': kind, 'name': path.name,
              'frames': str(count), 'size': json.dumps(size)}
    save_file({'images': np.stack(pictures)}
              | {name: np.ascontiguousarray(value) for name, value in targets.items()}, path,
              header)
    return Clip(path, header, validation)


@pytest.fixture(scope='module')
def panned(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp('clips') / 'pan', pan(12))


def projective(homography: torch.Tensor | np.ndarray) -> np.ndarray:
    """Bring homographies to one scale, since they mean the same at any."""
    array = np.asarray(homography, np.float64)
    return array / array[..., 2:, 2:]


def numbers(batch: Batch) -> np.ndarray:
    """Return (B, T): which frames of their clips a batch's windows show."""
    return batch.depth[:, :, 0, 0, 0].numpy().astype(int)


def tensors(batch: Batch) -> list[torch.Tensor]:
    return [batch.images, batch.depth, *batch.steps, *batch.keyframe, *batch.levels]


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


# The two sides


def test_the_gates_learn_on_what_the_frame_encoder_never_saw(tmp_path: Path) -> None:
    names = [(f'{kind}{index}', kind) for kind in ('video', 'photo') for index in range(20)]
    names += [(f'photo{index}', 'virtual') for index in range(10)]
    names += [(f'scene{index}', 'rendered') for index in range(10)]
    frames = pan(LENGTH)
    clips = [make_clip(tmp_path / f'{kind}-{index}', frames if kind != 'photo' else frames[:1],
                       kind) for index, (_, kind) in enumerate(names)]
    for clip, (name, _) in zip(clips, names, strict=True):
        clip.name = name
    config = replace(CONFIG, optimiser=OptimiserConfig(clip_rate_share=0.0))
    frame_encoder, gates = split(clips, config)
    assert not {clip.name for clip in frame_encoder} & {clip.name for clip in gates}
    assert {clip.kind for clip in frame_encoder} == {'video', 'photo', 'virtual', 'rendered'}
    assert {clip.kind for clip in gates} == {'video', 'virtual', 'rendered'}
    videos = sum(clip.kind == 'video' for clip in gates)
    assert 2 < videos < 18
    sampler = Sampler(clips, config)
    assert sampler.windows(0, 2).images.shape[:2] == (2, LENGTH)
    assert split(clips[:1], config) == (clips[:1], clips[:1]), 'one video has to do for both'
    assert split(clips, CONFIG) == (clips, clips), 'the frame encoder learns in the clips as well'


# Indices


@given(frames=st.integers(2, 60), length=st.integers(2, 12), drop=st.floats(0, 1),
       reverse=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 10**6),
       steps=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_indices_lie_in_the_clip_a_step_apart(frames: int, length: int, drop: float,
                                              reverse: float, seed: int,
                                              steps: list[int]) -> None:
    frames = max(frames, length)
    config = replace(CONFIG, unroll=UnrollConfig(frames=length, max_delay=0), data=replace(
        CONFIG.data, frame_steps=tuple(steps), frame_drop=drop, reverse=reverse))
    indices = draw_indices(frames, config, np.random.default_rng(seed))
    assert len(indices) == length and 0 <= min(indices) and max(indices) < frames
    gaps = np.diff(indices)
    backwards = bool(gaps[0] < 0)
    assert (reverse == 0 and not backwards) or (reverse == 1 and backwards) or reverse == 0.5
    fitting = [step for step in steps if step * (length - 1) < frames] or [1]
    step = int(np.abs(gaps).min())
    assert (gaps < 0).all() if backwards else (gaps > 0).all()
    # A dropped frame makes one gap larger by one.
    assert any(set(np.abs(gaps)) <= {step, step + 1} for step in fitting)
    if drop == 0:
        assert (np.abs(gaps) == step).all() and step in fitting


def test_every_place_and_step_is_drawn() -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, frame_steps=(1, 2), reverse=0.5))
    rng = np.random.default_rng(0)
    drawn = {tuple(draw_indices(8, config, rng)) for _ in range(400)}
    forward = {(s, s + step, s + 2 * step, s + 3 * step) for step, places in ((1, 5), (2, 2))
               for s in range(places)}
    assert drawn == forward | {indices[::-1] for indices in forward}


# Motion


@pytest.mark.parametrize('compensation', MotionCompensation)
def test_motion_is_what_the_robot_would_estimate(compensation: MotionCompensation) -> None:
    pictures = pan(6)
    steps, keyframe = track(pictures, compensation)
    expected = footage(pictures, compensation)
    np.testing.assert_array_equal(steps.homography[0],
                                  np.stack([step.homography for step in expected.steps]))
    np.testing.assert_array_equal(steps.flow[0], np.stack([step.flow for step in expected.steps]))
    for index in range(6):
        since = expected.since(0, index)
        np.testing.assert_allclose(projective(keyframe.homography[0, index]),
                                   projective(since.homography), atol=1e-5)
        np.testing.assert_allclose(keyframe.flow[0, index], since.flow, atol=1e-5)


@pytest.mark.parametrize('compensation', [MotionCompensation.HOMOGRAPHY,
                                          MotionCompensation.IMAGE])
@pytest.mark.parametrize('indices', [[0, 1, 2, 3], [9, 6, 4, 2]])
def test_steps_follow_the_camera_and_lead_to_the_first_frame(
        panned: Clip, indices: list[int], compensation: MotionCompensation) -> None:
    batch = window(panned, indices, panned.pictures(indices), compensation)
    for warps, origins in ((batch.steps, [indices[0], *indices]),
                           (batch.keyframe, LENGTH * [indices[0]])):
        for index, origin in enumerate(origins[:LENGTH]):
            grid, _ = warp_grid(TensorWarp(warps.homography[0, index], warps.flow[0, index][None]),
                                SIZE)
            unmoved, _ = warp_grid(TensorWarp(torch.eye(3), torch.zeros(1, 2, 1, 1)), SIZE)
            # What is in this view's middle was to the right of the earlier one's.
            moved = (grid - unmoved)[0, SIZE[0] // 4:-SIZE[0] // 4, SIZE[1] // 4:-SIZE[1] // 4]
            np.testing.assert_allclose(moved[..., 0], 2 * PAN_PX * (indices[index] - origin)
                                       / SIZE[1], atol=SUBPIXEL)
            np.testing.assert_allclose(moved[..., 1], 0, atol=SUBPIXEL)
    product = np.eye(3)
    for index in range(1, LENGTH):
        product = product @ projective(batch.steps.homography[0, index])
        np.testing.assert_allclose(projective(batch.keyframe.homography[0, index]),
                                   product / product[2, 2], atol=1e-4)
    assert bool(batch.keyframe.flow.any()) == (compensation is MotionCompensation.IMAGE)


def test_without_motion_every_warp_is_the_identity(panned: Clip) -> None:
    batch = window(panned, range(LENGTH), panned.pictures(range(LENGTH)), MotionCompensation.OFF)
    for warps in (batch.steps, batch.keyframe):
        np.testing.assert_array_equal(projective(warps.homography),
                                      np.broadcast_to(np.eye(3), (1, LENGTH, 3, 3)))
        assert not warps.flow.any()


def test_from_a_scene_cut_on_there_is_no_step(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / 'cut', pan(3, seed=1) + pan(3, seed=2))
    for compensation in (MotionCompensation.HOMOGRAPHY, MotionCompensation.IMAGE):
        steps = window(clip, range(6), clip.pictures(range(6)), compensation).steps
        lost = torch.isnan(steps.homography[0]).flatten(1).all(1)
        assert lost.tolist() == 3 * [False] + 3 * [True]
    off = window(clip, range(6), clip.pictures(range(6)), MotionCompensation.OFF)
    assert not torch.isnan(off.steps.homography).any()


# Batches


def test_targets_belong_to_their_pictures(panned: Clip) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, reverse=0.5, frame_steps=(1, 2)))
    batch = Sampler([panned], config).windows(0, 6)
    assert len(set(np.diff(numbers(batch))[:, 0] > 0)) == 2, 'time runs one way only'
    assert batch.images.shape == (6, LENGTH, *SIZE, 3) and batch.images.dtype == torch.uint8
    assert batch.depth.shape == (6, LENGTH, 1, *SIZE)
    assert [level.shape[3:] for level in batch.levels] == list(memory_sizes(patch_grid(SIZE)))
    for images, numbered, *levels in zip(batch.images, numbers(batch), *batch.levels,
                                         strict=True):
        np.testing.assert_array_equal(images.numpy(), np.stack(panned.pictures(numbered)))
        for level in levels:
            np.testing.assert_array_equal(level[:, 0, 0, 0].numpy(), numbered)


def test_appearance_changes_pictures_and_never_targets(panned: Clip) -> None:
    rough = replace(CONFIG, data=replace(CONFIG.data, appearance=Appearance(
        colour_probability=1, noise_probability=1)))
    plain, changed = (Sampler([panned], config).windows(5, 2) for config in (CONFIG, rough))
    first = Sampler([panned], CONFIG).windows(5, 1)
    assert not torch.equal(plain.images[0], changed.images[0])
    # The second window's draw comes after the first one's appearance.
    assert torch.equal(first.depth[0], changed.depth[0])
    assert all(torch.equal(x[0], y[0])
               for x, y in zip(first.levels, changed.levels, strict=True))


@pytest.mark.parametrize('name', ['windows', 'stills', 'pairs'])
def test_a_steps_batch_depends_on_seed_and_step_only(panned: Clip, tmp_path: Path,
                                                     name: str) -> None:
    clips = [panned, make_clip(tmp_path / 'other', pan(7, seed=3), 'rendered')]
    config = replace(CONFIG, data=replace(CONFIG.data, appearance=Appearance(), reverse=0.5,
                                          frame_drop=0.2))
    one, other = (getattr(Sampler(clips, config), name) for _ in range(2))
    expected = [one(step, 3) for step in range(4)]
    with ThreadPoolExecutor(3) as pool:  # as the trainer loads ahead
        results = list(pool.map(lambda step: other(step, 3), [3, 1, 2, 0]))
    for step, result in zip([3, 1, 2, 0], results, strict=True):
        assert same(result, expected[step])
    assert not same(expected[0], expected[1])
    reseeded = getattr(Sampler(clips, replace(config, seed=1)), name)
    assert not same(expected[0], reseeded(0, 3))


def test_windows_avoid_scene_cuts(panned: Clip, tmp_path: Path) -> None:
    cut = make_clip(tmp_path / 'cut', pan(2, seed=1) + pan(2, seed=2), 'rendered')
    sampler = Sampler([panned, cut], CONFIG)
    batch = sampler.windows(0, 24)
    assert not torch.isnan(batch.steps.homography).any()
    assert set(numbers(batch)[:, 0]) != {0}
    with pytest.raises(AsyncMDEError, match='scene cut'):
        Sampler([cut], CONFIG).windows(0, 1)
    unmoved = replace(CONFIG, unroll=replace(CONFIG.unroll,
                                             motion=MotionCompensation.OFF))
    assert Sampler([cut], unmoved).windows(0, 1).images.shape[0] == 1


def test_a_pair_is_two_frames_of_a_tracked_window(panned: Clip) -> None:
    """The warp between them is the one that tracking every frame gives."""
    batch = Sampler([panned], CONFIG).pairs(0, 12)
    assert batch.images.shape[:2] == batch.depth.shape[:2] == (12, 2)
    lags = set()
    for index in range(12):
        first, second = (int(number) for number in numbers(batch)[index])
        assert first < second
        lags.add(second - first)
        shown = window(panned, range(first, second + 1),
                       panned.pictures(range(first, second + 1)), CONFIG.unroll.motion)
        torch.testing.assert_close(batch.keyframe.homography[index, 1],
                                   shown.keyframe.homography[0, -1])
        torch.testing.assert_close(batch.keyframe.flow[index, 1], shown.keyframe.flow[0, -1])
        torch.testing.assert_close(batch.depth[index, 1], shown.depth[0, -1])
    assert lags == set(range(1, LENGTH))


def test_windows_are_of_clips_long_enough_and_stills_of_all(tmp_path: Path) -> None:
    clips = {kind: make_clip(tmp_path / kind, pan(frames, seed), kind)
             for seed, (kind, frames) in enumerate(
                 {'photo': 1, 'video': 6, 'virtual': 4, 'rendered': 3}.items())}
    sampler = Sampler(list(clips.values()), CONFIG)
    first = {kind: clip.pictures([0])[0].mean((0, 1)) for kind, clip in clips.items()}

    def kinds(batch: Batch) -> dict[str, float]:
        means = batch.images[:, 0].numpy().mean((1, 2))
        found = [min(first, key=lambda kind: np.abs(first[kind] - mean).sum()) for mean in means]
        return {kind: found.count(kind) / len(found) for kind in set(found)}
    windows, stills = kinds(sampler.windows(0, 60)), kinds(sampler.stills(0, 300))
    # Three quarters, as the shares of the two kinds that are long enough.
    share = KIND_SHARES['video'] / (KIND_SHARES['video'] + KIND_SHARES['virtual'])
    assert windows.keys() == {'video', 'virtual'}
    assert windows['video'] == pytest.approx(share, abs=0.2)
    assert stills == pytest.approx(STILL_SHARES, abs=0.1)


def test_a_batch_is_of_one_size_and_sizes_come_by_their_weights(tmp_path: Path) -> None:
    tall = [np.ascontiguousarray(picture.transpose(1, 0, 2)) for picture in pan(5)]
    clips = [make_clip(tmp_path / 'wide', pan(5)), make_clip(tmp_path / 'tall', tall)]
    config = replace(CONFIG, data=replace(CONFIG.data,
                                          sizes={'112x154': 3, '154x112': 1, '56x84': 5}))
    sampler = Sampler(clips, config)
    sizes = [tuple(sampler.stills(step, 2).images.shape[2:4]) for step in range(120)]
    assert set(sizes) == {SIZE, SIZE[::-1]}
    assert sizes.count(SIZE[::-1]) / len(sizes) == pytest.approx(0.25, abs=0.12)


def test_no_clip_long_enough_is_said(tmp_path: Path) -> None:
    sampler = Sampler([make_clip(tmp_path / 'short', pan(LENGTH - 1))], CONFIG)
    with pytest.raises(AsyncMDEError, match=f'no clip of at least {LENGTH} frames'):
        sampler.windows(0, 1)
    assert sampler.stills(0, 2).images.shape[:2] == (2, 1)
