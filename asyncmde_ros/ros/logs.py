"""The core's log messages, as the node's: on the console and on /rosout."""

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger

CORE = 'asyncmde_ros'


class _Forward(logging.Handler):

    def __init__(self, target: RcutilsLogger) -> None:
        super().__init__()
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
