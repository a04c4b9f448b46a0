"""Prophesee's EVT 2.0 and EVT 3.0 words to events, a chunk of a stream at a time, without loops.

Formats: "EVT 2.0 Format" and "EVT 3.0 Format" in the documentation of Metavision SDK
(docs.prophesee.ai).  A word that tells where or when stands for all that follow until the next of
its kind, also in the next chunk: a decoder keeps it.
"""

from typing import Protocol

import numpy as np

from asyncmde_ros.events.words import (
    NS_PER_US,
    UNKNOWN,
    Counter,
    Data,
    Raw,
    Standing,
    Words,
    spread,
)


class Decoder(Protocol):
    """Decodes the chunks of one stream in their order."""

    def decode(self, data: Data) -> Raw:
        """Return the events of whole words; the bytes of a word that is cut wait for the rest."""


class Evt2:
    """EVT 2.0: words of 32 bits, an event each, but for the high part of its time.

    The time goes on where its counter begins anew, after 4.8 hours.
    """

    BRIGHTER, TIME_HIGH = 0x1, 0x8

    def __init__(self) -> None:
        self._words = Words('<u4')
        self._high = Counter(1 << 28)

    def decode(self, data: Data) -> Raw:
        """Return the events whose time is known."""
        words = self._words.take(data)
        code = words >> 28
        highs = np.flatnonzero(code == self.TIME_HIGH)
        at = np.flatnonzero(code <= self.BRIGHTER)
        high = self._high.standing(highs, words[highs] & 0xFFFFFFF, at)
        at, high = at[high != UNKNOWN], high[high != UNKNOWN]
        event = words[at]
        return Raw(event >> 11 & 0x7FF, event & 0x7FF,
                   (high << 6 | event >> 22 & 0x3F) * NS_PER_US, code[at] == self.BRIGHTER)


class Evt3:
    """EVT 3.0: words of 16 bits; an event's row, time and polarity are what words before it told.

    One word may hold up to 12 events of a row.  The time goes on where its counter begins anew,
    after 16.8 s, as long as no more than that is missing of the stream.
    """

    ADDR_Y, ADDR_X, VECT_BASE_X, VECT_12, VECT_8, TIME_LOW, TIME_HIGH = 0, 2, 3, 4, 5, 6, 8

    def __init__(self) -> None:
        self._words = Words('<u2')
        self._high = Counter(1 << 12)
        self._low, self._row, self._polarity, self._origin = (Standing() for _ in range(4))

    def decode(self, data: Data) -> Raw:
        """Return the events of which everything is known."""
        words = self._words.take(data)
        code, value = words >> 12, (words & 0xFFF).astype(np.int64)
        column, polarity = value & 0x7FF, value >> 11 & 1
        length = np.select([code == self.VECT_12, code == self.VECT_8], [12, 8])
        at = np.flatnonzero((code == self.ADDR_X) | (length > 0))
        single = code[at] == self.ADDR_X
        # A vector begins where the one before it ended, the first one at the base.
        ended = np.cumsum(length)
        begins = ended - length
        bases = np.flatnonzero(code == self.VECT_BASE_X)
        x = np.where(single, column[at], begins[at] + self._origin.standing(
            bases, column[bases] - begins[bases], at))
        self._origin.moved(int(ended[-1]) if len(ended) else 0)
        p = np.where(single, polarity[at], self._polarity.standing(bases, polarity[bases], at))
        y, low, high = (kept.standing(told, value[told], at) for kept, told in (
            (self._row, np.flatnonzero(code == self.ADDR_Y)),
            (self._low, np.flatnonzero(code == self.TIME_LOW)),
            (self._high, np.flatnonzero(code == self.TIME_HIGH))))
        known = (y != UNKNOWN) & (low != UNKNOWN) & (high != UNKNOWN) & (p != UNKNOWN)
        bits = np.where(single, 1, value[at] & (1 << length[at]) - 1)
        which, bit = spread(np.where(known, bits, 0))
        t = (high << 12 | low) * NS_PER_US
        return Raw(x[which] + bit, y[which] & 0x7FF, t[which], p[which] == 1)
