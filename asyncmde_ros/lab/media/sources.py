"""Open a source of frames without ROS: a video file, a camera or a recorded bag."""

from pathlib import Path

from asyncmde_ros.lab.media.camera import CameraSource
from asyncmde_ros.lab.media.frames import FrameSource


def open_video(path: Path) -> FrameSource:
    """Open a video file of any kind that FFmpeg decodes.

    Frames are the stored pixels, turned upright as the file asks, in 8 bits: interlaced ones
    are shown as they are, pixels that are not square are not stretched, and high dynamic range
    is not mapped.  Stamps are the file's own; where one is missing or does not rise, it follows
    the one before by a period.  What cannot be decoded is left out, with a warning, and so is
    what rests on it; a file that ends before its time is named in a warning, too.  Raises
    MediaError where the file is missing or no frame can be decoded.
    """
    from asyncmde_ros.lab.media.video import VideoSource  # only videos need PyAV
    return VideoSource(path)


def open_camera(index: int) -> FrameSource:
    """Open the camera that OpenCV numbers ``index``.  Raises MediaError where it cannot."""
    return CameraSource(index)


def open_bag(path: Path, topic: str | None) -> FrameSource:
    """Open a ROS 2 bag: its folder, or a single .mcap or .db3 file, zstd-compressed or not.

    ``topic`` may be None where the bag has one image topic (Image or CompressedImage).  Frames
    are stamped by their headers, or by the recorder where those make no sense.  Damaged images
    are dropped with a warning, and of what a killed recorder left all that is complete is read.
    Raises MediaError naming the image topics where ``topic`` is not one of them, for a bag that
    cannot be read, and where no image, or none of the first thirty, has a supported encoding.
    """
    from asyncmde_ros.lab.media.bag import BagSource  # only bags need rosbags
    return BagSource(path, topic)
