"""Appearance augmentation: what it may change, and what it must leave alone."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.lab.training.augment import DRIFT_FRAMES, GAMMA, Appearance, augment

SIZE = (84, 112)
OFF = {f'{name}_probability': 0.0
       for name in ('colour', 'exposure', 'white_balance', 'blur', 'noise', 'jpeg')}
ALWAYS = dict.fromkeys(OFF, 1.0)
KINDS = sorted(OFF)


def only(name: str, **changes: float) -> Appearance:
    return Appearance(**{**OFF, f'{name}_probability': 1.0, **changes})


def clip(count: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (count, 9, 12, 3), np.uint8)
    return [cv2.resize(frame, size[::-1]) for frame in coarse]


def flat(count: int, grey: int = 100) -> list[np.ndarray]:
    return [np.full((*SIZE, 3), grey, np.uint8)] * count


def test_nothing_changes_at_strength_zero_and_the_frames_are_new() -> None:
    frames = clip(3)
    same = augment(frames, Appearance(**ALWAYS, strength=0), np.random.default_rng(0))
    for before, after in zip(frames, same, strict=True):
        assert np.array_equal(before, after)
        assert not np.shares_memory(before, after)


def test_nothing_changes_where_nothing_is_probable() -> None:
    frames = clip(2)
    assert np.array_equal(augment(frames, Appearance(**OFF), np.random.default_rng(0)), frames)


@pytest.mark.parametrize('name', KINDS)
def test_each_kind_changes_frames_alone_and_leaves_the_input(name: str) -> None:
    frames = clip(5)
    kept = np.stack(frames)
    changed = augment(frames, Appearance(**{**OFF, name: 1.0}), np.random.default_rng(3))
    assert not np.array_equal(changed, frames)
    assert np.array_equal(frames, kept)


@pytest.mark.parametrize('name', KINDS)
def test_strength_scales_the_change(name: str) -> None:
    frames = clip(5)
    change = [np.abs(np.subtract(augment(
        frames, Appearance(**{**OFF, name: 1.0}, strength=strength), np.random.default_rng(3)),
        frames, dtype=np.float32)).mean() for strength in (0.1, 1.0)]
    assert change[0] < change[1]


def test_one_seed_gives_one_result() -> None:
    first, again, other = (augment(clip(4), Appearance(**ALWAYS), np.random.default_rng(seed))
                           for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 4), st.integers(0, 2 ** 32 - 1),
       st.floats(0, 2))
def test_any_clip_keeps_its_shape_and_type(rows: int, cols: int, count: int, seed: int,
                                           strength: float) -> None:
    out = augment(clip(count, (rows, cols)), Appearance(**ALWAYS, strength=strength),
                  np.random.default_rng(seed))
    assert len(out) == count
    assert all(frame.shape == (rows, cols, 3) and frame.dtype == np.uint8 for frame in out)


@pytest.mark.parametrize('grey', (0, 255))
def test_extremes_saturate_and_do_not_wrap(grey: int) -> None:
    noisy = augment(flat(1, grey), only('noise', read_noise=8), np.random.default_rng(1))[0]
    assert abs(float(noisy.mean()) - grey) < 16


@pytest.mark.parametrize('name', ('exposure', 'white_balance'))
@pytest.mark.parametrize('seed', range(5))
def test_drift_is_smooth_over_the_frames_and_not_constant(name: str, seed: int) -> None:
    out = augment(flat(60), only(name), np.random.default_rng(seed))
    stops = GAMMA * np.log2(np.stack([frame[0, 0] for frame in out]) / 100)
    most = getattr(Appearance(), name)
    rounding = GAMMA * np.log2(1 + 1 / 70)
    assert np.abs(stops).max() <= most + rounding
    assert np.abs(np.diff(stops, axis=0)).max() <= most * np.pi / DRIFT_FRAMES + rounding
    assert np.ptp(stops, axis=0).max() > 0.3 * most
    if name == 'exposure':
        assert np.ptp(stops, axis=1).max() < rounding
    else:
        assert np.array_equal(stops[:, 1], np.zeros(60))


def test_colour_jitter_is_the_same_for_the_whole_clip() -> None:
    out = augment([clip(1)[0]] * 5, only('colour'), np.random.default_rng(2))
    assert all(np.array_equal(frame, out[0]) for frame in out)


def test_hue_and_saturation_leave_grey_grey() -> None:
    out = augment(flat(1), only('colour', brightness=0, contrast=0), np.random.default_rng(2))
    assert np.array_equal(out, flat(1))


@pytest.mark.parametrize('seed', range(8))
def test_blur_keeps_the_centroid_and_the_light_of_a_dot(seed: int) -> None:
    dot = np.zeros((61, 61, 3), np.uint8)
    dot[28:33, 28:33] = 250
    out = augment([dot] * 20, only('blur', blur=0.2), np.random.default_rng(seed))
    rows, cols = np.mgrid[:61, :61]
    spreads = []
    for frame in out:
        light = frame[..., 1].astype(np.float64)
        assert light.sum() == pytest.approx(25 * 250, rel=0.02)
        centre = (light * rows).sum() / light.sum(), (light * cols).sum() / light.sum()
        assert centre == pytest.approx((30, 30), abs=0.05)
        spreads.append((light * ((rows - 30) ** 2 + (cols - 30) ** 2)).sum() / light.sum())
    assert max(spreads) > 4.05, 'the dot alone has 4'
    assert np.abs(np.diff(np.sqrt(spreads))).max() < 1.5, 'blur comes and goes, it does not jump'


def test_noise_has_no_bias_and_differs_by_frame_and_channel() -> None:
    first, second = (frame.astype(np.float64) - 100 for frame in augment(
        flat(2), only('noise', read_noise=8), np.random.default_rng(0)))
    assert abs(first.mean()) < 0.2
    assert first.std() > 1
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(first[..., 0].ravel(), first[..., 1].ravel())[0, 1]) < 0.05


def test_shot_noise_grows_with_light() -> None:
    dark, bright = (augment(flat(1, grey), only('noise', read_noise=0, shot_noise=16),
                            np.random.default_rng(0))[0].std() for grey in (20, 180))
    assert bright == pytest.approx(3 * dark, rel=0.15)


@pytest.mark.parametrize('wrong', (
    {'strength': -0.1}, {'strength': 2.1}, {'blur_probability': 1.1}, {'noise_probability': -1},
    {'read_noise': -1}, {'blur': 0.5}, {'exposure': float('nan')}, {'jpeg_quality': (0, 50)},
    {'jpeg_quality': (60, 50)}, {'jpeg_quality': (50, 101)}))
def test_a_value_out_of_range_is_refused_by_name(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Appearance(**wrong)
