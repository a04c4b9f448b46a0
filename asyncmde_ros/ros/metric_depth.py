"""Metres for the node: from what sensors measured to what is published, frame by frame."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from asyncmde_ros.pipeline.results import DepthResult
from asyncmde_ros.ros.lens import LensKeeper, is_rectified
from asyncmde_ros.ros.measuring import ImageView
from asyncmde_ros.ros.messages import NANOSECONDS
from asyncmde_ros.ros.metric_outputs import MetricOutputs, scale_values
from asyncmde_ros.ros.metric_settings import FIXED, NONE, MetricSettings
from asyncmde_ros.ros.query_messages import Metres
from asyncmde_ros.ros.scale_sources import ScaleSources
from asyncmde_ros.scale.estimator import Scale, ScaleEstimator


class MetricDepth:
    """Estimates the scale with every frame, and publishes metres where it is known."""

    def __init__(self, node: LifecycleNode, settings: Callable[[], MetricSettings]) -> None:
        """``settings`` reads the parameters; see :meth:`follow_settings`."""
        self._node, self._read = node, settings
        self._settings = settings()
        self._outputs = MetricOutputs(node)
        self._listening = False
        self._sources: ScaleSources | None = None
        self._lens = LensKeeper()
        self._start()

    def _start(self) -> None:
        self._estimator = ScaleEstimator()
        self._generation: int | None = None
        self._scale: Scale | None = None

    def open(self, image_topic: str) -> None:
        """Listen to the sensors; ``image_topic`` is the images' full name."""
        self._listening = True
        self._lens = LensKeeper(is_rectified(image_topic))
        self._start()
        self.follow_settings()

    def close(self) -> None:
        """Listen no longer."""
        self._listening = False
        self._close_sources()

    def follow_settings(self) -> None:
        """Read the parameters, and listen to the sources that are asked for."""
        before, self._settings = self._settings, self._read()
        if self._sources is not None and self._settings.listens_as(before):
            return
        self._close_sources()
        if self._listening and set(self._settings.sources) - {FIXED}:
            self._sources = ScaleSources(self._node, self._settings)
        self._start()

    def _close_sources(self) -> None:
        if self._sources is not None:
            self._sources.close()
            self._sources = None

    def update(self, header: Header, rgb: npt.NDArray[np.uint8], info: CameraInfo | None,
               result: DepthResult) -> Metres | None:
        """Take an image's relative depth; publish what is known of it in metres, and return it.

        ``result`` has its map where :attr:`wants_map` says so.
        """
        depth, keyframe, settings = result.depth, result.keyframe, self._settings
        if not settings.sources or keyframe is None:
            return None
        lens = self._lens.of(info, rgb.shape[:2], settings.rectified)
        scale, largest_m = self._fixed_scale(), settings.largest_m
        if self._sources is not None and depth is not None:
            refreshed = keyframe.generation != self._generation
            self._generation = keyframe.generation
            measured = [] if lens is None else self._sources.take(
                header, rgb, ImageView(lens, header.frame_id))
            scale = self._estimator.update(result.stamp_ns / NANOSECONDS, depth, measured,
                                           refreshed)
            largest_m = min(largest_m, self._sources.largest_m)
        self._scale = scale
        if scale is None or settings.too_old(scale.age_s):
            return None
        if depth is not None:
            self._outputs.publish(header, depth, rgb, lens, scale, settings, largest_m)
        return None if lens is None else Metres(lens, scale, largest_m)

    def _fixed_scale(self) -> Scale | None:
        a, b = self._settings.fixed
        if FIXED not in self._settings.sources or not a:
            return None
        return Scale(a, b, np.zeros((2, 2)), 0.0, 0, 0, None, False, (FIXED,))

    @property
    def wants_map(self) -> bool:
        """Tell whether the whole depth map is needed: by a source, or by who listens."""
        return self._sources is not None or (bool(self._settings.sources)
                                             and self._outputs.wanted)

    @property
    def asked(self) -> bool:
        """Tell whether metres are asked for: by a source, or by who listens."""
        return bool(self._settings.sources) or (self._listening and self._outputs.wanted)

    def trouble(self) -> str:
        """Say why there are no metres, and what to do; empty where there are."""
        settings, scale = self._settings, self._scale
        if not settings.sources:
            return (f'metres are asked for, and scale.source is {NONE}: set it to what the robot '
                    'has (docs/metres.md)')
        if scale is not None:
            if settings.too_old(scale.age_s):
                return (f'nothing was measured for {scale.age_s:.0f} s, longer than '
                        f'scale.max_silence: {self._why_silent()}')
            return ''
        if FIXED in settings.sources and not settings.fixed[0]:
            return 'scale.source is fixed, and scale.fixed is not set'
        return f'metres are asked for, and no source speaks: {self._why_silent()}'

    def values(self) -> dict[str, str]:
        """Return what /diagnostics tells of the scale."""
        return {} if self._scale is None else scale_values(self._scale)

    def _why_silent(self) -> str:
        if self._lens.trouble:
            return self._lens.trouble
        return '' if self._sources is None else self._sources.why_silent()
