"""How much of the processor a process uses."""

import os
import time
from pathlib import Path
from typing import NamedTuple

UTIME, STIME = 11, 12
"""Of the fields of /proc/PID/stat after the name, which may hold spaces (man proc_pid_stat)."""


class Used(NamedTuple):
    """A process's processor time, of all its threads, at a moment of the system's clock."""

    time_ns: int
    cpu_s: float


def used(process: int) -> Used | None:
    """Return what a process has used so far; None where that cannot be read."""
    try:
        text = Path(f'/proc/{process}/stat').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return None
    fields = text.rpartition(')')[2].split()
    ticks = int(fields[UTIME]) + int(fields[STIME])
    return Used(time.time_ns(), ticks / os.sysconf('SC_CLK_TCK'))


def percent(samples: list[Used], start_ns: int, end_ns: int) -> float | None:
    """Return the use between two times in percent of one core.

    From the first to the last sample between them; None where those are no two.
    """
    inside = [sample for sample in samples if start_ns <= sample.time_ns <= end_ns]
    if len(inside) < 2:
        return None
    first, last = inside[0], inside[-1]
    return 100 * (last.cpu_s - first.cpu_s) / ((last.time_ns - first.time_ns) * 1e-9)
