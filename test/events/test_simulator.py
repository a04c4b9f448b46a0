"""The simulated sensor against pixels computed by hand."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from asyncmde_ros.events.simulator import (
    MOST_PICTURES,
    Pixel,
    Simulator,
    StampedGrey,
    in_between,
    lin_log,
    simulated,
)

QUIET = Pixel(deviation=0, refractory_ns=0, shot_noise_hz=0, leak_hz=0)
STEP_NS = 1_000_000
ROUNDING_NS = 2  # float32 logarithms: 1e-7 of STEP_NS, and up to the next nanosecond


def picture(*levels: float) -> npt.NDArray[np.float32]:
    return np.array([levels], np.float32)


def seen(pixel: Pixel, *pictures: npt.NDArray[np.float32], seed: int = 0
         ) -> list[tuple[int, int, bool]]:
    """Return (x, t, p) of the events of pictures that follow STEP_NS apart."""
    simulator = Simulator(pictures[0].shape, pixel, seed)
    found = []
    for number, grey in enumerate(pictures):
        events = simulator.see(grey, number * STEP_NS)
        found += list(zip(events.x.tolist(), events.t.tolist(), events.p.tolist(), strict=True))
    return found


def test_the_logarithm_is_linear_in_the_dark() -> None:
    expected = [0, 10 * math.log(20) / 20, math.log(20), math.log(21), math.log(255)]
    np.testing.assert_allclose(lin_log(picture(0, 10, 20, 21, 255))[0], expected, rtol=1e-6)


def test_a_pixel_computed_by_hand() -> None:
    # ln 100 to ln 160 is 0.4700: events at 0.2 and at 0.4, which is remembered.  Then 0.4600
    # down, from 0.0700 above that: an event at 0.2 below it, after 0.2700.
    rise, fall = math.log(1.6), math.log(160 / 101)
    events = seen(QUIET, picture(100), picture(160), picture(101))
    expected = [(0.2 / rise, True), (0.4 / rise, True), (1 + (rise - 0.2) / fall, False)]
    assert [p for _, _, p in events] == [p for _, p in expected]
    for (_, t, _), (at, _) in zip(events, expected, strict=True):
        assert t == pytest.approx(STEP_NS * at, abs=ROUNDING_NS)


def test_a_slow_change_gives_an_event_once_it_adds_up() -> None:
    levels = [100 * math.exp(0.15 * number) for number in range(4)]
    events = seen(QUIET, *map(picture, levels))
    # At 0.2, in the second step, and at 0.4, in the third.
    assert [t / STEP_NS for _, t, _ in events] == pytest.approx([4 / 3, 8 / 3], abs=1e-5)


def test_events_of_all_pixels_are_in_the_order_of_time() -> None:
    events = seen(QUIET, picture(100, 100, 100), picture(130, 250, 70))
    assert [(x, p) for x, _, p in events] == [
        (1, True), (1, True), (2, False), (1, True), (0, True), (1, True)]
    assert [t for _, t, _ in events] == sorted(t for _, t, _ in events)


def test_a_pixel_is_blind_for_the_refractory_time_and_loses_what_happens_then() -> None:
    rise = math.log(2)
    blind = Pixel(deviation=0, refractory_ns=STEP_NS // 2, shot_noise_hz=0, leak_hz=0)
    events = seen(blind, picture(100), picture(200), picture(200))
    # Of events at 0.2, 0.4 and 0.6 of 0.693 the second comes 0.29 of the step after the first.
    assert [t / STEP_NS for _, t, _ in events] == pytest.approx([0.2 / rise, 0.6 / rise],
                                                               abs=1e-5)


def test_the_refractory_time_goes_on_into_the_next_picture() -> None:
    blind = Pixel(deviation=0, refractory_ns=STEP_NS, shot_noise_hz=0, leak_hz=0)
    bright = 100 * math.exp(0.25)
    # The second one would come 0.9 of a step after the first.
    events = seen(blind, picture(100), picture(bright), picture(90), picture(90))
    assert len(events) == 1


def test_a_leak_alone_makes_brighter_events() -> None:
    leaky = Pixel(deviation=0, refractory_ns=0, shot_noise_hz=0, leak_hz=0.6e9 / STEP_NS)
    events = seen(leaky, *[picture(100)] * 5)
    assert [t / STEP_NS for _, t, _ in events] == pytest.approx([1 / 0.6, 2 / 0.6], abs=1e-5)
    assert all(p for _, _, p in events)


def test_noise_is_of_the_rate_that_was_asked_for_and_less_in_the_light() -> None:
    pictures = 20
    dark, light = (np.full((60, 60), level, np.float32) for level in (0, 255))
    noisy = Pixel(deviation=0, refractory_ns=0, leak_hz=0, shot_noise_hz=0.1e9 / STEP_NS)
    rates = []
    for grey in (dark, light):
        simulator = Simulator(grey.shape, noisy, seed=1)
        # As the first event of a pixel is noise, and what follows on it may be its correction.
        first = [simulator.see(grey, number * STEP_NS) for number in range(2)][1]
        rates.append(len(first) / grey.size)
        for number in range(2, pictures):
            events = simulator.see(grey, number * STEP_NS)
            assert abs(np.mean(events.p) - 0.5) < 0.2
    # Binomial with 3,600 pixels: five deviations.
    for rate, chance in zip(rates, (0.1, 0.025), strict=True):
        assert abs(rate - chance) < 5 * math.sqrt(chance / 3600)


def test_thresholds_differ_from_pixel_to_pixel_and_are_those_of_the_seed() -> None:
    pictures = np.full((40, 40), 100, np.float32), np.full((40, 40), 125, np.float32)
    pixel = Pixel(refractory_ns=0, shot_noise_hz=0, leak_hz=0)
    times = [seen(pixel, *pictures, seed=seed) for seed in (0, 0, 1)]
    assert times[0] == times[1] != times[2]
    # A pixel answers where its threshold is under ln 1.25 = 0.223: 0.77 deviations above the mean.
    assert len(times[0]) / 1600 == pytest.approx(0.78, abs=0.05)


def test_after_a_reset_the_next_picture_is_the_first() -> None:
    simulator = Simulator((1, 1), QUIET)
    simulator.see(picture(10), 0)
    simulator.reset()
    assert len(simulator.see(picture(250), 5)) == 0


def test_pictures_that_a_sensor_cannot_see_are_named() -> None:
    simulator = Simulator((1, 1), QUIET)
    with pytest.raises(ValueError, match='for a sensor of'):
        simulator.see(picture(1, 2), 0)
    simulator.see(picture(10), 7)
    with pytest.raises(ValueError, match='a picture at 7 ns after one at 7 ns'):
        simulator.see(picture(10), 7)
    for wrong in ({'brighter': 0.0}, {'leak_hz': -1.0}):
        with pytest.raises(ValueError, match='threshold|negative'):
            Pixel(**wrong)


def blob(x: float) -> npt.NDArray[np.uint8]:
    rows, cols = np.mgrid[:48, :64]
    waves = 30 * np.sin(cols / 3 - x / 3) + 30 * np.sin(rows / 4)
    return np.asarray(128 + waves, np.uint8)


def test_between_pictures_things_move_by_a_pixel() -> None:
    before, after = StampedGrey(blob(0), 100), StampedGrey(blob(4), 500)
    pictures = list(in_between(before, after))
    assert pictures[-1] is after
    assert 4 <= len(pictures) <= 6
    assert [picture.stamp_ns for picture in pictures] == [
        100 + 400 * number // len(pictures) for number in range(1, len(pictures) + 1)]
    inner = (slice(8, -8), slice(8, -8))
    for number, found in enumerate(pictures, 1):
        truth = blob(4 * number / len(pictures))
        wrong = np.abs(found.grey[inner].astype(int) - truth[inner].astype(int)).mean()
        assert wrong < 0.25 * np.abs(blob(0)[inner].astype(int) - blob(4)[inner]).mean()


def test_what_stands_still_needs_no_picture_between() -> None:
    assert len(list(in_between(StampedGrey(blob(0), 0), StampedGrey(blob(0), 9)))) == 1


def test_a_jump_needs_no_more_than_the_most() -> None:
    random = np.random.default_rng(0)
    first, last = (random.integers(0, 255, (64, 96), np.uint8) for _ in range(2))
    assert len(list(in_between(StampedGrey(first, 0), StampedGrey(last, 1000)))) <= MOST_PICTURES


def test_a_video_gives_as_many_packets_as_it_has_intervals() -> None:
    pictures = [StampedGrey(blob(2 * number), 1000 * number) for number in range(4)]
    packets = list(simulated(pictures, Simulator((48, 64), QUIET)))
    assert len(packets) == 3
    for number, events in enumerate(packets):
        assert len(events) > 0
        assert 1000 * number < events.t[0] <= events.t[-1] <= 1000 * (number + 1)
