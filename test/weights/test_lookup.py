"""Which file is used, and that none is used unverified."""

import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file
from support.weight_samples import (
    FILE,
    NAME,
    TINY,
    isolate,
    register,
    tiny_checkpoint,
    tiny_entry,
    tiny_file,
    transformers_file,
)

from asyncmde_ros import weights
from asyncmde_ros.errors import WeightsError
from asyncmde_ros.weights import canonical, lookup, provenance, registry
from asyncmde_ros.weights.registry import Weights


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a registry of the tiny model."""
    register(monkeypatch, tiny_entry())
    directory = isolate(monkeypatch, tmp_path / 'cache')
    directory.mkdir(parents=True)
    return directory


def other_file() -> bytes:
    """A file of the right tensors and length with other values."""
    return canonical.serialise(canonical.canonicalise(tiny_checkpoint(seed=1), TINY))


def record(path: Path, content: bytes) -> None:
    provenance.write(path, 'a test', '0' * 64, hashlib.sha256(content).hexdigest(), 'Apache-2.0')


def test_a_verified_file_is_found_and_loaded(cache: Path) -> None:
    (cache / FILE).write_bytes(tiny_file())
    path = weights.locate(NAME)
    assert path == cache / FILE
    expected = canonical.canonicalise(tiny_checkpoint(), TINY)
    loaded = weights.load(path)
    assert loaded.keys() == expected.keys()
    for name, value in loaded.items():
        assert value.dtype == np.float16
        np.testing.assert_array_equal(value, expected[name])


def test_the_users_folder_goes_before_the_cache(
        cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / FILE).write_bytes(tiny_file())
    models = tmp_path / 'models'
    models.mkdir()
    monkeypatch.setenv('ASYNCMDE_MODELS', str(models))
    assert weights.locate(NAME) == cache / FILE
    (models / FILE).write_bytes(tiny_file())
    assert weights.locate(NAME) == models / FILE


@pytest.mark.proves('weights-damaged')
def test_a_damaged_file_is_passed_over_with_a_word(
        cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture) -> None:
    (cache / FILE).write_bytes(tiny_file())
    (tmp_path / FILE).write_bytes(other_file())
    monkeypatch.setenv('ASYNCMDE_MODELS', str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert weights.locate(NAME) == cache / FILE
    assert f'{tmp_path / FILE} is damaged' in caplog.text


@pytest.mark.proves('weights-absent')
def test_what_is_missing_comes_with_what_to_do(cache: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        weights.locate(NAME)
    message = str(caught.value)
    assert f'{cache / FILE} does not exist' in message
    assert f'asyncmde weights fetch {NAME} --from PATH' in message
    assert 'ASYNCMDE_MODELS is not set' in message


def test_a_missing_fetchable_model_says_to_fetch(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    with pytest.raises(WeightsError, match='Run: asyncmde weights fetch depth_anything_v2_vits'):
        weights.locate('depth_anything_v2_vits')


@pytest.mark.proves('weights-damaged')
@settings(max_examples=50, deadline=None)
@given(position=st.integers(0, len(tiny_file()) - 1), bit=st.integers(0, 7))
def test_one_flipped_bit_is_enough_to_refuse(tmp_path_factory, position: int, bit: int) -> None:
    content = bytearray(tiny_file())
    content[position] ^= 1 << bit
    path = tmp_path_factory.mktemp('flipped') / FILE
    path.write_bytes(content)
    with pytest.raises(WeightsError, match='is damaged: sha256'):
        lookup.verify(tiny_entry(), path)


def test_a_truncated_file_is_refused_by_its_length(cache: Path) -> None:
    (cache / FILE).write_bytes(tiny_file()[:-1])
    with pytest.raises(WeightsError, match=r'is damaged: \d+ bytes instead of \d+'):
        weights.locate(NAME)


def test_the_digest_recorded_when_it_was_fetched_counts_too(cache: Path) -> None:
    (cache / FILE).write_bytes(other_file())
    with pytest.raises(WeightsError, match='is damaged'):
        weights.locate(NAME)
    record(cache / FILE, other_file())
    assert weights.locate(NAME) == cache / FILE
    record(cache / FILE, b'yet another')
    with pytest.raises(WeightsError, match='is damaged'):
        weights.locate(NAME)


@pytest.mark.proves('weights-record')
@pytest.mark.parametrize('content', ['{', '[]', '{"sha256": "0"}', '"text"'])
def test_a_damaged_record_is_an_error_not_a_pass(cache: Path, content: str) -> None:
    (cache / FILE).write_bytes(other_file())
    provenance.record_path(cache / FILE).write_text(content)
    with pytest.raises(WeightsError, match='json is damaged'):
        weights.locate(NAME)


def test_the_record_says_where_it_came_from(cache: Path) -> None:
    record(cache / FILE, b'content')
    content = json.loads(provenance.record_path(cache / FILE).read_text())
    assert content.pop('date').startswith('20')
    assert content == {'source': 'a test', 'source_sha256': '0' * 64, 'licence': 'Apache-2.0',
                       'sha256': hashlib.sha256(b'content').hexdigest()}


def test_an_unpinned_model_must_have_its_tensors(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, tiny_entry(is_pinned=False))
    (cache / FILE).write_bytes(other_file())
    assert weights.locate(NAME) == cache / FILE
    record(cache / FILE, tiny_file())
    with pytest.raises(WeightsError, match='is damaged'):
        weights.locate(NAME)
    provenance.record_path(cache / FILE).unlink()
    (cache / FILE).write_bytes(other_file().replace(b'pretrained.norm.bias',
                                                    b'pretrained.norm.else'))
    with pytest.raises(WeightsError, match='pretrained.norm.bias is missing'):
        weights.locate(NAME)


def test_a_users_own_file_of_the_right_tensors_is_taken(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / 'finetuned.safetensors'
    save_file(canonical.canonicalise(tiny_checkpoint(seed=2), TINY), path)
    assert weights.locate(NAME, path) == path


def test_a_users_file_under_the_registrys_name_must_be_the_registrys(
        cache: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(tiny_file())
    assert weights.locate(NAME, tmp_path / FILE) == tmp_path / FILE
    (tmp_path / FILE).write_bytes(other_file())
    with pytest.raises(WeightsError, match='is damaged'):
        weights.locate(NAME, tmp_path / FILE)


@pytest.mark.parametrize('content', [
    b'no safetensors', save({'a': np.zeros(1, np.float32)}),
    save(transformers_file(tiny_checkpoint(), TINY.depth))],
    ids=['text', 'other network', 'transformers'])
def test_a_users_file_of_something_else_is_refused_with_a_way_out(
        cache: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'own.safetensors'
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f'asyncmde weights fetch {NAME} --from {path}'):
        weights.locate(NAME, path)


def test_a_users_file_that_is_absent_is_named(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match='absent does not exist'):
        weights.locate(NAME, tmp_path / 'absent')


def fast(content: bytes | None) -> Weights:
    digest = None if content is None else hashlib.sha256(content).hexdigest()
    return Weights('fast', 'Fast', 'fast.safetensors', digest,
                   None if content is None else len(content), 'Apache-2.0', None)


@pytest.mark.parametrize('is_pinned', [True, False])
def test_a_fast_network_comes_with_the_package(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_pinned: bool) -> None:
    content = save({'a': np.ones(3, np.float32)})
    register(monkeypatch, fast(content if is_pinned else None))
    monkeypatch.setattr(lookup, 'share_directory', lambda: tmp_path)
    (tmp_path / 'models').mkdir()
    path = tmp_path / 'models' / 'fast.safetensors'
    with pytest.raises(WeightsError, match='install that again'):
        weights.locate('fast')
    path.write_bytes(content)
    assert weights.locate('fast') == path
    path.write_bytes(save({'a': np.zeros(3, np.float32)}))
    if is_pinned:
        with pytest.raises(WeightsError, match='is damaged: sha256'):
            weights.locate('fast')
    else:
        assert weights.locate('fast') == path


def test_a_network_that_the_registry_lacks_needs_a_file(tmp_path: Path) -> None:
    path = tmp_path / 'own.safetensors'
    save_file({'a': np.ones(3, np.float32)}, path)
    assert weights.locate(None, path) == path
    with pytest.raises(WeightsError, match='give a file'):
        weights.locate(None)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(WeightsError, match=r"'nothing'; there are depth_anything_v2_vits, "):
        weights.locate('nothing')
    with pytest.raises(WeightsError, match="no model 'nothing'; there are vits, vitb"):
        registry.model('nothing')


@pytest.mark.parametrize('content', [None, b'', b'text'])
def test_loading_what_is_no_safetensors_is_one_clear_error(
        tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / 'file.safetensors'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match='cannot read .*file.safetensors'):
        weights.load(path)


def test_a_relative_cache_directory_is_ignored(monkeypatch: pytest.MonkeyPatch,
                                               tmp_path: Path) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    for value in ('', 'relative'):
        monkeypatch.setenv('XDG_CACHE_HOME', value)
        assert lookup.cache_directory() == tmp_path / '.cache' / 'asyncmde'
