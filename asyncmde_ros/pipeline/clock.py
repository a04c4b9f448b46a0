"""What time it is, and how long is waited."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """The pipeline's clock and time-outs; tests bring their own.

    ``seconds`` never go back; ``nanoseconds`` since 1970 are what the arrival of images is told
    in.  ``stall_s``: a refresh that takes longer has stalled, since the slowest machine seen needs
    a second.  ``refresh_retry_s`` and ``build_retry_s`` are the pauses after a refresh or a build
    that failed, so that one that fails at once does not eat a core.  ``join_s``: the longest wait
    for running work at shutdown, since a node has a second to end in.
    """

    seconds: Callable[[], float] = time.monotonic
    nanoseconds: Callable[[], int] = time.time_ns
    stall_s: float = 10.0
    refresh_retry_s: float = 1.0
    build_retry_s: float = 1.0
    join_s: float = 0.5


REAL = Clock()
