"""Linear layers in 8-bit integers: exact where they can be, near where not, only where asked."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from asyncmde_ros.engine import openvino
from asyncmde_ros.engine.interface import Precision
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.engine.openvino import int8_pays, quantise, shared_core
from asyncmde_ros.images.picture import read_picture
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.preprocess import average
from asyncmde_ros.pipeline.refresher import DepthRefresher
from asyncmde_ros.resources import share_directory

SIZE: Size = (112, 140)
OFF_AT_MOST = 0.1
"""Of the spread of depth; at the sizes that nodes use it is 0.02 (docs/speed.md)."""


def product(weights: np.ndarray, turned: bool, by_transpose: bool = False) -> ov.Model:
    """A linear layer, as graphs hold it in three ways."""
    tokens = ops.parameter([5, weights.shape[1]], np.float32)
    if by_transpose:
        other = ops.transpose(ops.constant(weights), ops.constant(np.array([1, 0])))
    else:
        other = ops.constant(weights if turned else np.ascontiguousarray(weights.T))
    result = ops.matmul(tokens, other, False, turned and not by_transpose)
    return ov.Model([result], [tokens])


def constants(model: ov.Model) -> list[np.ndarray]:
    return [node.get_data() for node in model.get_ordered_ops()
            if node.get_type_name() == 'Constant' and node.get_data().ndim == 2]


@pytest.mark.parametrize(('turned', 'by_transpose'), [(True, False), (False, False), (True, True)])
def test_weights_are_rounded_to_a_127th_of_the_largest_of_their_output(
        turned: bool, by_transpose: bool, rng: np.random.Generator) -> None:
    weights = rng.normal(size=(6, 8)).astype(np.float32) * np.array([[1], [10], [0.01]] * 2)
    model = product(weights.astype(np.float32), turned, by_transpose)
    quantise(model)
    integers, scale = (next(found for found in constants(model) if found.dtype == kind)
                       for kind in (np.int8, np.float16))
    assert integers.shape == (6, 8) and scale.shape == (6, 1)
    np.testing.assert_array_equal(np.abs(integers).max(axis=1), 127)
    step = np.abs(weights).max(axis=1, keepdims=True) / 127
    np.testing.assert_allclose(scale, step, rtol=1e-3)
    assert (np.abs(integers * step - weights) <= 0.501 * step).all()


@pytest.mark.parametrize(('turned', 'by_transpose'), [(True, False), (False, False), (True, True)])
def test_the_product_stays_what_it_was(turned: bool, by_transpose: bool,
                                       rng: np.random.Generator) -> None:
    weights = rng.integers(-127, 128, (6, 8)).astype(np.float32)
    weights[:, 0] = 127  # so that each scale is 1, and nothing is rounded
    tokens = rng.integers(-9, 10, (5, 8)).astype(np.float32)
    model = product(weights, turned, by_transpose)
    quantise(model)
    compiled = shared_core().compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    np.testing.assert_allclose(compiled([tokens])[0], tokens @ weights.T)


def test_an_output_without_weights_is_zero() -> None:
    model = product(np.zeros((3, 4), np.float32), turned=True)
    quantise(model)
    compiled = shared_core().compile_model(model, 'CPU')
    np.testing.assert_array_equal(compiled([np.ones((5, 4), np.float32)])[0], 0)


def test_products_of_two_activations_stay() -> None:
    left, right = ops.parameter([3, 4], np.float32), ops.parameter([4, 5], np.float32)
    model = ov.Model([ops.matmul(left, right, False, False)], [left, right])
    quantise(model)
    assert not constants(model)


@pytest.mark.parametrize(('flags', 'pays'), [
    ('fpu avx512f avx512_vnni avx512_bf16', True),
    ('fpu avx512f avx512_vnni amx_tile amx_int8', False),
    ('fpu avx2', False), ('', False)])
def test_it_pays_where_it_was_measured(flags: str, pays: bool, monkeypatch: pytest.MonkeyPatch
                                       ) -> None:
    text = f'processor\t: 0\nmodel name\t: a CPU\nflags\t\t: {flags}\n'
    monkeypatch.setattr(Path, 'read_text', lambda self, **how: text)
    monkeypatch.setattr(ov, '__version__', '2026.3.0-1')
    assert int8_pays.__wrapped__() is pays
    monkeypatch.setattr(ov, '__version__', '2026.2.1-1')
    assert int8_pays.__wrapped__() is False


def test_where_the_system_does_not_tell_it_does_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, **how: Any) -> str:
        raise FileNotFoundError(self)
    monkeypatch.setattr(Path, 'read_text', refuse)
    assert int8_pays.__wrapped__() is False


@pytest.mark.parametrize('kind', ['compile_depth', 'compile_glance'])
def test_depth_is_near_that_of_float32(kind: str, foundation_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    path = share_directory() / 'models' / 'validation.jpg'
    picture = average(read_picture(path, oriented=False), SIZE)

    def depth(precision: Precision) -> np.ndarray:
        model = Model(backend='openvino', precision=precision, threads=Threads(1, 1),
                      foundation=foundation_path)
        return DepthRefresher(getattr(model, kind)(SIZE), average).depth(picture)

    exact = depth(Precision.FP32)
    monkeypatch.setattr(openvino, 'int8_pays', lambda: False)
    plain = depth(Precision.AUTO)
    np.testing.assert_array_equal(plain, depth(Precision.HALF))
    monkeypatch.setattr(openvino, 'int8_pays', lambda: True)
    rounded = depth(Precision.AUTO)
    assert not np.array_equal(rounded, plain), 'it is another network'
    np.testing.assert_array_equal(plain, depth(Precision.HALF))
    assert np.abs(rounded - exact).mean() < OFF_AT_MOST * np.abs(exact - exact.mean()).mean()
