"""Metres by the floor: where it is, from parameters or tf, and the images' maps."""

import math
import time
from dataclasses import dataclass

from asyncmde_ros.ros.measuring import ImageView
from asyncmde_ros.ros.metric_settings import MetricSettings
from asyncmde_ros.ros.transforms import Transforms
from asyncmde_ros.scale.ground import Ground, Plane
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Map, Measurement, Observations

LOOK_PERIOD_S = 0.1
"""Between two looks at tf: a camera on an arm or a gimbal moves, most do not."""


@dataclass(frozen=True, eq=False)
class FloorSight:
    """The floor at a moment; the map of that moment tells where in the image it is."""

    ground: Ground
    plane: Plane
    stamp_s: float

    def seen_in(self, relative: Map) -> Observations:
        """Return the pixels of a relative map (h, w) that are floor."""
        return self.ground.observe(relative, self.plane, self.stamp_s)


class GroundSource:
    """Knows the floor beneath the camera."""

    def __init__(self, transforms: Transforms | None, settings: MetricSettings) -> None:
        self._transforms, self._settings = transforms, settings
        self._ground: tuple[Lens, Ground] | None = None
        self._plane: Plane | None = None
        self._looked_s = -math.inf
        self.trouble = ''
        """Why the floor is not known; empty where it is."""

    def take(self, view: ImageView, stamp_s: float) -> list[Measurement]:
        """Return the floor for an image seen so, or nothing where it is not known."""
        if self._ground is None or self._ground[0] is not view.lens:
            self._ground = view.lens, Ground(view.lens, self._settings.ground_tilt_error_rad)
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_PERIOD_S:
            self._looked_s = now_s
            self._plane = self._find(view.frame)
        return [] if self._plane is None else [FloorSight(self._ground[1], self._plane, stamp_s)]

    @property
    def largest_m(self) -> float:
        """Return the depth to which the floor tells metres; infinite while it tells nothing."""
        if self._ground is None or self._plane is None:
            return math.inf
        return self._ground[1].largest_m(self._plane)

    def _find(self, camera: str) -> Plane | None:
        settings = self._settings
        try:
            if settings.ground_height_m:
                plane = Plane.of_tilt(settings.ground_height_m, settings.ground_tilt_rad)
            else:
                pose = None if self._transforms is None else self._transforms.pose(
                    settings.ground_frame, camera)
                if pose is None:
                    self.trouble = (
                        f'tf does not tell where {camera or "(no frame)"} is from '
                        f'{settings.ground_frame}: set scale.ground_height and scale.ground_tilt')
                    return None
                plane = Plane.of_pose(pose)
        except ValueError as error:
            self.trouble = str(error)
            return None
        self.trouble = ''
        return plane
