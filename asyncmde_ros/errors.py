"""Errors that a user can act on; their text says what to do."""


class AsyncMDEError(Exception):
    """Base of every foreseen error; the commands print it without a traceback."""


class WeightsError(AsyncMDEError):
    """A weight file is missing, corrupted or not to be had."""


class EngineError(AsyncMDEError):
    """A backend cannot be used or gave output that makes no sense."""


class ImageError(AsyncMDEError, ValueError):
    """An image that cannot be decoded; names the field and the reason.

    ``reason`` is a short fixed word for counters, such as ``'encoding'`` or ``'size'``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MediaError(AsyncMDEError):
    """A video, camera or bag that cannot be read or written."""


def in_words(error: BaseException) -> str:
    """Return an error's text, or its kind where it has none, as MemoryError."""
    return str(error) or type(error).__name__


def one_line(error: BaseException) -> str:
    """Return an error's text on one line, as those of ROS are not."""
    return ' '.join(in_words(error).split())
