"""``fetch`` and the ``asyncmde weights`` command, from sources to verified files."""

import argparse
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save, save_file
from support.folders import names
from support.weight_samples import (
    FILE,
    NAME,
    TINY,
    isolate,
    pinned,
    register,
    tiny_checkpoint,
    tiny_entry,
    tiny_file,
    transformers_file,
)

from asyncmde_ros import weights
from asyncmde_ros.cli import weights as command
from asyncmde_ros.errors import WeightsError
from asyncmde_ros.weights import acquire, canonical, huggingface, lookup, npm, storage
from asyncmde_ros.weights.canonical import Tensors
from asyncmde_ros.weights.registry import HuggingFace, Npm, Pinned, Weights
from asyncmde_ros.weights.storage import CacheError

HUGGING_FACE_FILE = save(transformers_file(tiny_checkpoint(), TINY.depth))
HUGGING_FACE = HuggingFace('example/tiny-hf', 'abc',
                           pinned('model.safetensors', HUGGING_FACE_FILE),
                           reproduces_canonical=False)
NPM = Npm('@example/tiny', '1.2.3', 'sha512-', 0, Pinned('', '', 0), Pinned('', 'blob', 0),
          reproduces_canonical=True)
SLOW_SOURCE_S = 0.2
"""Long enough for every thread to arrive at the lock."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache would be, and a registry of the tiny model with two sources, both off."""
    register(monkeypatch, tiny_entry(HUGGING_FACE, NPM))
    monkeypatch.setattr(huggingface, 'download', failing('no route to host'))
    monkeypatch.setattr(npm, 'obtain', failing('npm failed: ENOTFOUND'))
    return isolate(monkeypatch, tmp_path / 'cache')


def failing(message: str) -> Callable[..., Tensors]:
    def fail(*_: object) -> Tensors:
        raise WeightsError(message)
    return fail


def giving(content: bytes) -> Callable[..., None]:
    def download(_: str, part: Path, *__: object) -> None:
        part.write_bytes(content)
    return download


