"""What decoders share: words that stand until the next of their kind, in a stream cut anywhere."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.integer[Any]]
Data = bytes | npt.NDArray[np.uint8]

NS_PER_US = 1000

BACK = 10
"""By so much the high part of a time may be smaller than before, as sensors now and then have it;
by more, its counter has begun anew (as event_camera_codecs takes it)."""

UNKNOWN = -1
"""What stands as long as no word has told."""


class Raw(NamedTuple):
    """Events as they were decoded, (n,) each and not checked: as in :class:`Events`."""

    x: Numbers
    y: Numbers
    t: npt.NDArray[np.int64]
    p: npt.NDArray[np.bool_]


NOTHING = Raw(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64),
              np.empty(0, np.bool_))


class Words:
    """Bytes to little-endian words, wherever they are cut."""

    def __init__(self, kind: str) -> None:
        self._kind = np.dtype(kind)
        self._rest = b''

    def take(self, data: Data) -> npt.NDArray[Any]:
        joined = self._rest + bytes(data)
        whole = len(joined) // self._kind.itemsize
        self._rest = joined[whole * self._kind.itemsize:]
        return np.frombuffer(joined, self._kind, whole)


class Standing:
    """What words of one kind have told, as it stands at the places of others."""

    def __init__(self, before: int = UNKNOWN) -> None:
        """``before`` is what stands before any has told."""
        self._last = before

    def standing(self, told: npt.NDArray[np.intp], values: Numbers, at: npt.NDArray[np.intp]
                 ) -> npt.NDArray[np.int64]:
        """Return what stands at places ``at`` of a chunk with ``values`` at ``told``."""
        values = self._followed(values.astype(np.int64))
        stood = np.concatenate([[self._last], values])
        self._last = int(stood[-1])
        return stood[np.searchsorted(told, at)]

    def moved(self, by: int) -> None:
        """Change what is kept for the next chunk."""
        self._last += by

    def _followed(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return values


class Counter(Standing):
    """The high part of a time, whose counter begins anew at ``period``, as one that goes on."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self._period = period

    def _followed(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        if not len(values):
            return values
        last = int(values[0]) if self._last == UNKNOWN else self._last
        steps = np.diff(values, prepend=last)
        return last + np.cumsum((steps + BACK) % self._period - BACK)


_MASKS = np.arange(1 << 12)[:, None] >> np.arange(12) & 1
_COUNTS = _MASKS.sum(axis=1)
_BITS = np.nonzero(_MASKS)[1]
_FIRST = np.cumsum(_COUNTS) - _COUNTS


def spread(masks: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the bits of masks (n,) of up to 12 bits: of which mask each is, and its place."""
    counts = _COUNTS[masks]
    which = np.repeat(np.arange(len(masks)), counts)
    before = np.cumsum(counts) - counts
    return which, _BITS[(_FIRST[masks] - before)[which] + np.arange(len(which))]
