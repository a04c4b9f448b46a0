"""``depth_node`` whose engines take long to build, and that says how far they are.

Builds until the file that ASYNCMDE_BUILT names is there, so that a test decides how long.
"""

import os
import time
from pathlib import Path
from threading import Event

from asyncmde_ros.engine.interface import DepthEngine
from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.ros.main import main

BUILT_FRACTION = 0.4
POLL_S = 0.05
compile_at_once = Model.compile_glance


def compile_slowly(model: Model, size: Size, cancel: Event | None = None) -> DepthEngine:
    built = Path(os.environ['ASYNCMDE_BUILT'])
    while not built.exists():
        model.progress('tensorrt engine, glance network', BUILT_FRACTION)
        time.sleep(POLL_S)
        if cancel is not None and cancel.is_set():
            raise EngineError('cancelled')
    if built.read_text() == 'fail':
        raise EngineError('the engine cannot be built')
    return compile_at_once(model, size, cancel)


if __name__ == '__main__':
    Model.compile_glance = compile_slowly  # type: ignore[method-assign]
    main()
