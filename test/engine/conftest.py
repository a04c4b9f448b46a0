"""What the tests of GPU graphs compare with."""

from pathlib import Path

import pytest

from asyncmde_ros.engine.interface import Precision
from asyncmde_ros.engine.loader import Model, Threads


@pytest.fixture(scope='module')
def model(foundation_path: Path) -> Model:
    """The shipped graphs in float32 on the CPU."""
    return Model(backend='openvino', precision=Precision.FP32, threads=Threads(1, 1),
                 foundation=foundation_path)
