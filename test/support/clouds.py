"""A PointCloud2 as a reader sees it who knows its definition and nothing else."""

import numpy as np
from sensor_msgs.msg import PointCloud2

TYPES = {2: 'u1', 7: 'f4'}
"""sensor_msgs/msg/PointField.msg."""


def table(message: PointCloud2) -> np.ndarray:
    """Return a cloud's points as a structured array (n,)."""
    layout = np.dtype({'names': [field.name for field in message.fields],
                       'formats': [TYPES[field.datatype] for field in message.fields],
                       'offsets': [field.offset for field in message.fields],
                       'itemsize': message.point_step})
    assert message.row_step == message.point_step * message.width
    return np.frombuffer(bytes(message.data), layout)
