"""Rates and latencies of a window, with a clock in the test's hands."""

import pytest

from asyncmde_ros.ros.statistics import WINDOW_S, Statistics


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rates_latencies_and_counts_of_the_last_seconds() -> None:
    clock = Clock()
    statistics = Statistics(clock)
    for index in range(300):  # ten seconds at 30 Hz, every third image dropped
        clock.now += 1 / 30
        statistics.image()
        if index % 3 == 0:
            statistics.drop('encoding')
        else:
            statistics.depth('network', 20.0 + index % 10, 15.0, 4, 120.0, False, index // 6)
    figures = statistics.snapshot()
    assert figures.input_hz == pytest.approx(30, abs=0.5)
    assert figures.output_hz == pytest.approx(20, abs=0.5)
    assert figures.refresh_hz == pytest.approx(5, abs=0.5)
    assert figures.latency_p50_ms == pytest.approx(24.5, abs=1)
    assert figures.latency_p99_ms == pytest.approx(29, abs=0.5)
    assert figures.work_p99_ms == 15.0
    assert (figures.lag_frames, figures.age_ms, figures.stale) == (4, 120.0, False)
    assert figures.answered == {'network': 200} and figures.dropped == {'encoding': 100}

    clock.now += WINDOW_S + 1
    silent = statistics.snapshot()
    assert (silent.input_hz, silent.output_hz, silent.refresh_hz) == (0, 0, 0)
    assert silent.latency_p50_ms is None and silent.lag_frames is None and not silent.stale
    assert silent.answered == {'network': 200}


def test_a_keyframe_that_is_used_for_long_is_one_refresh() -> None:
    clock = Clock()
    statistics = Statistics(clock)
    rates = []
    for _ in range(200):
        clock.now += 0.1
        statistics.depth('network', 20.0, 15.0, 4, 120.0, False, 7)
        rates.append(statistics.snapshot().refresh_hz)
    assert max(rates) > 0 and rates[-1] == 0 and not any(rates[round(WINDOW_S / 0.1) + 2:])


def test_the_first_seconds_are_not_taken_for_a_whole_window() -> None:
    clock = Clock()
    statistics = Statistics(clock)
    for _ in range(30):
        clock.now += 1 / 30
        statistics.image()
    assert statistics.snapshot().input_hz == pytest.approx(30, abs=1)
