"""From a shipped graph to a TensorRT plan: found in the store, or built in another process."""

import contextlib
import hashlib
import json
import logging
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from asyncmde_ros import processes
from asyncmde_ros.engine.cuda import Device
from asyncmde_ros.engine.interface import EngineOptions, Precision, Specification
from asyncmde_ros.engine.plans import Key, PlanStore
from asyncmde_ros.engine.specialise import specialise
from asyncmde_ros.engine.tensorrt_library import load_module
from asyncmde_ros.errors import EngineError

logger = logging.getLogger(__name__)

POLL_S = 0.1

GRACE_S = 2.0
"""How long a cancelled build may take to end by itself."""

LAST_WORDS = 2000
"""Characters of a crashed build's standard error that are shown."""


@dataclass(frozen=True)
class BuildJob:
    """A graph to be had as a plan."""

    key: Key
    onnx: bytes


def plan_job(trt: Any, backend: str, wanted: Specification, precision: Precision,
             device: Device) -> BuildJob:
    """Specialise a graph and name its plan.  ``device`` without a name: any of its kind."""
    onnx = specialise(wanted.path, wanted.weights, wanted.shapes, wanted.outputs, precision)
    driver = str(device.driver) if device.driver else ''
    return BuildJob(Key(hashlib.sha256(onnx).hexdigest(), wanted.graph.value, wanted.model,
                        f'{wanted.size[0]}x{wanted.size[1]}', precision.value, backend,
                        trt.__version__, device.compute_capability, device.name, driver), onnx)


def prebuild(backend: str, wanted: Specification, options: EngineOptions,
             compute_capability: str) -> None:
    """Build a plan for any GPU of a compute capability, in this machine or not."""
    trt, store = load_module(backend), PlanStore(options.engines)
    job = plan_job(trt, backend, wanted, options.precision, Device('', compute_capability, 0))
    build(store, job, options)


def find_or_build(store: PlanStore, job: BuildJob, options: EngineOptions) -> tuple[Key, bytes]:
    """Return the plan and the key that it is kept under; builds it if the store lacks it."""
    for key in (job.key, job.key.for_any_machine()):
        plan = store.load(key)
        if plan is not None:
            return key, plan
    return job.key, build(store, job, options)


def build(store: PlanStore, job: BuildJob, options: EngineOptions) -> bytes:
    """Build and keep the plan; one process at a time.  EngineError says what went wrong."""
    with store.locked(job.key, options.cancel):
        plan = store.load(job.key)  # another process may have built it meanwhile
        if plan is None:
            try:
                with store.workspace(job.key) as folder:
                    plan, seconds = build_in_process(folder, job, options)
            except OSError as error:
                raise EngineError(f'cannot build the engine: {error}') from error
            store.save(job.key, plan, seconds)
        return plan


def build_in_process(folder: Path, job: BuildJob, options: EngineOptions) -> tuple[bytes, float]:
    """Build in a process of its own, with files in ``folder``; return the plan and the seconds.

    EngineError with what the process said, or with its end.
    """
    onnx, plan = folder / 'graph.onnx', folder / 'graph.plan'
    onnx.write_bytes(job.onnx)
    arguments = [job.key.backend, str(onnx), str(plan)]
    if not job.key.gpu:
        arguments += ['--compute-capability', job.key.compute_capability]
    what = f'{job.key.backend} engine, {job.key.graph} network, {job.key.size}'
    logger.info('building the %s', what)
    with (folder / 'stderr').open('w+b') as stderr:
        last = _follow(arguments, stderr, what, options)
        if 'seconds' in last:
            logger.info('built the %s in %g s', what, last['seconds'])
            return plan.read_bytes(), float(last['seconds'])
        stderr.seek(0)
        reason = last.get('error') or ('the process that built it died\n' + stderr.read().decode(
            errors='replace')[-LAST_WORDS:].strip())
    raise EngineError(f'cannot build the {what}: {reason}')


def _follow(arguments: list[str], stderr: Any, what: str, options: EngineOptions
            ) -> dict[str, Any]:
    """Run a worker to its end, or until cancelled; return the last object that it said."""
    lines: SimpleQueue[bytes | None] = SimpleQueue()
    last: dict[str, Any] = {}
    with processes.start('asyncmde_ros.engine.tensorrt_worker', *arguments,
                         stdout=subprocess.PIPE, stderr=stderr) as worker:
        def read() -> None:
            assert worker.stdout is not None
            for line in worker.stdout:
                lines.put(line)
            lines.put(None)
        threading.Thread(target=read, name='build_progress', daemon=True).start()
        try:
            while True:
                if options.cancel.is_set():
                    return {'error': 'cancelled'}
                try:
                    line = lines.get(timeout=POLL_S)
                except Empty:
                    continue
                if line is None:
                    break
                with contextlib.suppress(ValueError):  # TensorRT itself may print
                    said = json.loads(line)
                    last = said if isinstance(said, dict) else last
                    if 'fraction' in last:
                        options.progress(f'{what}: {last["what"]}', last['fraction'])
        finally:
            _end(worker)
    return last


def _end(worker: 'subprocess.Popen[bytes]') -> None:
    """Tell a worker to stop, which it does at its next step, and see that it does."""
    assert worker.stdin is not None
    with contextlib.suppress(OSError):
        worker.stdin.close()
    try:
        worker.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        worker.kill()
