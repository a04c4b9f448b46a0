"""Metres from one camera whose own motion is known: corners followed and triangulated."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.scale.corners import CornerTracker, Grey, Index
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Array, Observations
from asyncmde_ros.scale.triangulation import Triangulation, Viewpoint, Zoom

SOURCE = 'odometry'

VIEWS = 12
"""Earlier places of the camera that corners are triangulated from."""

SPACING_PX = 1.5
"""The camera has to move on by so much parallax, in the median, before a place is kept: with
VIEWS of them the baseline comes to 18 pixels, some 6 % of the picture's width."""

OLDEST_S = 10.0
"""A place is forgotten then: what the odometry has drifted since is more than its share of the
path, and corners that are followed while the camera stands slide away."""

FEWEST_VIEWS = 2
"""Earlier places that a corner must have been seen from.  A second one confirms what the first
one says; from one alone everything that moves along its epipolar line is some distance."""

FEWEST_CORNERS = 12
"""Fewer corners do not tell by their median what they should all have in common; and the first few
that are sure would be those of what is nearest, or moves by itself."""

NOISE_PX = 0.15
"""Standard deviation of a corner's place by the tracking, at the least.  On rendered clips corners
miss by 0.05 in the median; real pictures have noise, compression and shutters that roll."""

MISFIT = 3.0
"""Standard deviations by which a corner may miss the place that its distance puts it at, in the
root mean square over its views, before it is taken for something that moves, or for another
corner."""

CONTRADICTION_PX = 2.0
"""Where half of the corners miss by more, the poses are not those of these pictures."""

SURE = 0.1
"""Largest standard deviation of inverse depth by noise and turns, as a share of the corners'
median.  On rendered clips with what is wrong on robots (stamps 10 ms late, a focal length 3 % and
a camera's place 2 cm off) twice as much lets a tenth more frames speak, with errors that are a
fifth larger."""

DRIFT = 0.01
"""By how much odometry is wrong over some seconds, as a share of the path and of the turn."""

FOCAL_SIGMA = 0.05
"""Standard deviation of a focal length as a share of it, before corners tell: a data sheet's."""

LARGEST_ZOOM = 0.2
"""A focal length that is farther off is not corrected to the end."""

RENEWED = 0.7
"""New corners are looked for when less than this share of them is left, or at a new place."""

LONG_SIDE_PX = 320
SMALLEST_PX = 32

RAY_STRIDE = 4
"""Rays of a lens are worked out for so many pixels, once, and interpolated between."""

RIGID = 1e-2
"""A matrix farther from a rotation and a translation is no pose."""


