"""Which images were shown, and whether each depth map is an answer to one of them."""

from dataclasses import dataclass

KEPT_S = 120.0
"""Depth that comes later than this is a stamp that no image had."""


@dataclass(frozen=True)
class _Shown:
    at_s: float
    good: bool
    epoch: int


class Ledger:
    """Good and bad images by stamp [ns], and the depth that came; times are monotonic [s].

    ``shown`` and ``answered`` count good images and depth maps of them, ``foreign`` depth with a
    stamp that no image had, ``of_bad`` depth with the stamp of a bad image.  ``fresh`` counts
    depth of images shown since the last ``mark``.
    """

    def __init__(self) -> None:
        self.shown = 0
        self.answered = 0
        self.foreign = 0
        self.of_bad = 0
        self.fresh = 0
        self._epoch = 0
        self._images: dict[int, _Shown] = {}  # oldest first
        self._latencies_ms: list[float] = []

    def __len__(self) -> int:
        """Return how many images are kept."""
        return len(self._images)

    def mark(self) -> None:
        """Start counting ``fresh`` anew, for images from now on."""
        self._epoch += 1
        self.fresh = 0

    def show(self, stamp_ns: int, now_s: float, good: bool) -> None:
        """Note an image that is handed over now."""
        self._images.pop(stamp_ns, None)  # a clock that stands still; the newest counts
        self._images[stamp_ns] = _Shown(now_s, good, self._epoch)
        self.shown += good
        while (oldest := next(iter(self._images.items())))[1].at_s < now_s - KEPT_S:
            del self._images[oldest[0]]

    def answer(self, stamp_ns: int, now_s: float) -> None:
        """Note a depth map that is received now."""
        image = self._images.get(stamp_ns)
        if image is None:
            self.foreign += 1
        elif not image.good:
            self.of_bad += 1
        else:
            self.answered += 1
            self.fresh += image.epoch == self._epoch
            self._latencies_ms.append(1e3 * (now_s - image.at_s))

    def take_latencies(self) -> list[float]:
        """Return the latencies [ms] since this was last asked, from showing to receipt."""
        taken, self._latencies_ms = self._latencies_ms, []
        return taken
