"""The core's log messages, as the node's: on the console and on /rosout."""

import logging
import time

from rclpy.impl.rcutils_logger import RcutilsLogger

CORE = 'asyncmde_ros'


BURST = 5
"""A message is passed on so many times at once, and then once a second: what a camera with a fault
sets off comes with every frame."""


class _Throttle(logging.Filter):

    def __init__(self) -> None:
        super().__init__()
        self._left: dict[tuple[str, int], tuple[float, float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to pass ``record`` on; by the line of the program that it comes from."""
        if record.levelno < logging.INFO:  # who wants to see that much gets it
            return True
        place, now = (record.pathname, record.lineno), time.monotonic()
        left, since = self._left.get(place, (float(BURST), now))
        left = min(float(BURST), left + now - since)
        passes = left >= 1
        self._left[place] = (left - passes, now)
        return passes


class _Forward(logging.Handler):

    def __init__(self, target: RcutilsLogger) -> None:
        super().__init__()
        self.addFilter(_Throttle())
        # One call site a level: rcutils keeps a level per place that it is called from.
        self._calls = ((logging.ERROR, lambda text: target.error(text)),
                       (logging.WARNING, lambda text: target.warning(text)),
                       (logging.INFO, lambda text: target.info(text)),
                       (logging.DEBUG, lambda text: target.debug(text)))

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        for level, call in self._calls:
            if record.levelno >= level:
                call(text)
                return


def forward_logs(target: RcutilsLogger) -> None:
    """Send what the core logs to ``target`` from now on, and nowhere else."""
    core = logging.getLogger(CORE)
    core.handlers = [_Forward(target)]
    core.setLevel(logging.DEBUG)
    core.propagate = False
