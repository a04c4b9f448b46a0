"""asyncmde_ros.weights.adapter: low-rank differences and replaced tensors on a base."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.weights import adapter

Tensors = dict[str, npt.NDArray[np.floating]]

KEY = 'blocks.0.fc1.weight'
SIDE = st.integers(1, 9)


def base(rows: int = 5, cols: int = 3, dtype: npt.DTypeLike = np.float16) -> Tensors:
    rng = np.random.default_rng(0)
    return {KEY: rng.normal(size=(rows, cols)).astype(dtype),
            'bias': rng.normal(size=rows).astype(dtype), 'other': np.zeros(2, dtype)}


@given(SIDE, SIDE, st.integers(1, 4), st.sampled_from([np.float16, np.float32]),
       st.integers(0, 9))
def test_a_low_rank_difference_is_added_and_the_rest_replaced(
        rows: int, cols: int, rank: int, dtype: npt.DTypeLike, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(rank, cols)), rng.normal(size=(rows, rank))
    before = base(rows, cols, dtype)
    kept = {name: value.copy() for name, value in before.items()}
    bias = rng.normal(size=rows).astype(np.float16)

    after = adapter.apply(before, {f'{KEY}.lora_b': b.astype(np.float32), 'bias': bias,
                                   f'{KEY}.lora_a': a.astype(np.float32)})

    expected = before[KEY].astype(np.float64) + b @ a
    # Half a unit in the last place of the base's dtype, and float32's sum of ``rank`` products.
    tolerance = np.finfo(dtype).eps / 2 * np.abs(expected) + 1e-5
    assert (np.abs(after[KEY] - expected) <= tolerance).all()
    assert {value.dtype for value in after.values()} == {np.dtype(dtype)}
    np.testing.assert_array_equal(after['bias'], bias)
    assert after['other'] is before['other']
    assert list(after) == list(before)
    for name, value in kept.items():
        np.testing.assert_array_equal(before[name], value)


@pytest.mark.parametrize('changes, words', [
    ({'nothing': np.zeros(2)}, 'has no nothing'),
    ({'nothing.lora_a': np.zeros((2, 3)), 'nothing.lora_b': np.zeros((5, 2))}, 'has no nothing'),
    ({'bias': np.zeros(4)}, r'bias has shape \(4,\)'),
    ({f'{KEY}.lora_a': np.zeros((2, 3))}, 'lora_a has no lora_b'),
    ({f'{KEY}.lora_b': np.zeros((5, 2))}, 'lora_b has no lora_a'),
    ({f'{KEY}.lora_a': np.zeros((2, 3)), f'{KEY}.lora_b': np.zeros((5, 1))}, r'\(2, 3\)'),
    ({f'{KEY}.lora_a': np.zeros((2, 4)), f'{KEY}.lora_b': np.zeros((5, 2))}, r'\(2, 4\)'),
    ({f'{KEY}.lora_a': np.zeros((1, 3)), f'{KEY}.lora_b': np.zeros((1, 1))}, r'\(1, 1\)'),
    ({f'{KEY}.lora_a': np.zeros(3), f'{KEY}.lora_b': np.zeros((5, 1))}, r'\(3,\)'),
    ({'bias.lora_a': np.zeros((1, 3)), 'bias.lora_b': np.zeros((5, 1))}, r'bias \(5,\)'),
    ({f'{KEY}.lora_a': np.zeros((2, 3)), f'{KEY}.lora_b': np.zeros((5, 2)),
      KEY: np.zeros((5, 3))}, 'both replaces'),
], ids=lambda value: value if isinstance(value, str) else None)
def test_what_does_not_fit_is_named(changes: Tensors, words: str) -> None:
    with pytest.raises(WeightsError, match=f'not of these weights.*{words}'):
        adapter.apply(base(), changes)