class Odometry:
    """Takes pictures with the camera's poses in the order of time; not thread-safe.

    Corners are followed and triangulated (:mod:`~asyncmde_ros.scale.triangulation`).  How far
    they miss in the median tells the noise, NOISE_PX at the least.  A corner that misses by
    MISFIT of it is something that moves, or slid away, and is dropped.  What moves along its
    epipolar line in step with the camera is not noticed: the fit of the scale tolerates a
    minority of such points.

    The standard deviation of inverse depth has three parts: the noise of the corner's places,
    the turns' uncertainty, and ``drift`` of the path.  The last is the observations' ``common``
    error: it does not average out, and a wrong scale of the odometry becomes one of the metres.
    The focal length is corrected by what turns show, beginning with FOCAL_SIGMA: a calibration
    that is 5 % wrong would cost more than the odometry's drift, and a camera that turns sees it.
    What of it is still unknown counts as turn and as path.

    Distances are told at each new place, SPACING_PX of parallax from the last: between two of them
    the same corners would say the same of the same map, with the same errors, and whoever took
    that for more evidence would be too sure.  Most of the time goes to following corners there and
    back; looking at ``every`` second picture halves it.
    """

    def __init__(self, every: int = 1, drift: float = DRIFT) -> None:
        """``every``: only each so manieth picture is looked at.  ValueError unless positive."""
        if every < 1 or not drift >= 0:
            raise ValueError(f'every {every} pictures, a drift of {drift}: must be positive')
        self._every, self._drift = every, drift
        self._lens: _Rays | None = None
        self._start()

    def _start(self) -> None:
        self._corners = CornerTracker()
        self._views: list[Viewpoint] = []
        self._stamp_s: float | None = None
        self._pictures = self._count = 0
        self._zoom = Zoom(0.0, FOCAL_SIGMA)

    def update(self, stamp_s: float, grey: Grey, lens: Lens, pose: Array | None
               ) -> Observations | None:
        """Return inverse depths of corners of a picture; None where the motion tells none.

        ``grey`` (rows, cols) uint8 had best be of :func:`reduced` size, ``lens`` is its own.
        ``pose`` (4, 4) is the camera's optical frame in one that is fixed, metres; None where
        it is not known, and one that is not finite or no rigid motion counts as that.  Nothing
        is told of a camera that stands or only turns, or where the pictures contradict the
        poses.  Time that goes back, or another lens, starts anew.  ValueError for a picture
        that is not grey, or a lens of another size.
        """
        if (grey.ndim != 2 or grey.dtype != np.uint8 or lens.size != grey.shape
                or min(grey.shape) < SMALLEST_PX):
            raise ValueError(f'a {grey.dtype} picture of shape {grey.shape}, a lens of '
                             f'{lens.size}: must be (rows, cols) uint8, at least {SMALLEST_PX} '
                             'each, and its lens')
        if stamp_s == self._stamp_s:
            return None
        bent = self._lens
        if bent is None or not bent.is_of(lens):
            bent = self._lens = _Rays(lens)
            self._start()
        elif not (self._stamp_s is None or stamp_s > self._stamp_s):
            self._start()
        self._stamp_s = stamp_s
        self._pictures += 1
        if (self._pictures - 1) % self._every:
            return None
        self._views = [view for view in self._views if stamp_s - view.stamp_s <= OLDEST_S]
        self._keep(self._corners.follow(grey))
        known = None if pose is None else rigid(pose)
        if known is None:
            return None
        rays, pixel = bent.at(self._corners.pixels)
        moved = self._moved(known, rays, pixel)
        found = None
        if moved and self._views:
            seen = Triangulation(self._views, known, rays, pixel)
            found = self._observed(seen, stamp_s, lens.size)
        if moved or not self._views or len(self._corners.pixels) <= RENEWED * self._count:
            self._remember(stamp_s, known, bent)
        return found

    def _moved(self, pose: Array, rays: Array, pixel: Array) -> bool:
        """Tell whether corners moved since the last place that was kept, but for the turn."""
        if not self._views:
            return True
        parallax = self._views[-1].parallax(pose, rays) / pixel
        parallax = parallax[np.isfinite(parallax)]
        return bool(parallax.size and np.median(parallax) >= SPACING_PX)

    def _observed(self, seen: Triangulation, stamp_s: float, image: Size) -> Observations | None:
        """Return what is sure; drop corners that move, or all views where the poses do."""
        solved = seen.solve(self._zoom, self._drift)
        compared = np.isfinite(solved.misfit) & (solved.views >= FEWEST_VIEWS)
        if np.count_nonzero(compared) < FEWEST_CORNERS:
            return None
        noise = max(NOISE_PX, float(np.median(solved.misfit[compared])))
        if noise > CONTRADICTION_PX:
            self._views = []
            return None
        w, pixels = solved.inverse_depth, self._corners.pixels
        common = math.hypot(self._drift, self._zoom.sigma)
        unsure = np.hypot(noise * solved.sigma, solved.by_turn)
        moves = solved.misfit > MISFIT * noise
        good = compared & ~moves
        self._calibrate(seen.zoom(solved, self._zoom, noise, good))
        kept = np.flatnonzero(~moves)
        self._corners.keep(kept)
        self._keep(kept)
        if not good.any():
            return None
        # Against the median, not each its own: of what is far only too near ones would pass.
        sure = good & (w > 0) & (unsure <= SURE * np.median(w[good]))
        if np.count_nonzero(sure) < FEWEST_CORNERS:
            return None
        sigma = np.hypot(unsure, common * w)
        return Observations(pixels[sure].astype(np.float64), w[sure], sigma[sure], image, stamp_s,
                            SOURCE, common * w[sure, None])

    def _calibrate(self, found: Zoom) -> None:
        """Take in what a picture says of the focal length; VIEWS of them say about the same."""
        before = self._zoom.sigma ** 2
        gain = before / (before + VIEWS * found.sigma ** 2)
        share = self._zoom.share + gain * (found.share - self._zoom.share)
        self._zoom = Zoom(float(np.clip(share, -LARGEST_ZOOM, LARGEST_ZOOM)),
                          math.sqrt((1 - gain) * before))

    def _keep(self, kept: Index) -> None:
        """Forget where other corners were seen."""
        self._views = [Viewpoint(view.stamp_s, view.pose, view.rays[kept]) for view in self._views]

    def _remember(self, stamp_s: float, pose: Array, lens: '_Rays') -> None:
        """Keep this place, and look for new corners."""
        self._keep(self._corners.thin())
        count, added = len(self._corners.pixels), self._corners.renew()
        self._count = count + added
        if not self._count:
            self._views = []
            return
        unseen = np.full((added, 2), np.nan)
        views = [Viewpoint(view.stamp_s, view.pose, np.concatenate([view.rays, unseen]))
                 for view in self._views]
        views.append(Viewpoint(stamp_s, pose, lens.at(self._corners.pixels)[0]))
        self._views = views[-VIEWS:]


