"""The range of values that a picture shows, and 16-bit images by it as 8-bit ones."""

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


class RangeTracker:
    """The range that the values of a stream lie in, following it slowly: pictures do not flicker.

    It starts at the first frame's percentiles and then moves by SMOOTHING of the difference.  A
    frame that lies beyond it altogether, of which nothing would be seen, replaces it at once.
    Narrow frames in succession, a shutter with its noise, change nothing at first.
    """

    PERCENTILES = (2.0, 98.0)
    SMOOTHING = 0.1
    SAMPLES = 20_000  # to some; percentiles of so many values are as good as of all
    NARROW = 0.25
    """A frame whose range is a smaller share of the tracked one is narrow."""

    NARROW_FRAMES = 60
    """So many may be a shutter, which thermal cameras of 60 Hz show for up to a second."""

    def __init__(self, percentiles: tuple[float, float] = PERCENTILES, least_span: float = 0.0
                 ) -> None:
        """``least_span``: a frame whose values differ by less is flat.

        It changes no range but one of flat frames, which the first other frame replaces at once.
        """
        self._percentiles = percentiles
        self._least_span = least_span
        self._range: npt.NDArray[np.float64] | None = None
        self._narrow = 0

    def update(self, values: npt.NDArray[Any]) -> tuple[float, float]:
        """Return (low, high) for this frame: (H, W) or (H, W, C), what is not finite ignored.

        A frame without a finite value changes nothing; before any other the range is (0, 1).
        """
        # Odd, so that of a Bayer mosaic every colour is met.
        stride = math.isqrt(values.size // self.SAMPLES) | 1
        sample = values[::stride, ::stride]
        sample = sample[np.isfinite(sample)]
        if sample.size:
            seen = np.asarray(np.percentile(sample, self._percentiles), np.float64)
            before = seen if self._range is None else self._range
            flat, was_flat = (np.ptp(span) < self._least_span for span in (seen, before))
            narrow = np.ptp(seen) < self.NARROW * np.ptp(before)
            self._narrow = self._narrow + 1 if narrow else 0
            if was_flat and not flat:
                self._range = seen
            elif not was_flat and (flat or 0 < self._narrow <= self.NARROW_FRAMES):
                pass
            elif seen[1] < before[0] or seen[0] > before[1]:
                self._range = seen
            else:
                self._range = before + self.SMOOTHING * (seen - before)
        low, high = (0.0, 1.0) if self._range is None else self._range
        return float(low), float(high)


class Tone:
    """How the 16-bit images of one camera become 8-bit ones.

    Such images hold 10, 12 or 14 bits at either end of the word, or a thermal camera's narrow
    band somewhere in it; no field says which.  So a slow range of percentiles becomes 0 to 255,
    one for all channels, that colours stay what they are.
    """

    PERCENTILES = (0.5, 99.5)  # beyond hot pixels, and before what a picture lives on
    LEAST_SPAN = 16
    """Between the percentiles; less is a lens cap or a thermal camera's shutter, and stretched it
    would show noise."""

    LARGEST = 65535
    ROWS = 64  # at a time, whose values stay in the cache

    def __init__(self) -> None:
        self._range = RangeTracker(self.PERCENTILES, self.LEAST_SPAN)

    def to_8_bit(self, deep: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
        """Return (H, W) or (H, W, C) uint16 as uint8, and take note of its range.

        A fourth channel is alpha, which says nothing of the range.
        """
        low, high = self._range.update(deep[..., :3] if deep.ndim == 3 else deep)
        missing = max(0.0, self.LEAST_SPAN - (high - low)) / 2
        low, high = low - missing, high + missing
        inside = max(0.0, -low) - max(0.0, high - self.LARGEST)  # all black or white stays so
        low, high = round(low + inside), round(high + inside)
        black, result = np.uint16(low), np.empty(deep.shape, np.uint8)
        for top in range(0, len(deep), self.ROWS):
            rows = slice(top, top + self.ROWS)
            above = np.maximum(deep[rows], black) - black  # OpenCV scales magnitudes
            result[rows] = cv2.convertScaleAbs(above, alpha=255 / (high - low)).reshape(
                above.shape)
        return result
