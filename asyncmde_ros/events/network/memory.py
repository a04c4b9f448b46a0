"""The temporal state between windows: kept while time goes on, dropped where it does not."""

from torch import Tensor


class WindowMemory:
    """Holds G of the last window, and says whether the next one may go on from it.

    After a gap of more than ``max_gap_ns``, or where time went backwards (a recording that starts
    again), or with another size of the sensor, it may not: the memory is of another view.
    """

    def __init__(self, max_gap_ns: int) -> None:
        self._max_gap_ns = max_gap_ns
        self._hidden: Tensor | None = None
        self._end_ns = 0
        self.resets = 0
        """How often a memory was dropped."""

    def before(self, start_ns: int, empty: Tensor) -> Tensor:
        """Return the memory for a window that starts at ``start_ns``; ``empty`` where none fits.

        ``empty`` is h_0 of the window's size, (B, C, rows, cols).
        """
        if self._hidden is None:
            return empty
        gap_ns = start_ns - self._end_ns
        if not 0 <= gap_ns <= self._max_gap_ns or self._hidden.shape != empty.shape:
            self.resets += 1
            self._hidden = None
            return empty
        return self._hidden

    def after(self, end_ns: int, hidden: Tensor) -> None:
        """Keep what a window that ended at ``end_ns`` leaves: ``l4`` of its context."""
        self._hidden, self._end_ns = hidden, end_ns
