"""Which part of a calibration an image shows, and whether it is that image's at all.

``width``, ``height``, K and P of a CameraInfo are of the whole sensor as it was calibrated; the
image is its region of interest, binned (``sensor_msgs/msg/CameraInfo.msg``).  Many drivers leave
the calibration of another mode beside their images.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CameraInfo

from asyncmde_ros.model.geometry import Size

SAME_ASPECT = 0.01
"""Relative difference that the rounding of a scaled image's sides may make."""


@dataclass(frozen=True)
class View:
    """What of a calibration an image shows.

    ``offset`` (y, x) and ``size`` (rows, cols), in the calibration's pixels, are the region that
    is the image; ``expected`` is the (rows, cols) that the image has by the calibration.
    ``doubt`` is what to tell the user, empty where the calibration fits.
    """

    offset: Size
    size: Size
    expected: tuple[float, float]
    doubt: str = ''
    fits: bool = True

    def intrinsics(self, info: CameraInfo) -> npt.NDArray[np.float64]:
        """Return K (3, 3) of the region, in the calibration's pixels."""
        k = np.array(info.k, np.float64).reshape(3, 3)
        k[0, 2] -= self.offset[1]
        k[1, 2] -= self.offset[0]
        return k


def view_of(info: CameraInfo, image: Size) -> View:
    """Return what an ``image`` (rows, cols) shows of a calibration.

    A driver may fill in the region of interest or binning and not apply it, so either, both or
    none may explain the size.  Where nothing does, an image of the same aspect is taken for
    scaled; one of another aspect does not fit.
    """
    regions = [((0, 0), (info.height, info.width))]
    if info.roi.height and info.roi.width:
        regions.insert(0, ((info.roi.y_offset, info.roi.x_offset),
                           (info.roi.height, info.roi.width)))
    views = []
    for (offset, size), (y, x) in product(
            regions, ((max(info.binning_y, 1), max(info.binning_x, 1)), (1, 1))):
        rows, cols = size[0] / y, size[1] / x
        if abs(rows - image[0]) < 1 and abs(cols - image[1]) < 1:
            return View(offset, size, image)
        views.append(View(offset, size, (rows, cols)))
    sizes = (f'the calibration on camera_info is of {info.width}x{info.height}, the images are of '
             f'{image[1]}x{image[0]}')
    view = views[0]  # as the message is meant
    if not all(view.expected):
        return View((0, 0), image, image, f'{sizes}: it is passed on as theirs; fill in width '
                                          'and height, or calibrate the camera')
    rows, cols = (seen / side for seen, side in zip(image, view.expected, strict=True))
    if abs(rows / cols - 1) <= SAME_ASPECT:
        return replace(view, doubt=(
            f'{sizes}: it is scaled to them, which is wrong if they are cropped; calibrate the '
            'camera in the mode that it runs in'))
    return replace(view, fits=False, doubt=(
        f'{sizes}, which is no scaled view of that: depth comes without depth/camera_info; '
        'calibrate the camera in the mode that it runs in'))