class _Rays:
    """The rays of a lens, worked out once."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens
        rays = lens.ray_map(RAY_STRIDE)[..., :2]
        down, across = (np.gradient(rays, RAY_STRIDE, axis=axis) for axis in (0, 1))
        area = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
        self._map = np.dstack([rays, np.sqrt(np.abs(area))]).astype(np.float32)

    def is_of(self, lens: Lens) -> bool:
        """Tell whether another lens is the same."""
        mine = self._lens
        return lens is mine or (
            (lens.size, lens.model, tuple(lens.distortion))
            == (mine.size, mine.model, tuple(mine.distortion))
            and np.array_equal(lens.matrix, mine.matrix))

    def at(self, pixels: npt.NDArray[np.float32]) -> tuple[Array, Array]:
        """Return the rays (n, 2) of pixels (n, 2), and what a pixel is at depth 1, (n,).

        NaN where the lens has no ray.
        """
        if not len(pixels):
            return np.zeros((0, 2)), np.zeros(0)
        at = (pixels / np.float32(RAY_STRIDE))[None]
        found = cv2.remap(self._map, at, None, cv2.INTER_LINEAR,  # type: ignore[call-overload]
                          borderMode=cv2.BORDER_REPLICATE)[0].astype(np.float64)
        return found[:, :2], found[:, 2]


def reduced(size: Size) -> Size:
    """Return the size (rows, cols) of a picture that is made smaller for :class:`Odometry`."""
    share = min(1.0, LONG_SIDE_PX / max(size))
    return max(SMALLEST_PX, round(size[0] * share)), max(SMALLEST_PX, round(size[1] * share))


def rigid(matrix: Array) -> Array | None:
    """Return the rotation and translation (4, 4) nearest to a matrix; None where it is none."""
    pose = np.array(matrix, np.float64)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        return None
    left, stretch, right = np.linalg.svd(pose[:3, :3])
    rotation = left @ right
    if (np.abs(stretch - 1).max() > RIGID or np.linalg.det(rotation) < 0
            or np.abs(pose[3] - (0, 0, 0, 1)).max() > RIGID):
        return None
    pose[:3, :3] = rotation
    return pose
