"""The parameters of the event node."""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from asyncmde_ros.events.packets import check_sensor
from asyncmde_ros.events.reconstruction import DECAY_NS
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.declaration import Settable, parameter
from asyncmde_ros.pipeline.settings import Settings
from asyncmde_ros.ros.configuration import EngineConfiguration, declared, user_path
from asyncmde_ros.ros.metric_settings import MetricSettings
from asyncmde_ros.ros.query_settings import QuerySettings

AUTO = 'auto'
PACKET, ARRAY, CLOUD = 'packet', 'array', 'cloud'

_configured = partial(parameter, settable=Settable.UNCONFIGURED)


def _sensor(text: str) -> Size | None:
    """Return a sensor's (rows, cols), None where a text names none; ValueError for nonsense."""
    if not text.strip():
        return None
    found = re.fullmatch(r'(\d+)\s*[xX]\s*(\d+)', text.strip())
    if found is None:
        raise ValueError(f'{text!r} is no size: write columns x rows, as in 640x480')
    size = int(found[2]), int(found[1])
    check_sensor(size)
    return size


@dataclass(frozen=True)
class EventConfiguration(EngineConfiguration):
    """What is read when the event node is configured; ``sensor`` is (rows, cols)."""

    message: str = _configured(
        AUTO, 'events.message',
        'Message type of the input. packet: event_camera_msgs/EventPacket. array: '
        'dvs_msgs/EventArray. cloud: sensor_msgs/PointCloud2 with the fields x, y, t and p. auto: '
        'what is published on the topic.', choices=(AUTO, PACKET, ARRAY, CLOUD))
    reliability: str = _configured(
        AUTO, 'events.reliability',
        'Reliability (QoS) of the subscription to events. auto: reliable if every publisher '
        'offers it.', choices=(AUTO, 'reliable', 'best_effort'))
    sensor: Size | None = _configured(
        None, 'events.sensor',
        "Columns x rows of the sensor, as in 640x480, which clouds do not tell. Other messages' "
        'own size counts.', text='', parse=_sensor)
    window_s: float = _configured(
        0.033, 'events.window',
        'How often there is depth [s]: events are cut into windows of this length, whether or not '
        'there are any.', low=0.002, high=1.0)
    decay_s: float = _configured(
        DECAY_NS / 1e9, 'events.decay',
        'After how long an event counts 1/e in the picture [s]. Longer shows more of what moves '
        'slowly, and smears what moves fast.', low=0.01, high=10.0)
    adapter: Path | None = _configured(
        None, 'events.adapter',
        'Path of a file that adapts the foundation model to pictures of events, also for glances. '
        'none: nothing does. Empty: the shipped one.', text='', parse=user_path)


PARAMETERS = declared(EventConfiguration, Settings, MetricSettings, QuerySettings)
BY_NAME = {declaration.name: declaration for declaration in PARAMETERS}
