"""The depth node: a camera's images in, relative depth out, at the camera's rate."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sensor_msgs.msg import CompressedImage, Image

from asyncmde_ros.ros import parameters
from asyncmde_ros.ros.configuration import BY_NAME, Configuration
from asyncmde_ros.ros.diagnostics import Circumstances
from asyncmde_ros.ros.images import to_rgb
from asyncmde_ros.ros.inputs import ImageInput
from asyncmde_ros.ros.pipeline_node import Frame, PipelineNode
from asyncmde_ros.ros.tokens import OVERRUN

WAITING_FRAMES = 2
"""Images that may wait, where one that waited too long is answered in a moment."""


class DepthNode(PipelineNode):
    """A camera's images to depth."""

    def __init__(self) -> None:
        self._images: ImageInput | None = None
        self._warps = False
        super().__init__('depth_node', Configuration, BY_NAME)

    def listen(self) -> str:
        asked = parameters.read_as(self, Configuration)
        self._warps = asked.overload == 'warp'
        self._images = ImageInput(self, self._on_image, asked.image_transport, asked.reliability,
                                  WAITING_FRAMES if self._warps else 1)
        return self._images.topic

    def listen_no_longer(self) -> None:
        if self._images is not None:
            self._images.close()
            self._images = None

    def circumstances(self, around: Circumstances) -> Circumstances:
        if self._images is None:
            return around
        return replace(around, publishers=self._images.publishers, trouble=self._images.trouble)

    def _on_image(self, message: Image | CompressedImage, info: Mapping[str, Any]) -> None:
        if self._pipeline is None or self._images is None:
            return
        started_ns = time.time_ns()
        self.statistics.image()
        missed = self._images.missed(info)
        if missed:
            self.statistics.drop(OVERRUN, missed)
        # Zero or absent where a middleware, or Humble, does not tell when a message came.
        received_ns = info.get('received_timestamp') or started_ns
        with self.losing_no_more():
            rgb = to_rgb(message, self._images.stream)
            self.give_depth(Frame(message.header, rgb, received_ns, started_ns, self._warps))
