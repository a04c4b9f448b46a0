"""The process that builds a TensorRT plan, started by ``processes.start``.

A build takes seconds to minutes, gigabytes, and on a bad day the process with it, so it gets a
process of its own.  It says on standard output how far it is, a JSON object a line: ``what`` and
``fraction`` (0 to 1), at last ``seconds`` or ``error``.  When it is abandoned (the parent
cancelled, or died) it stops at the next step.
"""

import argparse
import importlib
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from asyncmde_ros.engine.tensorrt_log import shared_logger
from asyncmde_ros.errors import EngineError, in_words
from asyncmde_ros.files import write_atomically
from asyncmde_ros.processes import abandoned


def build(trt: Any, onnx: bytes, compute_capability: str | None, monitor: Any) -> bytes:
    """Return the plan for this GPU, or for one of another ``compute_capability``."""
    logger = shared_logger(trt)
    builder = trt.Builder(logger)
    flags = trt.NetworkDefinitionCreationFlag.__members__
    # A network is nothing else where there is no such flag any more.
    network = builder.create_network(1 << int(flags['STRONGLY_TYPED'])
                                     if 'STRONGLY_TYPED' in flags else 0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx):
        raise EngineError('it does not read the graph: ' + '; '.join(
            ' '.join(parser.get_error(index).desc().split())
            for index in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.progress_monitor = monitor
    if compute_capability is not None:
        _aim_at(trt, config, compute_capability)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(logger.errors.first())
    return bytes(plan)


def _aim_at(trt: Any, config: Any, compute_capability: str) -> None:
    """Build for a GPU that need not be in this machine, which only TensorRT for RTX can."""
    if not hasattr(trt, 'ComputeCapability'):
        raise EngineError(f'TensorRT {trt.__version__} builds for the GPU in the machine only: '
                          'leave the compute capability out, or take tensorrt_rtx')
    known = {name: value for name, value in trt.ComputeCapability.__members__.items()
             if name.startswith('SM')}
    name = 'SM' + compute_capability.replace('.', '')
    if name not in known:
        raise EngineError(f'it does not build for compute capability {compute_capability}, only '
                          'for ' + ', '.join(f'{sm[2:-1]}.{sm[-1]}' for sm in known))
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(known[name], 0):
        raise EngineError(f'it does not take compute capability {compute_capability}')


def progress_monitor(trt: Any, stop: threading.Event) -> Any:
    """Return what TensorRT tells its progress to; ``stop`` set ends the build."""
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._top: str | None = None

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._steps[phase] = max(1, steps)
            if not parent:
                self._top = phase

        def step_complete(self, phase: str, step: int) -> bool:
            if phase == self._top:
                _say(what=phase, fraction=min(1.0, (step + 1) / self._steps[phase]))
            return not stop.is_set()

        def phase_finish(self, phase: str) -> None:
            self._steps.pop(phase, None)
    return Monitor()


def _say(**words: object) -> None:
    print(json.dumps(words), flush=True)


def main() -> int:
    """Build as the command line says; 1 with an ``error`` line if it failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('module')
    parser.add_argument('onnx', type=Path)
    parser.add_argument('plan', type=Path)
    parser.add_argument('--compute-capability')
    args = parser.parse_args()
    # Ctrl-C reaches the parent, too, which then lets us go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    started = time.monotonic()
    try:
        trt = importlib.import_module(args.module)
        plan = build(trt, args.onnx.read_bytes(), args.compute_capability,
                     progress_monitor(trt, abandoned))
        if abandoned.is_set():
            raise EngineError('the build was cancelled')
        write_atomically(args.plan, plan)
    except Exception as error:  # whatever it is, the parent shall read it
        _say(error='the build was cancelled' if abandoned.is_set() else in_words(error))
        return 1
    _say(seconds=round(time.monotonic() - started, 2))
    return 0


if __name__ == '__main__':
    sys.exit(main())
