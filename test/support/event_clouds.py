"""A moving picture before a simulated event camera, as clouds of events."""

import itertools
from collections.abc import Iterator

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from asyncmde_ros.events.packets import Events
from asyncmde_ros.events.simulator import Simulator
from asyncmde_ros.ros.messages import from_nanoseconds, set_data

SIZE = (120, 160)
STEP_NS = 10_000_000
STEPS = 40
"""There and back."""

LAYOUT = np.dtype([('x', '<u2'), ('y', '<u2'), ('t', '<u4'), ('p', 'u1')])
TYPES = {'x': PointField.UINT16, 'y': PointField.UINT16, 't': PointField.UINT32,
         'p': PointField.UINT8}


def swaying(seed: int = 0) -> list[Events]:
    """Return the events of each step, from its beginning on, of a picture that goes to and fro.

    The last step leads back to where the first one began.
    """
    rng = np.random.default_rng(seed)
    tiles = np.kron(rng.integers(20, 235, (15, 30), np.uint8), np.ones((8, 8), np.uint8))
    scene = cv2.GaussianBlur(tiles, (0, 0), 1.0)
    there = [*range(STEPS // 2), *range(STEPS // 2, 0, -1)]
    simulator = Simulator(SIZE, seed=seed)
    found = [simulator.see(scene[:, at:at + SIZE[1]], (index + 1) * STEP_NS)
             for index, at in enumerate([*there, 0])]
    return [Events(events.x, events.y, events.t - (index + 1) * STEP_NS, events.p, SIZE)
            for index, events in enumerate(found[1:])]


def cloud(events: Events, stamp: Time, frame_id: str = 'event_camera') -> PointCloud2:
    """Return events, whose times are from ``stamp`` on, as a bridge publishes them."""
    table = np.zeros(len(events), LAYOUT)
    table['x'], table['y'], table['t'], table['p'] = events.x, events.y, events.t, events.p
    message = PointCloud2(
        header=Header(stamp=stamp, frame_id=frame_id), height=1, width=len(table),
        point_step=LAYOUT.itemsize, row_step=LAYOUT.itemsize * len(table), is_dense=True,
        fields=[PointField(name=name, offset=LAYOUT.fields[name][1],  # type: ignore[index]
                           datatype=TYPES[name], count=1) for name in TYPES])
    set_data(message, table)
    return message


class Swaying:
    """The sensor: each call gives the cloud of the next step, stamped evenly from a start on."""

    def __init__(self, start_ns: int) -> None:
        self._steps: Iterator[Events] = itertools.cycle(swaying())
        self.now_ns = start_ns

    def __call__(self) -> PointCloud2:
        message = cloud(next(self._steps), from_nanoseconds(self.now_ns))
        self.now_ns += STEP_NS
        return message
