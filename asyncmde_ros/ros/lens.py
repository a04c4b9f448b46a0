"""How the camera sees, from its CameraInfo."""

import numpy as np
from sensor_msgs.msg import CameraInfo

from asyncmde_ros.errors import in_words
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.ros.camera_info import view_of
from asyncmde_ros.ros.metric_settings import Rectified
from asyncmde_ros.scale.lens import Lens

RECTIFIED = 'rect'
"""What image_proc's topics of rectified images have in their last name."""

NO_CALIBRATION = 'no calibration of the images: nothing can be put into them'


def is_rectified(topic: str) -> bool:
    """Tell whether images on ``topic`` are rectified, by image_proc's convention."""
    return RECTIFIED in topic.removesuffix('/compressed').rpartition('/')[2]


def lens_of(info: CameraInfo, image: Size, rectified: bool) -> Lens:
    """Return the lens of an ``image`` (rows, cols).

    A rectified image has P's camera matrix and no distortion, another one K and D.  ValueError,
    with what to do, where the calibration is none, or is not that of such images.
    """
    view = view_of(info, image)
    if not view.fits:
        raise ValueError(view.doubt)
    matrix = view.intrinsics(info)
    if rectified and info.p[0]:
        projection = np.array(info.p, np.float64).reshape(3, 4)[:, :3]
        projection[:2, 2] -= view.offset[1], view.offset[0]
        matrix = projection
    distortion = () if rectified else tuple(info.d)
    return Lens(matrix, view.size, info.distortion_model, distortion).scaled(image)


class LensKeeper:
    """The lens of the newest image: one object, until its calibration changes."""

    def __init__(self, rectified: bool = False) -> None:
        """``rectified``: whether images are, where the parameters leave that open."""
        self._rectified = rectified
        self._key: tuple[object, ...] = ()
        self._lens: Lens | None = None
        self.trouble = NO_CALIBRATION
        """Why there is no lens, and what to do; empty where there is one."""

    def of(self, info: CameraInfo | None, image: Size, kind: Rectified) -> Lens | None:
        """Return the lens of an ``image`` (rows, cols); None where the calibration gives none."""
        if info is None:
            self._key, self._lens, self.trouble = (), None, NO_CALIBRATION
            return None
        rectified = self._rectified if kind is Rectified.AUTO else kind is Rectified.RECTIFIED
        key = (image, rectified, info.width, info.height, info.distortion_model, tuple(info.d),
               tuple(info.k), tuple(info.p), info.binning_x, info.binning_y, repr(info.roi))
        if key != self._key:
            self._key = key
            try:
                self._lens, self.trouble = lens_of(info, image, rectified), ''
            except ValueError as error:
                self._lens, self.trouble = None, in_words(error)
        return self._lens
