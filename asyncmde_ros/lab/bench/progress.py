"""How long a measurement goes on, shown on stderr while it does."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

from tqdm import tqdm

from asyncmde_ros.lab.bench.statistics import Summary, summarise, timed_ms

Work = Callable[[], object]

MIN_ROUNDS = 3
"""Fewer rounds than this give no median worth the name, however slow each of them is."""

BAR = '{desc:<34}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}'

LOG_PERIOD_S = 5.0
"""How often the bar is written where stderr is not a terminal and keeps every line."""


def bar(text: str, total: float) -> 'tqdm[NoReturn]':
    """Return a progress bar over ``total`` seconds or steps, on stderr."""
    return tqdm(total=total, desc=text, file=sys.stderr, bar_format=BAR,
                mininterval=0.1 if sys.stderr.isatty() else LOG_PERIOD_S)


def rounds(seconds: float, text: str) -> Iterator[int]:
    """Count rounds until ``seconds`` have passed, and at least MIN_ROUNDS."""
    started, count = time.monotonic(), 0
    with bar(text, seconds) as shown:
        while count < MIN_ROUNDS or shown.n < seconds:
            yield count
            count += 1
            shown.update(min(seconds, time.monotonic() - started) - shown.n)


def in_turn(works: Mapping[str, Work], seconds: float, text: str) -> dict[str, Summary]:
    """Time each of ``works``, A B A B; return milliseconds by their names."""
    for work in works.values():
        work()  # the first call allocates
    times_ms: dict[str, list[float]] = {name: [] for name in works}
    for _ in rounds(seconds, text):
        for name, work in works.items():
            times_ms[name].append(timed_ms(work))
    return {name: summary for name, times in times_ms.items()
            if (summary := summarise(times)) is not None}