def test_hugging_face_comes_first_and_is_recorded(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(url: str, part: Path, *_: object) -> None:
        asked.append(url)
        part.write_bytes(HUGGING_FACE_FILE)

    monkeypatch.setattr(huggingface, 'download', download)
    assert weights.fetch(NAME) == cache / FILE
    assert asked == ['https://huggingface.co/example/tiny-hf/resolve/abc/model.safetensors']
    assert (cache / FILE).read_bytes() == tiny_file()
    assert names(cache) == [FILE, f'{FILE}.json', f'{FILE}.lock']
    record = json.loads((cache / f'{FILE}.json').read_text())
    assert record['source'] == 'Hugging Face (example/tiny-hf)'
    assert record['source_sha256'] == HUGGING_FACE.sha256
    assert record['sha256'] == tiny_entry().sha256


def test_a_source_of_unknown_result_is_kept_by_its_record(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = save(transformers_file(tiny_checkpoint(seed=1), TINY.depth))
    monkeypatch.setattr(huggingface, 'download', giving(other))
    path = weights.fetch(NAME)
    assert path.read_bytes() != tiny_file()
    assert weights.locate(NAME) == path
    path.write_bytes(canonical.serialise(
        canonical.canonicalise(tiny_checkpoint(seed=2), TINY)))
    with pytest.raises(WeightsError, match='is damaged'):
        weights.locate(NAME)


@pytest.mark.proves('no-network')
def test_the_next_source_is_tried_and_remains_are_cleared(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(_: str, part: Path, *__: object) -> None:
        part.write_bytes(b'half')
        raise WeightsError('broke off')

    monkeypatch.setattr(huggingface, 'download', break_off)
    with pytest.raises(WeightsError):
        weights.fetch(NAME)
    assert f'{FILE}.part' in names(cache), 'the next call could resume'
    monkeypatch.setattr(npm, 'obtain', lambda *_: tiny_checkpoint())
    assert weights.fetch(NAME).read_bytes() == tiny_file()
    assert names(cache) == [FILE, f'{FILE}.json', f'{FILE}.lock']


def test_hugging_face_with_another_model_is_not_kept(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface, 'download', giving(save({'a': np.zeros(1, np.float32)})))
    with pytest.raises(WeightsError, match='not tiny weights'):
        weights.fetch(NAME)
    assert names(cache) == [f'{FILE}.lock', f'{FILE}.part']


def test_a_verified_file_is_returned_at_once(
        cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    (cache / FILE).write_bytes(tiny_file())
    assert weights.fetch(NAME) == cache / FILE
    (tmp_path / FILE).write_bytes(tiny_file())
    monkeypatch.setenv('ASYNCMDE_MODELS', str(tmp_path))
    assert weights.fetch(NAME) == tmp_path / FILE
    assert names(cache) == [FILE]


@pytest.mark.proves('download-other')
def test_sources_that_fail_leave_a_damaged_file_as_it_is(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / FILE).write_bytes(b'old')
    with pytest.raises(WeightsError):
        weights.fetch(NAME)
    assert (cache / FILE).read_bytes() == b'old'


def test_what_was_downloaded_outlives_a_disk_too_full_to_keep_its_tensors(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise CacheError('no space left')

    monkeypatch.setattr(huggingface, 'download', giving(HUGGING_FACE_FILE))
    with monkeypatch.context() as patch:
        patch.setattr(acquire, 'write_atomically', full)
        with pytest.raises(CacheError):
            weights.fetch(NAME)
    assert (cache / f'{FILE}.part').read_bytes() == HUGGING_FACE_FILE
    weights.fetch(NAME)
    assert not (cache / f'{FILE}.part').exists()


@pytest.mark.proves('weights-damaged')
def test_a_damaged_file_in_the_cache_is_replaced(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    (cache / FILE).write_bytes(tiny_file()[:-1])
    monkeypatch.setattr(npm, 'obtain', lambda *_: tiny_checkpoint())
    assert weights.fetch(NAME).read_bytes() == tiny_file()


@pytest.mark.proves('no-network')
def test_offline_every_source_is_named_with_its_reason(cache: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        weights.fetch(NAME)
    message = str(caught.value)
    for part in ('ASYNCMDE_MODELS is not set', f'{cache / FILE} does not exist',
                 'Hugging Face (example/tiny-hf): no route to host',
                 'npm (@example/tiny@1.2.3): npm failed: ENOTFOUND',
                 f'asyncmde weights fetch {NAME} --from PATH', 'or set ASYNCMDE_MODELS',
                 'https://example.org/tiny'):
        assert part in message


def test_a_full_disk_ends_the_search(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise CacheError('no space left')

    monkeypatch.setattr(huggingface, 'download', full)
    monkeypatch.setattr(npm, 'obtain', lambda *_: pytest.fail('was tried'))
    with pytest.raises(CacheError, match='no space left'):
        weights.fetch(NAME)


@pytest.mark.proves('read-only-cache')
def test_a_cache_that_cannot_be_made_is_a_clear_error(
        tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'file').write_bytes(b'')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    with pytest.raises(CacheError, match='cannot write to .* set XDG_CACHE_HOME'):
        weights.fetch(NAME)


def test_a_model_that_is_not_free_is_never_fetched(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, tiny_entry())
    with pytest.raises(WeightsError, match='never fetched by itself'):
        weights.fetch(NAME)


@pytest.mark.proves('same-at-once')
def test_several_at_once_fetch_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def obtain(*_: object) -> Tensors:
        calls.append(1)
        time.sleep(SLOW_SOURCE_S)
        return tiny_checkpoint()

    monkeypatch.setattr(npm, 'obtain', obtain)
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(weights.fetch(NAME)))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [cache / FILE] * 4
    assert len(calls) == 1


def test_a_users_file_is_converted_into_the_cache(cache: Path, tmp_path: Path) -> None:
    source = tmp_path / 'model.safetensors'
    source.write_bytes(HUGGING_FACE_FILE)
    assert weights.fetch(NAME, source) == cache / FILE
    assert (cache / FILE).read_bytes() == tiny_file()
    record = json.loads((cache / f'{FILE}.json').read_text())
    assert record['source'] == str(source)
    assert record['source_sha256'] == storage.sha256(source)
    save_file(tiny_checkpoint(seed=3), source)
    assert weights.fetch(NAME, source) == cache / FILE
    assert (cache / FILE).read_bytes() != tiny_file(), 'another file replaces the first'


def test_a_users_canonical_file_must_be_the_registrys(cache: Path, tmp_path: Path) -> None:
    source = tmp_path / FILE
    source.write_bytes(tiny_file())
    assert weights.fetch(NAME, source).read_bytes() == tiny_file()
    source.write_bytes(tiny_file(seed=1))
    with pytest.raises(WeightsError, match='is damaged: sha256'):
        weights.fetch(NAME, source)
    assert (cache / FILE).read_bytes() == tiny_file()


def test_a_users_file_says_when_another_goes_before_it(
        cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture) -> None:
    models = tmp_path / 'models'
    models.mkdir()
    (models / FILE).write_bytes(tiny_file())
    monkeypatch.setenv('ASYNCMDE_MODELS', str(models))
    source = tmp_path / 'model.safetensors'
    source.write_bytes(HUGGING_FACE_FILE)
    assert weights.fetch(NAME, source) == cache / FILE
    assert f'{models / FILE} goes before it: unset ASYNCMDE_MODELS' in caplog.text


@pytest.mark.parametrize('kind', ['absent', 'folder'])
def test_a_users_file_that_is_none_is_named(cache: Path, tmp_path: Path, kind: str) -> None:
    source = tmp_path / 'given'
    if kind == 'folder':
        source.mkdir()
    with pytest.raises(WeightsError, match='given (does not exist|is not a file)'):
        weights.fetch(NAME, source)


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(['weights', *arguments])
    return args.run(args)


@pytest.fixture
def package(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a fast network beside the tiny foundation model; returns its path."""
    content = save({'a': np.ones(3, np.float32)})
    fast = Weights('fast', 'Fast', 'fast.safetensors', pinned('', content).sha256, len(content),
                   'MIT', None)
    register(monkeypatch, tiny_entry(HUGGING_FACE, NPM), fast)
    monkeypatch.setattr(lookup, 'share_directory', lambda: tmp_path)
    path = tmp_path / 'models' / fast.file
    path.parent.mkdir()
    path.write_bytes(content)
    return path


def test_list_shows_licence_size_and_place(
        package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run('list') == 0
    header, foundation, fast = capsys.readouterr().out.splitlines()
    assert header.split() == ['NAME', 'LICENCE', 'SIZE', 'WHERE']
    assert foundation.split(maxsplit=4) == [NAME, 'Apache-2.0', '0.0', 'MB', 'not fetched']
    assert fast.split(maxsplit=4) == ['fast', 'MIT', '0.0', 'MB', str(package)]


def test_fetch_prints_licence_source_and_path(
        cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(npm, 'obtain', lambda *_: tiny_checkpoint())
    assert run('fetch', NAME) == 0
    assert capsys.readouterr().out.splitlines() == [
        'Tiny, licence Apache-2.0 (https://example.org/tiny)', 'from npm (@example/tiny@1.2.3)',
        str(cache / FILE)]


def test_fetch_converts_a_given_file(cache: Path, tmp_path: Path) -> None:
    source = tmp_path / 'model.safetensors'
    source.write_bytes(HUGGING_FACE_FILE)
    assert run('fetch', NAME, '--from', str(source)) == 0
    assert (cache / FILE).read_bytes() == tiny_file()


def test_fetching_what_is_shipped_is_refused(package: Path) -> None:
    with pytest.raises(WeightsError, match='part of the package'):
        run('fetch', 'fast')


def test_verify_tells_good_from_damaged_and_absent(
        package: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run('verify') == 0
    assert capsys.readouterr().out.splitlines() == [
        f'absent   {NAME}: not fetched',
        f'ok       fast: {package} sha256 {storage.sha256(package)}']
    assert run('verify', NAME) == 1, 'asked for by name and absent'
    cache.mkdir(parents=True)
    (cache / FILE).write_bytes(tiny_file())
    assert run('verify', NAME) == 0
    (cache / FILE).write_bytes(tiny_file(seed=1))
    capsys.readouterr()
    assert run('verify') == 1
    assert f'DAMAGED  {NAME}: {cache / FILE} is damaged: sha256' in capsys.readouterr().out
    assert run('verify', 'fast') == 0


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run('--help')
    text = capsys.readouterr().out
    for word in ('list', 'fetch', 'verify', '--from', 'ASYNCMDE_MODELS', 'XDG_CACHE_HOME'):
        assert word in text
