"""Plans on disk: found by all that matters, whole or not there, one builder at a time."""

import pytest

pytest.importorskip('onnx', reason='left out: needs onnx')

import json
import multiprocessing
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

from support.caches import KEY, PLAN
from support.competitors import hold_the_lock

from asyncmde_ros.engine import tensorrt_build
from asyncmde_ros.engine.interface import EngineOptions
from asyncmde_ros.engine.plans import Key, PlanStore
from asyncmde_ros.engine.tensorrt_build import BuildJob, build, find_or_build
from asyncmde_ros.errors import EngineError


@pytest.fixture
def store(tmp_path: Path) -> PlanStore:
    return PlanStore(tmp_path / 'engines')


@pytest.mark.proves('engine-file')
def test_a_plan_is_found_by_its_key_only(store: PlanStore) -> None:
    store.save(KEY, PLAN, 12.5)
    assert store.load(KEY) == PLAN
    for field in fields(Key):
        assert store.load(replace(KEY, **{field.name: 'other'})) is None, field.name
    about = json.loads(store.path(KEY).with_suffix('.json').read_text())
    assert about['key']['gpu'] == 'Orin' and about['build_seconds'] == 12.5


@pytest.mark.proves('engine-file')
@pytest.mark.parametrize('damage', ['truncated', 'changed', 'empty', 'gone', 'no description',
                                    'half a description', 'a description of another plan'])
def test_a_damaged_plan_is_as_good_as_none(damage: str, store: PlanStore) -> None:
    path = store.save(KEY, PLAN, 1.0)
    about = path.with_suffix('.json')
    {'truncated': lambda: path.write_bytes(PLAN[:-1]),
     'changed': lambda: path.write_bytes(b'A' + PLAN[1:]),
     'empty': lambda: path.write_bytes(b''),
     'gone': path.unlink,
     'no description': about.unlink,
     'half a description': lambda: about.write_text(about.read_text()[:100]),
     'a description of another plan': lambda: about.write_text(json.dumps(
         json.loads(about.read_text()) | {'key': {'gpu': 'another'}}))}[damage]()
    assert store.load(KEY) is None
    store.save(KEY, PLAN, 1.0)
    assert store.load(KEY) == PLAN


def test_the_outcome_of_the_check_is_kept_with_the_plan(store: PlanStore) -> None:
    store.save(KEY, PLAN, 1.0)
    assert not store.checked(KEY)
    store.note_check(KEY, {'m1': 0.001})
    assert store.checked(KEY) and store.load(KEY) == PLAN
    store.save(KEY, PLAN, 1.0)
    assert not store.checked(KEY), 'a new plan must be checked anew'
    store.discard(KEY)
    assert store.load(KEY) is None and not store.checked(KEY)
    store.discard(KEY)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    store = PlanStore(tmp_path / 'file' / 'engines')
    with pytest.raises(Exception, match=str(tmp_path)):
        store.save(KEY, PLAN, 1.0)
    with pytest.raises(Exception, match=str(tmp_path)), store.locked(KEY, threading.Event()):
        pass


def counted_build(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    built: list[str] = []

    def build_in(folder: Path, job: BuildJob, options: EngineOptions) -> tuple[bytes, float]:
        built.append(job.key.gpu)
        time.sleep(0.2)
        return PLAN, 1.0
    monkeypatch.setattr(tensorrt_build, 'build_in_process', build_in)
    return built


def test_it_is_built_once_whoever_asks_and_however_often(
        store: PlanStore, monkeypatch: pytest.MonkeyPatch) -> None:
    built = counted_build(monkeypatch)
    job = BuildJob(KEY, b'')
    threads = [threading.Thread(target=build, args=(store, job, EngineOptions()))
               for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert find_or_build(store, job, EngineOptions()) == (KEY, PLAN) and built == ['Orin']


def test_a_plan_built_elsewhere_for_this_kind_of_gpu_is_taken(
        store: PlanStore, monkeypatch: pytest.MonkeyPatch) -> None:
    built = counted_build(monkeypatch)
    any_machine = KEY.for_any_machine()
    build(store, BuildJob(any_machine, b''), EngineOptions())
    assert find_or_build(store, BuildJob(KEY, b''), EngineOptions()) == (any_machine, PLAN)
    assert built == ['']


@pytest.mark.proves('same-at-once')
def test_another_process_that_builds_is_waited_for_or_given_up(store: PlanStore) -> None:
    store.directory.mkdir()
    hold_s = 1.0
    process = multiprocessing.get_context('spawn').Process(
        target=hold_the_lock, args=(store.directory, hold_s))
    process.start()
    while not (store.directory / 'held').exists():
        assert process.is_alive() or process.exitcode in (None, 0), 'it broke off'
        time.sleep(0.01)
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(EngineError, match='another process'), store.locked(KEY, cancel):
        pass
    with store.locked(KEY, threading.Event()):
        assert not process.is_alive() or process.join(hold_s) is None
    process.join()


@pytest.mark.proves('builder-dies')
def test_what_a_killed_build_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    store = PlanStore(tmp_path)
    with store.workspace(KEY) as folder:
        (folder / 'graph.onnx').write_bytes(b'left behind')
        kept = folder.rename(tmp_path / 'moved')  # so that it is as after SIGKILL
    kept.rename(folder)
    with store.workspace(KEY) as again:
        assert again == folder and not list(again.iterdir())
    assert not list(tmp_path.iterdir())
