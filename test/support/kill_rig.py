"""Kills writers, for real, and looks at what they leave.

``python -m support.kill_rig JOB MODE FOLDER`` is a program of its own, so that it may fork and
kill as it likes.  It prints, as JSON, how many writers it killed and every wrong thing that it
found afterwards.
"""

import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support.caches import KEY
from support.weight_samples import (
    FILE,
    NAME,
    isolate,
    register,
    tiny_checkpoint,
    tiny_entry,
    tiny_file,
)

from asyncmde_ros import weights
from asyncmde_ros.engine import tensorrt_build
from asyncmde_ros.engine.interface import EngineOptions
from asyncmde_ros.engine.plans import PlanStore
from asyncmde_ros.engine.tensorrt_build import BuildJob, find_or_build
from asyncmde_ros.weights import npm
from asyncmde_ros.weights.registry import Npm, Pinned

PLAN, OLD_PLAN = (bytes([fill]) * (4 << 20) for fill in (1, 2))
SYSTEM_CALLS = {'open', 'write', 'flush', 'fsync', 'replace', 'unlink', 'mkdir', 'flock', 'stat',
                'read', 'scandir'}
"""Names of the functions of C whose calls are the steps of a writer."""
KILLS = 60
LONGEST_LIFE_S = 0.03
"""Several writes of either kind."""


@dataclass
class Kind:
    """A kind of file: how it is written, and what may be found afterwards.

    ``begin`` puts the folder in the state before a write, ``produce`` is the program's own way to
    the file, ``wrong`` says what is wrong with what is there, None if it is whole or absent.
    """

    begin: Callable[[bool], None]
    produce: Callable[[], None]
    wrong: Callable[[], str | None]
    present: Callable[[], bool]


def weights_kind(folder: Path, patch: pytest.MonkeyPatch) -> Kind:
    """The foundation model's file, written by ``weights.fetch``."""
    cache = isolate(patch, folder)
    register(patch, tiny_entry(Npm('tiny', '1', 'sha512-', 0, Pinned('', '', 0),
                                   Pinned('', 'blob', 0), reproduces_canonical=True)))
    checkpoint, content = tiny_checkpoint(), tiny_file()
    patch.setattr(npm, 'obtain', lambda *_: checkpoint)
    path = cache / FILE

    def begin(old: bool) -> None:
        shutil.rmtree(cache, ignore_errors=True)
        if old:
            cache.mkdir(parents=True)
            path.write_bytes(tiny_file(seed=1))

    def wrong() -> str | None:
        known = (content, tiny_file(seed=1))
        return 'torn weights' if path.exists() and path.read_bytes() not in known else None

    return Kind(begin, lambda: check(weights.fetch(NAME).read_bytes() == content), wrong,
                lambda: path.exists() and path.read_bytes() == content)


def plan_kind(folder: Path, patch: pytest.MonkeyPatch) -> Kind:
    """A TensorRT plan, written by the store."""
    store, job = PlanStore(folder / 'engines'), BuildJob(KEY, b'')
    patch.setattr(tensorrt_build, 'build_in_process', lambda *_: (PLAN, 1.0))

    def begin(old: bool) -> None:
        shutil.rmtree(store.directory, ignore_errors=True)
        if old:  # a plan that is replaced, because it is not loaded any more
            store.save(KEY, OLD_PLAN, 1.0)
            store.path(KEY).with_suffix('.json').unlink()

    def wrong() -> str | None:
        return 'torn plan' if store.load(KEY) not in (None, PLAN) else None

    return Kind(begin, lambda: check(find_or_build(store, job, EngineOptions())[1] == PLAN), wrong,
                lambda: store.load(KEY) == PLAN)


KINDS = {'weights': weights_kind, 'plan': plan_kind}


def check(right: bool) -> None:
    if not right:
        raise AssertionError('what was written is not what was wanted')


def forked(work: Callable[[], None], life_s: float | None = None) -> bool:
    """Run ``work`` in a process, killed after ``life_s``; tell whether it ended by itself."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # a child must never return into its parent's program
            print(f'{type(error).__name__}: {error}', file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if life_s is not None:
        time.sleep(life_s)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status):
        check(os.WEXITSTATUS(status) == 0)
        return True
    check(os.WTERMSIG(status) == signal.SIGKILL)
    return False


def killing_itself(work: Callable[[], None], step: int) -> Callable[[], None]:
    """Return ``work`` in a process that is killed right before its ``step``-th system call."""
    def killed() -> None:
        steps = itertools.count()

        def profile(_: FrameType, event: str, function: Any) -> None:
            if event == 'c_call' and function.__name__ in SYSTEM_CALLS and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(profile)
        work()
        sys.setprofile(None)
    return killed


def look(kind: Kind, folder: Path, when: str) -> list[str]:
    """Return what is wrong now, and what after the next start."""
    problems = [f'{when}: {problem}'] if (problem := kind.wrong()) else []
    kind.produce()
    if not kind.present():
        problems.append(f'{when}: not there after the next start')
    problems += [f'{when}: {left} was left' for left in folder.rglob('*.tmp')]
    return problems


def every_step(kind: Kind, folder: Path) -> tuple[int, list[str]]:
    """Kill a writer before each of its system calls, from an empty folder and a used one."""
    killed, problems = 0, []
    for old in (False, True):
        for step in itertools.count():
            kind.begin(old)
            if forked(killing_itself(kind.produce, step)):
                break
            killed += 1
            problems += look(kind, folder, f'step {step}, old {old}')
    return killed, problems


def any_moment(kind: Kind, folder: Path) -> tuple[int, list[str]]:
    """Kill a writer that writes again and again, at random moments."""
    lives = random.Random(0)

    def write_for_ever() -> None:
        while True:
            kind.begin(False)
            kind.produce()

    problems = []
    for kill in range(KILLS):
        forked(write_for_ever, lives.uniform(0, LONGEST_LIFE_S))
        problems += look(kind, folder, f'kill {kill}')
    return KILLS, problems


MODES = {'every_step': every_step, 'any_moment': any_moment}


def main() -> None:
    job, mode, folder = sys.argv[1:]
    killed, problems = MODES[mode](KINDS[job](Path(folder), pytest.MonkeyPatch()),
                                   Path(folder))
    print(json.dumps({'killed': killed, 'problems': problems}))


if __name__ == '__main__':
    main()
