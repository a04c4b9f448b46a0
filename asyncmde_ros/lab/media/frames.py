"""A frame of a source that is not ROS, and what every such source is."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from asyncmde_ros.images.codec import RGB

MAX_RATE_HZ = 1000.0
"""A file that claims more has no meaningful rate (some containers report their time base)."""

ASSUMED_RATE_HZ = 30.0
"""Stands for the rate of a source that does not tell it."""


@dataclass(frozen=True)
class VideoFrame:
    """``image`` is (H, W, 3) uint8 RGB, perhaps read-only; ``stamp_ns`` is its capture time.

    The time's origin is the source's: the start of a video, the epoch for cameras and bags.
    """

    stamp_ns: int
    image: RGB


class FrameSource(ABC):
    """A single pass over frames, in the order of capture; a context manager.

    ``rate_hz`` is the nominal rate and ``length`` the number of frames, which containers may
    misstate by a few; both are None where the source cannot tell.  ``dropped`` counts the frames
    that could not be decoded and were left out, by a short fixed word for the reason.
    """

    rate_hz: float | None
    length: int | None
    dropped: Counter[str]

    @abstractmethod
    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield the frames.  Raises MediaError where the source breaks off."""

    @abstractmethod
    def close(self) -> None:
        """Release the file or device, which gives no frames from then on."""

    def __enter__(self) -> 'FrameSource':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()
