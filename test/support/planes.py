"""Pictures of textured rectangles, seen by a camera that may be anywhere, with exact depth."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Array

TEXTURE_PX = 512
BLUR_PX = 3.0


@dataclass(frozen=True, eq=False)
class Plane:
    """A rectangle: ``middle`` (3,) in the world, and half its sides ``across`` and ``down`` (3,).
    """

    middle: npt.ArrayLike
    across: npt.ArrayLike
    down: npt.ArrayLike
    seed: int = 0

    def moved(self, by: npt.ArrayLike) -> 'Plane':
        return Plane(np.add(self.middle, by), self.across, self.down, self.seed)


@functools.cache
def texture(seed: int) -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(seed).standard_normal((TEXTURE_PX, TEXTURE_PX))
    smooth = cv2.GaussianBlur(noise, (0, 0), BLUR_PX)
    return np.clip(128 + 45 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def picture(planes: Sequence[Plane], lens: Lens, pose: Array
            ) -> tuple[npt.NDArray[np.uint8], Array]:
    """Return what a camera at ``pose`` (to the world) sees: grey and depth, infinite for none."""
    rays = lens.ray_map().astype(np.float64)
    grey, depth = np.full(lens.size, 128, np.uint8), np.full(lens.size, np.inf)
    turned, eye = rays @ pose[:3, :3].T, pose[:3, 3]
    for plane in planes:
        across, down = np.asarray(plane.across, float), np.asarray(plane.down, float)
        # eye + z ray = middle + s across + t down
        axes = np.linalg.inv(np.stack([across, down, np.cross(across, down)], axis=1))
        start, heading = axes @ (eye - np.asarray(plane.middle, float)), turned @ axes.T
        with np.errstate(divide='ignore', invalid='ignore'):
            z = -start[2] / heading[..., 2]
            s, t = (start[i] + z * heading[..., i] for i in (0, 1))
            seen = (z > 0) & (z < depth) & (np.abs(s) <= 1) & (np.abs(t) <= 1)
        at = [((np.where(seen, part, 0) + 1) / 2 * (TEXTURE_PX - 1)).astype(np.float32)
              for part in (s, t)]
        shown = cv2.remap(texture(plane.seed), *at, cv2.INTER_LINEAR)
        grey[seen], depth[seen] = shown[seen], z[seen]
    return grey, depth
