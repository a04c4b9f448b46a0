"""What a process holds, and how the node answers, from time to time."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asyncmde_ros.lab.bench.memory import resident_mib
from asyncmde_ros.lab.bench.statistics import Summary, summarise
from asyncmde_ros.lab.soak.ledger import Ledger
from asyncmde_ros.pipeline.results import DepthSource
from asyncmde_ros.ros.tokens import DROPPED, ENGINE, INTERNAL, depth_key, dropped_key

MOST = 600
"""In a run, so that a night's report is no longer than that of ten minutes."""
PERIOD_S = 1.0
"""The shortest."""

WARPED = depth_key(DepthSource.WARPED.value)
OUR_FAULT = dropped_key(INTERNAL), dropped_key(ENGINE)
"""Keys of /diagnostics."""


@dataclass(frozen=True)
class Sample:
    """The node at one moment.

    ``seconds`` since the run began, ``fault``: what was being done to the node, empty for
    nothing.  ``shown`` and ``answered`` are images and depth maps so far, ``latency_ms`` from
    showing an image to the receipt of its depth, of all since the last sample, None where there
    was none.
    ``dropped`` and ``warped`` are the node's own counts, None before its first diagnostics.
    """

    seconds: float
    fault: str
    rss_mib: float
    threads: int
    fds: int
    shown: int
    answered: int
    latency_ms: Summary | None
    dropped: int | None
    warped: int | None

    @property
    def p50_ms(self) -> float | None:
        """The typical latency."""
        return None if self.latency_ms is None else self.latency_ms.p50

    @property
    def p99_ms(self) -> float | None:
        """The latency that one image in a hundred exceeds."""
        return None if self.latency_ms is None else self.latency_ms.p99


def period_s(run_s: float) -> float:
    """Return the time between two samples of a run of that length."""
    return max(PERIOD_S, run_s / MOST)


def take(pid: int, seconds: float, fault: str, ledger: Ledger,
         diagnosed: Mapping[str, str]) -> Sample | None:
    """Look at the process ``pid`` now; None if it is gone."""
    rss = resident_mib(pid)
    process = Path(f'/proc/{pid}')
    try:
        threads, fds = (sum(1 for _ in (process / name).iterdir()) for name in ('task', 'fd'))
    except OSError:
        return None
    if rss is None:
        return None
    return Sample(seconds, fault, rss, threads, fds, ledger.shown, ledger.answered,
                  summarise(ledger.take_latencies()), count(diagnosed, DROPPED),
                  count(diagnosed, WARPED))


def count(diagnosed: Mapping[str, str], key: str) -> int | None:
    """Return a count of /diagnostics; zero where the node has not counted any yet."""
    return int(diagnosed.get(key, 0)) if diagnosed else None
