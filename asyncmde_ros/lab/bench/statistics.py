"""Times summarised."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Order statistics of ``count`` values, in their unit (milliseconds unless named otherwise).

    Percentiles are linearly interpolated between the two nearest values; with few values p99 is
    close to the maximum, so ``count`` belongs beside it.
    """

    count: int
    mean: float
    min: float
    p50: float
    p95: float
    p99: float
    max: float


def summarise(values: Sequence[float]) -> Summary | None:
    """Return the summary of ``values``; None where there are none."""
    if len(values) == 0:
        return None
    array = np.asarray(values, np.float64)
    low, p50, p95, p99, high = np.percentile(array, (0, 50, 95, 99, 100))
    return Summary(array.size, float(array.mean()), float(low), float(p50), float(p95),
                   float(p99), float(high))


def timed_ms(work: Callable[[], object]) -> float:
    """Run ``work`` once; return its wall time in milliseconds."""
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started)
