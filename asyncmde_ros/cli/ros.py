"""The commands' way to ROS 2, which may not be installed."""

import importlib
import os
from typing import Any

from asyncmde_ros.errors import AsyncMDEError

INSTALL = 'source an installation, or pip install ".[ros]" in its source'


def load_run(name: str, purpose: str, local: bool) -> Any:
    """Return the module ``asyncmde_ros.lab.runs.<name>``; AsyncMDEError if there is no ROS 2.

    ``purpose`` begins the error: "the demo needs".  ``local``: nothing of this should show up on
    a lab's network, unless the environment says otherwise.
    """
    if local:
        os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    from asyncmde_ros.ros.environment import prepare
    prepare()
    try:
        return importlib.import_module(f'asyncmde_ros.lab.runs.{name}')
    except ImportError as error:
        raise AsyncMDEError(f'{purpose} ROS 2 ({error}): {INSTALL}') from error
