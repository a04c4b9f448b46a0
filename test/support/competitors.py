"""What several processes do at once: here, because a new process has to import it by name."""

import threading
import time
from pathlib import Path

import pytest
from support.caches import KEY, PLAN
from support.weight_samples import NAME, isolate, register, tiny_checkpoint, tiny_entry, tiny_file

from asyncmde_ros import weights
from asyncmde_ros.engine import tensorrt_build
from asyncmde_ros.engine.interface import EngineOptions
from asyncmde_ros.engine.plans import PlanStore
from asyncmde_ros.engine.tensorrt_build import BuildJob, build
from asyncmde_ros.weights import canonical, npm
from asyncmde_ros.weights.registry import Npm, Pinned

SLOW_SOURCE_S = 0.2
"""Long enough for every process to arrive at the lock."""


def fetch_in_a_process(cache_home: str, log: str) -> None:
    patch = pytest.MonkeyPatch()
    isolate(patch, Path(cache_home))
    register(patch, tiny_entry(Npm('tiny', '1', 'sha512-', 0, Pinned('', '', 0),
                                   Pinned('', 'blob', 0), reproduces_canonical=True)))

    def obtain(*_: object) -> canonical.Tensors:
        with Path(log).open('a') as told:
            told.write('fetched\n')
        time.sleep(SLOW_SOURCE_S)
        return tiny_checkpoint()
    patch.setattr(npm, 'obtain', obtain)
    assert weights.fetch(NAME).read_bytes() == tiny_file()


def build_in_a_process(directory: str, log: str) -> None:
    def build_in(*_: object) -> tuple[bytes, float]:
        with Path(log).open('a') as told:
            told.write('built\n')
        time.sleep(SLOW_SOURCE_S)
        return PLAN, 1.0
    pytest.MonkeyPatch().setattr(tensorrt_build, 'build_in_process', build_in)
    assert build(PlanStore(Path(directory)), BuildJob(KEY, b''), EngineOptions()) == PLAN


def hold_the_lock(directory: Path, seconds: float) -> None:
    with PlanStore(directory).locked(KEY, threading.Event()):
        (directory / 'held').touch()
        time.sleep(seconds)
