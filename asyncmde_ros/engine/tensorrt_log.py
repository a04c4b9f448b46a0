"""What TensorRT says: errors kept for messages of ours, all of it for the log.

The classes to derive from can be had from the module (``tensorrt`` or ``tensorrt_rtx``) only.
"""

import logging
from functools import cache
from typing import Any

logger = logging.getLogger(__name__)

NO_DRIVER = 'CUDA driver version is insufficient'
"""Reported as an error whenever a plan is built for a GPU that is not in the machine."""

MOST_ERRORS = 20


class Errors:
    """The first errors, in one line each; the others mostly follow from them."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        if NO_DRIVER not in text and len(self.texts) < MOST_ERRORS:
            self.texts.append(' '.join(text.split()))

    def first(self) -> str:
        return self.texts[0] if self.texts else 'it did not say why'


@cache
def shared_logger(trt: Any) -> Any:
    """Return the process's one logger: TensorRT keeps the first that it is given, for good."""
    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors = Errors()

        def log(self, severity: Any, text: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.add(text)
            logger.debug('%s', text)
    return Logger()


def error_recorder(trt: Any) -> Any:
    """Return a recorder for a runtime and all that is made with it.

    Not for a builder: TensorRT-RTX 1.7 crashes when a network of a builder with one is freed.
    """
    class Recorder(trt.IErrorRecorder):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)
            self.errors = Errors()

        def report_error(self, code: Any, text: str) -> bool:
            self.errors.add(text)
            return False

        def num_errors(self) -> int:
            return len(self.errors.texts)

        def get_error_code(self, index: int) -> Any:
            return trt.ErrorCodeTRT.UNSPECIFIED_ERROR

        def get_error_desc(self, index: int) -> str:
            return self.errors.texts[index]

        def has_overflowed(self) -> bool:
            return len(self.errors.texts) == MOST_ERRORS

        def clear(self) -> None:
            self.errors.texts.clear()
    recorder = Recorder()
    _KEPT.append(recorder)
    return recorder


_KEPT: list[Any] = []
"""Recorders, for good: TensorRT's objects call theirs while they are freed, in whatever order
Python does that."""
