"""Ranges follow slowly, and 16-bit images keep their contrast in 8 bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.images.tone import RangeTracker, Tone

VGA = (480, 640)
SETTLED = 60  # frames after which the tracker has covered 99.8 % of a step


def flat(value: float) -> np.ndarray:
    return np.full(VGA, value, np.float32)


def test_the_range_starts_at_the_first_frame_and_ignores_outliers(
        rng: np.random.Generator) -> None:
    depth = rng.uniform(2, 4, VGA).astype(np.float32)
    depth[:2], depth[100], depth[200] = 1e6, np.nan, np.inf
    assert RangeTracker().update(depth) == pytest.approx((2.04, 3.96), abs=0.03)


def test_the_range_moves_slowly_and_arrives(rng: np.random.Generator) -> None:
    tracker = RangeTracker()
    depth = rng.uniform(0, 1, VGA).astype(np.float32)
    first = np.array(tracker.update(depth))
    second = np.array(tracker.update(depth + 0.5))
    np.testing.assert_allclose(second - first, 0.5 * RangeTracker.SMOOTHING, rtol=1e-3)
    for _ in range(SETTLED):
        last = np.array(tracker.update(depth + 0.5))
    np.testing.assert_allclose(last - first, 0.5, atol=0.01)


def test_a_frame_beyond_the_range_is_seen_at_once(rng: np.random.Generator) -> None:
    tracker = RangeTracker()
    depth = rng.uniform(0, 1, VGA).astype(np.float32)
    first = np.array(tracker.update(depth))
    np.testing.assert_allclose(tracker.update(depth + 2), first + 2, rtol=1e-5)
    np.testing.assert_allclose(tracker.update(depth), first, rtol=1e-5)


def test_narrow_frames_count_once_they_last(rng: np.random.Generator) -> None:
    tracker = RangeTracker()
    depth = rng.uniform(0, 1, VGA).astype(np.float32)
    first = tracker.update(depth)
    for _ in range(RangeTracker.NARROW_FRAMES):
        assert tracker.update(depth / 5) == first
    for _ in range(SETTLED):
        last = tracker.update(depth / 5)
    np.testing.assert_allclose(last, np.array(first) / 5, atol=0.01)


def test_a_frame_of_nothing_changes_no_range() -> None:
    tracker = RangeTracker()
    assert tracker.update(flat(np.nan)) == (0, 1)
    before = tracker.update(flat(3))
    assert tracker.update(flat(np.nan)) == before == (3, 3)


# 16 bits

def deep(low: int, high: int, seed: int = 0, size: tuple[int, ...] = VGA) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, size, np.uint16, endpoint=True)


@pytest.mark.proves('narrow-range')
@pytest.mark.parametrize(('low', 'high'), [
    (0, 255), (0, 1023), (0, 4095), (0, 65535), (20000, 24000), (21000, 21060)])
def test_whatever_band_the_values_lie_in_fills_8_bits(low: int, high: int) -> None:
    values = deep(low, high)
    shown = Tone().to_8_bit(values)
    assert shown.shape == VGA and shown.dtype == np.uint8
    expected = np.clip((values - float(low)) * (255 / (high - low)), 0, 255)
    # The percentiles cut half of a hundredth off at either end.
    assert np.abs(shown - expected).max() <= 2 + 255 / (high - low)
    assert (shown.min(), shown.max()) == (0, 255)


def test_the_values_keep_their_order() -> None:
    values = deep(300, 5000)
    shown = Tone().to_8_bit(values).ravel()[np.argsort(values, axis=None)]
    assert (np.diff(shown.astype(int)) >= 0).all()


def test_the_full_range_is_cv_bridges() -> None:
    """cv_bridge takes 65535 for white whatever there is: a 257th, rounded."""
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    values = np.pad(values, ((9, 9), (0, 0)), constant_values=((0, 65535), (0, 0)))
    shown = Tone().to_8_bit(values)
    np.testing.assert_array_equal(shown, np.rint(values / 257))


@pytest.mark.parametrize(('value', 'shown'), [(0, 0), (3, 48), (22000, 128), (65535, 255)])
def test_an_image_of_one_value_is_of_one_grey(value: int, shown: int) -> None:
    grey = Tone().to_8_bit(np.full(VGA, value, np.uint16))
    assert grey.min() == grey.max() == pytest.approx(shown, abs=1)


def test_noise_under_a_lens_cap_is_not_blown_up() -> None:
    shown = Tone().to_8_bit(deep(100, 103))
    assert np.ptp(shown.astype(int)) <= 255 * 3 / Tone.LEAST_SPAN + 1


@pytest.mark.proves('narrow-range')
def test_hot_pixels_do_not_darken_the_picture() -> None:
    values = deep(1000, 3000)
    cool = Tone().to_8_bit(values)
    values.ravel()[::1001] = 65535
    hot = Tone().to_8_bit(values)
    kept = values != 65535
    assert (hot[~kept] == 255).all()
    assert np.abs(hot[kept].astype(int) - cool[kept]).max() <= 3


@pytest.mark.proves('narrow-range')
def test_a_shutter_changes_no_range() -> None:
    """A thermal camera shows its shutter every few minutes, at any level, for half a second."""
    tone, values = Tone(), deep(20000, 24000)
    before = tone.to_8_bit(values)
    for _ in range(15):
        shutter = tone.to_8_bit(deep(31000, 31004))
        assert (shutter == 255).all()
    np.testing.assert_array_equal(tone.to_8_bit(values), before)


@pytest.mark.proves('narrow-range')
@pytest.mark.parametrize('low', [21000, 31000])
@pytest.mark.parametrize('noise', [20, 100, 600])
def test_the_noise_of_a_shutter_makes_no_flicker(noise: int, low: int) -> None:
    tone, values = Tone(), deep(20000, 24000)
    before = tone.to_8_bit(values)
    for seed in range(30):
        tone.to_8_bit(deep(low, low + noise, seed))
    np.testing.assert_array_equal(tone.to_8_bit(values), before)


@pytest.mark.parametrize('noise', [4, 200])
def test_a_camera_that_begins_with_its_shutter_shows_the_first_picture_at_once(noise: int) -> None:
    tone, values = Tone(), deep(20000, 24000)
    tone.to_8_bit(deep(31000, 31000 + noise))
    np.testing.assert_array_equal(tone.to_8_bit(values), Tone().to_8_bit(values))


def test_something_hot_that_comes_into_view_does_not_make_the_rest_flicker() -> None:
    tone, values = Tone(), deep(20000, 21000)
    mean = float(tone.to_8_bit(values)[:, :320].mean())
    values[:, 320:] += 3000
    means = []
    for _ in range(SETTLED):
        means.append(float(tone.to_8_bit(values)[:, :320].mean()))
        assert 0 <= mean - means[-1] < 30, 'a step is small'
        mean = means[-1]
    assert mean == pytest.approx(Tone().to_8_bit(values)[:, :320].mean(), abs=2)


def test_colours_stay_what_they_are_and_alpha_is_no_part_of_the_range() -> None:
    values = np.stack([deep(0, 400), deep(0, 2000, 1), deep(0, 1000, 2)], axis=2)
    shown = Tone().to_8_bit(values)
    ratio = shown.mean(axis=(0, 1)) / values.mean(axis=(0, 1))
    np.testing.assert_allclose(ratio, ratio[0], rtol=0.05)
    alpha = np.full((*VGA, 1), 65535, np.uint16)
    np.testing.assert_array_equal(Tone().to_8_bit(np.dstack([values, alpha]))[..., :3], shown)


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([(), (1,), (3,), (4,)]),
       st.integers(0, 65535), st.integers(0, 65535))
def test_any_size_and_any_values(height: int, width: int, channels: tuple[int, ...], low: int,
                                 high: int) -> None:
    tone = Tone()
    for values in (deep(min(low, high), max(low, high), size=(height, width, *channels)),
                   deep(0, high, 1, (height, width, *channels))):
        kept = values.copy()
        shown = tone.to_8_bit(values)
        assert shown.shape == values.shape and shown.dtype == np.uint8
        np.testing.assert_array_equal(values, kept)
