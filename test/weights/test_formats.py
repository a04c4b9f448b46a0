"""Every format a user may hand in becomes the one canonical file; everything else is refused."""

import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save, save_file
from support.weight_samples import (
    TINY,
    pinned,
    tiny_checkpoint,
    tiny_entry,
    tiny_file,
    transformers_file,
)

from asyncmde_ros import weights
from asyncmde_ros.errors import WeightsError
from asyncmde_ros.model.config import VITS
from asyncmde_ros.weights import canonical, formats
from asyncmde_ros.weights.canonical import Tensors
from asyncmde_ros.weights.registry import FoundationWeights
from asyncmde_ros.weights.transformers_layout import to_original_names

DTYPES = {'F64': np.float64, 'F32': np.float32, 'F16': np.float16}


def converted(path: Path, entry: FoundationWeights) -> bytes:
    return canonical.serialise(canonical.canonicalise(formats.read(path, entry), entry.config))


def bfloat16_file(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Return a file that numpy cannot write: uint16 patterns, relabelled in the header."""
    content = save({name: (value.astype('<f4').view('<u4') >> 16).astype('<u2')
                    for name, value in tensors.items()})
    end = 8 + int.from_bytes(content[:8], 'little')
    header = content[8:end].replace(b'"U16"', b'"BF16"')
    return len(header).to_bytes(8, 'little') + header + content[end:]


def test_the_canonical_form_reads_back() -> None:
    content = load(tiny_file())
    expected = canonical.canonicalise(tiny_checkpoint(), TINY)
    assert content.keys() == canonical.shapes(TINY).keys()
    assert list(expected) == sorted(expected)
    for name, value in content.items():
        assert value.dtype == np.float16
        np.testing.assert_array_equal(value, expected[name])


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_the_canonical_bytes_depend_on_nothing_but_the_values(random, fortran: bool) -> None:
    items = list(tiny_checkpoint().items())
    random.shuffle(items)
    tensors = {name: np.asfortranarray(value) if fortran else value for name, value in items}
    assert canonical.serialise(canonical.canonicalise(tensors, TINY)) == tiny_file()


@pytest.mark.parametrize('dtype', [*DTYPES, 'BF16'])
@pytest.mark.parametrize('layout', ['authors', 'transformers'])
def test_any_layout_and_dtype_becomes_the_canonical_file(
        tmp_path: Path, layout: str, dtype: str) -> None:
    tensors = tiny_checkpoint()
    if layout == 'transformers':
        tensors = transformers_file(tensors, TINY.depth)
    path = tmp_path / 'model.safetensors'
    if dtype == 'BF16':
        path.write_bytes(bfloat16_file(tensors))
    else:
        save_file({name: value.astype(DTYPES[dtype]) for name, value in tensors.items()}, path)
    assert converted(path, tiny_entry()) == tiny_file()


def test_transformers_names_map_back_to_the_authors() -> None:
    checkpoint = tiny_checkpoint()
    result = to_original_names(transformers_file(checkpoint, TINY.depth))
    assert result.keys() == checkpoint.keys()
    for name, value in result.items():
        np.testing.assert_array_equal(value, checkpoint[name], err_msg=name)


def test_query_key_and_value_are_joined_in_this_order() -> None:
    tensors = transformers_file(tiny_checkpoint(), TINY.depth)
    for fill, part in enumerate(('query', 'key', 'value')):
        for leaf in ('weight', 'bias'):
            name = f'backbone.encoder.layer.1.attention.attention.{part}.{leaf}'
            tensors[name] = np.full_like(tensors[name], fill)
    result = to_original_names(tensors)
    dim = TINY.embed_dim
    expected = np.repeat([0, 1, 2], dim)
    np.testing.assert_array_equal(result['pretrained.blocks.1.attn.qkv.bias'], expected)
    np.testing.assert_array_equal(result['pretrained.blocks.1.attn.qkv.weight'],
                                  np.tile(expected[:, None], (1, dim)))


def test_a_missing_key_projection_is_named() -> None:
    tensors = transformers_file(tiny_checkpoint(), TINY.depth)
    del tensors['backbone.encoder.layer.1.attention.attention.key.bias']
    with pytest.raises(WeightsError, match=r'layer\.1.*key\.bias'):
        to_original_names(tensors)


def test_the_real_weights_survive_the_transformers_layout(
        tmp_path: Path, foundation_path: Path) -> None:
    original = weights.load(foundation_path)
    path = tmp_path / 'model.safetensors'
    save_file({name: value.astype(np.float32)
               for name, value in transformers_file(original, VITS.depth).items()}, path)
    tensors = canonical.canonicalise(formats.read(path, tiny_entry()), VITS)
    assert canonical.serialise(tensors) == foundation_path.read_bytes()


def without(name: str) -> Tensors:
    return {key: value for key, value in tiny_checkpoint().items() if key != name}


NORM = 'pretrained.norm.weight'


@pytest.mark.proves('weights-swapped')
@pytest.mark.parametrize(('tensors', 'message'), [
    (without(NORM), f'{NORM} is missing'),
    (tiny_checkpoint() | {'extra': np.zeros(1, np.float32)}, 'extra does not belong'),
    (tiny_checkpoint() | {NORM: np.zeros(5, np.float32)}, r'shape \(5,\) instead of \(4,\)'),
    (tiny_checkpoint() | {NORM: np.full(4, np.nan, np.float32)}, 'not finite'),
    (tiny_checkpoint() | {NORM: np.full(4, 1e5, np.float32)}, 'not finite in float16')],
    ids=['missing', 'surplus', 'shape', 'nan', 'overflow'])
def test_tensors_of_another_model_are_refused(tensors: Tensors, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        canonical.canonicalise(tensors, TINY)


@pytest.mark.proves('weights-type')
def test_integers_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / 'model.safetensors'
    save_file({'a': np.zeros(3, np.int64)}, path)
    with pytest.raises(WeightsError, match='not a floating-point tensor'):
        formats.read_safetensors(path)


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'model.onnx'
    path.write_bytes(tiny_file())
    with pytest.raises(WeightsError, match='neither .safetensors nor .pth'):
        formats.read(path, tiny_entry())


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_safetensors_file_is_never_another_error(tmp_path_factory, data) -> None:
    content = bytearray(save(tiny_checkpoint()))
    damage = data.draw(st.sampled_from(['cut', 'flip', 'replace']))
    if damage == 'cut':
        content = content[:data.draw(st.integers(0, len(content) - 1))]
    elif damage == 'flip':
        content[data.draw(st.integers(0, 200))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        content = bytearray(data.draw(st.binary(max_size=64)))
    path = tmp_path_factory.mktemp('damaged') / 'model.safetensors'
    path.write_bytes(content)
    try:
        canonical.canonicalise(formats.read(path, tiny_entry()), TINY)
    except WeightsError:
        return
    assert damage == 'flip', 'a cut or invented file was taken for a whole one'


class Payload:
    """Unpickled, it would create a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.proves('weights-pickle')
@pytest.mark.parametrize('form', ['zip', 'bare pickle'])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    torch = pytest.importorskip('torch')
    path, marker = tmp_path / 'model.pth', tmp_path / 'marker'
    state = {name: torch.from_numpy(value) for name, value in tiny_checkpoint().items()}
    if form == 'zip':
        torch.save(state | {'evil': Payload(marker)}, path)
    else:
        path.write_bytes(pickle.dumps(Payload(marker), protocol=2))
    with pytest.raises(WeightsError, match='damaged or no checkpoint'):
        formats.read(path, tiny_entry())
    assert not marker.exists()


@pytest.mark.proves('weights-pickle')
def test_a_checkpoint_that_is_not_the_pinned_one_is_not_even_opened(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'torch', None)
    path = tmp_path / 'model.pth'
    path.write_bytes(pickle.dumps(Payload(tmp_path / 'marker')))
    with pytest.raises(WeightsError, match='is not the official tiny.pth'):
        formats.read(path, tiny_entry(checkpoint=pinned('tiny.pth', b'another')))


def test_the_pinned_checkpoint_becomes_the_canonical_file(tmp_path: Path) -> None:
    torch = pytest.importorskip('torch')
    path = tmp_path / 'model.pth'
    torch.save({name: torch.from_numpy(value) for name, value in tiny_checkpoint().items()}, path)
    entry = tiny_entry(checkpoint=pinned('tiny.pth', path.read_bytes()))
    assert converted(path, entry) == tiny_file()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match='is not the official'):
        formats.read(path, entry)


def test_a_checkpoint_without_torch_says_what_is_missing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'torch', None)
    path = tmp_path / 'model.pth'
    path.write_bytes(b'')
    with pytest.raises(WeightsError, match='pip install torch'):
        formats.read(path, tiny_entry())
