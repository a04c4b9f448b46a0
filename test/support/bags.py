"""Messages as a recorder would have them: small pictures, each of another colour."""

import cv2
import numpy as np
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_JAZZY)
MSG = TYPES.types
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 50_000_000
TRANSPORT_NS = 3_000_000  # from capture to recorder

Record = tuple[str, str, int, object]  # topic, type, time of recording, message


def header(stamp_ns: int) -> object:
    stamp = MSG['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 10**9))
    return MSG['std_msgs/msg/Header'](stamp, 'camera')


def picture(index: int) -> np.ndarray:
    return np.full((16, 24, 3), (10 * index, 50, 200), np.uint8)


def image(index: int, topic: str = '/camera', stamped: bool = True, **fields: object) -> Record:
    capture_ns = START_NS + index * PERIOD_NS
    values = {'height': 16, 'width': 24, 'encoding': 'rgb8', 'is_bigendian': 0, 'step': 72,
              'data': picture(index).ravel()} | fields
    message = MSG[IMAGE](header(capture_ns if stamped else 0), **values)
    return topic, IMAGE, capture_ns + TRANSPORT_NS, message


def compressed(index: int, topic: str = '/camera/compressed', data: bytes | None = None) -> Record:
    if data is None:
        data = cv2.imencode('.png', picture(index)[..., ::-1])[1].tobytes()
    capture_ns = START_NS + index * PERIOD_NS
    message = MSG[COMPRESSED](header(capture_ns), 'rgb8; png compressed rgb8',
                              np.frombuffer(data, np.uint8))
    return topic, COMPRESSED, capture_ns + TRANSPORT_NS, message


def text(index: int) -> Record:
    return '/words', 'std_msgs/msg/String', START_NS, MSG['std_msgs/msg/String']('hello')
