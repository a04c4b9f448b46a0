"""What is published in metres; nothing is computed that nobody listens to."""

import math

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.preprocess import shrink
from asyncmde_ros.ros.messages import float_image, millimetre_image
from asyncmde_ros.ros.metric_settings import Encoding, MetricSettings
from asyncmde_ros.ros.point_cloud import cloud_message
from asyncmde_ros.ros.publishers import depth_publisher
from asyncmde_ros.scale.cloud import cloud
from asyncmde_ros.scale.estimator import Scale
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.metric import metric, millimetres
from asyncmde_ros.scale.observations import Map


class MetricOutputs:
    """The publishers of ``depth/metric``, ``depth/points`` and ``depth/scale``."""

    def __init__(self, node: LifecycleNode) -> None:
        self._metric = depth_publisher(node, Image, 'metric')
        self._points = depth_publisher(node, PointCloud2, 'points')
        self._scale = depth_publisher(node, DiagnosticArray, 'scale')
        self._rays: tuple[tuple[Lens, Size, int], npt.NDArray[np.float32]] | None = None

    @property
    def wanted(self) -> bool:
        """Tell whether somebody listens to what needs metres."""
        return bool(self._metric.get_subscription_count()
                    or self._points.get_subscription_count())

    def publish(self, header: Header, relative: Map, rgb: npt.NDArray[np.uint8],
                lens: Lens | None, scale: Scale, settings: MetricSettings, largest_m: float
                ) -> None:
        """Publish what is known of an image's relative depth (h, w) in metres.

        ``lens`` is that of the image, None where it is not known: then there is no cloud.
        ``rgb`` (H, W, 3) gives the cloud its colors.  What is beyond ``largest_m`` is unknown.
        """
        if self._scale.get_subscription_count():
            self._scale.publish(scale_message(header, scale))
        clouded = lens is not None and self._points.get_subscription_count()
        if not (clouded or self._metric.get_subscription_count()):
            return
        depth_m = metric(relative, scale.a, scale.b, scale.covariance, largest_m)
        if self._metric.get_subscription_count():
            self._metric.publish(millimetre_image(header, millimetres(depth_m))
                                 if settings.encoding is Encoding.MILLIMETRES
                                 else float_image(header, depth_m))
        if clouded and lens is not None:
            image = shrink(rgb, relative.shape) if settings.color else None
            self._points.publish(cloud_message(header, cloud(
                depth_m, self._rays_of(lens, relative.shape, settings.stride), settings.stride,
                settings.organised, image)))

    def _rays_of(self, lens: Lens, size: Size, stride: int) -> npt.NDArray[np.float32]:
        """Return the rays, which take tens of milliseconds to find, once for each lens."""
        key = lens, size, stride
        if self._rays is None or self._rays[0] != key:
            self._rays = key, lens.scaled(size).ray_map(stride)
        return self._rays[1]


def scale_message(header: Header, scale: Scale) -> DiagnosticArray:
    """Return what is known of 1/m = a * relative + b."""
    values = scale_values(scale)
    return DiagnosticArray(header=header, status=[DiagnosticStatus(
        level=DiagnosticStatus.OK, name='scale', message='1/m = a * relative + b',
        values=[KeyValue(key=key, value=value) for key, value in values.items()])])


def scale_values(scale: Scale) -> dict[str, str]:
    """Return what a scale is, as texts; numbers in full, as ``float`` reads them."""
    figures: dict[str, object] = {
        'a': scale.a, 'b': scale.b,
        'a_sigma': math.sqrt(scale.covariance[0, 0]),
        'b_sigma': math.sqrt(scale.covariance[1, 1]),
        'ab_covariance': float(scale.covariance[0, 1]),
        'age_s': scale.age_s,
        'observations': scale.observations,
        'inliers': scale.inliers,
        'residual': '' if scale.residual is None else scale.residual,
        'degenerate': str(scale.degenerate).lower(),
        'source': ','.join(scale.sources)}
    return {key: str(value) for key, value in figures.items()}
