"""The student: what of the foundation model learns, where it begins, and as what it is kept."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from support.students import RANK, TINY, random_weights
from torch import nn

from asyncmde_ros.engine.positions import resize_positions
from asyncmde_ros.engine.torch import load_weights
from asyncmde_ros.errors import WeightsError
from asyncmde_ros.lab.training.student import LowRankLinear, Student, low_rank, whole
from asyncmde_ros.lab.training.unroll import network_image
from asyncmde_ros.model.geometry import Size, patch_grid
from asyncmde_ros.network.depth_anything import DepthAnythingV2
from asyncmde_ros.weights import adapter
from asyncmde_ros.weights.canonical import Tensors

SIZE: Size = (28, 42)

BFLOAT16 = 0.05
"""Of the spread of depth: the student computes in bfloat16, whose numbers have 8 bits."""


def differing(base: Tensors, rank: int, seed: int = 5) -> Tensors:
    """What ``base`` would be after some fine-tuning of ``rank``, in float32."""
    rng = np.random.default_rng(seed)
    changed = {}
    for name, value in base.items():
        value = value.astype(np.float32)
        if name.startswith('pretrained.blocks.') and value.ndim == 2:
            rows, cols = value.shape
            value = value + 0.1 * (rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, cols)))
        elif name not in ('pretrained.pos_embed', 'pretrained.cls_token'):
            value = value + rng.normal(0, 0.1, value.shape)
        changed[name] = value.astype(np.float32)
    return changed


def pictures(count: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 255, (count, *SIZE, 3), np.uint8))


def depth_of(tensors: Tensors) -> torch.Tensor:
    """Depth (B, 1, H, W) of the pictures by the plain network, in float32."""
    network = DepthAnythingV2(TINY)
    load_weights(network, tensors)
    positions = torch.from_numpy(resize_positions(tensors['pretrained.pos_embed'],
                                                  patch_grid(SIZE)))
    with torch.no_grad():
        depth: torch.Tensor = network(network_image(pictures()), positions)[0]
    return depth


def assert_same_depth(ours: torch.Tensor, expected: torch.Tensor) -> None:
    assert float(expected.std()) > 0
    assert float((ours - expected).abs().mean()) <= BFLOAT16 * float(expected.std())


def test_a_low_rank_layer_is_the_linear_layer_of_the_merged_weight() -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(5, 3), torch.randn(7, 5)
    layer = LowRankLinear(linear, torch.randn(2, 5), torch.randn(3, 2))
    merged = adapter.apply(
        {'weight': linear.weight.detach().numpy()},
        {'weight.lora_a': layer.a.detach().numpy(), 'weight.lora_b': layer.b.detach().numpy()})
    expected = nn.functional.linear(x, torch.from_numpy(merged['weight']), linear.bias)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize('shape', [(8, 5), (5, 8)])
def test_a_difference_of_the_rank_is_kept_and_a_larger_one_approximated_best(
        shape: Size) -> None:
    rng = np.random.default_rng(0)
    thin = rng.normal(size=(shape[0], 2)) @ rng.normal(size=(2, shape[1]))
    noise = rng.normal(size=shape)
    a, b = low_rank(thin.astype(np.float32), 2, rng)
    assert (a.shape, b.shape) == ((2, shape[1]), (shape[0], 2))
    np.testing.assert_allclose((b @ a).numpy(), thin, atol=1e-5)

    a, b = low_rank(noise.astype(np.float32), 2, rng)
    left = np.linalg.svd(noise, compute_uv=False)[2:]
    assert float(np.square((b @ a).numpy() - noise).sum()) == pytest.approx(
        float(np.square(left).sum()), rel=1e-4)


def test_no_difference_begins_with_zero_that_can_learn() -> None:
    a, b = low_rank(np.zeros((6, 4), np.float32), 3, np.random.default_rng(0))
    assert not b.any() and bool(a.any())
    assert (a.shape, b.shape) == ((3, 4), (6, 3))


def test_a_student_without_a_start_is_the_foundation_model() -> None:
    base = random_weights(0)
    student = Student(TINY, base, base, RANK, 0)
    assert_same_depth(student.depth(pictures()).detach(), depth_of(base))


def test_a_student_begins_as_its_start_and_its_adapter_says_so() -> None:
    base = random_weights(0)
    start = differing(base, RANK)
    student = Student(TINY, base, start, RANK, 0)
    assert_same_depth(student.depth(pictures()).detach(), depth_of(start))

    kept = student.adapter()
    assert {value.dtype for value in kept.values()} == {np.dtype(np.float16)}
    merged = adapter.apply({name: value.astype(np.float32) for name, value in base.items()}, kept)
    for name, value in start.items():
        np.testing.assert_allclose(merged[name], value, atol=5e-3, err_msg=name)


def test_everything_but_class_token_and_positions_learns_and_the_base_does_not() -> None:
    base = random_weights(0)
    student = Student(TINY, base, base, RANK, 0)
    student.depth(pictures()).sum().backward()
    for name, parameter in student.learned.items():
        assert parameter.grad is not None, name
    names = {name.removesuffix('.lora_a').removesuffix('.lora_b') for name in student.adapter()}
    assert names == set(base) - {'pretrained.pos_embed', 'pretrained.cls_token'}
    groups = student.groups()
    assert sum(map(len, groups.values())) == len(student.learned)
    assert all(groups.values())


def test_a_start_may_be_an_adapter_or_weights_with_unused_ones(tmp_path: Path) -> None:
    base = random_weights(0)
    student = Student(TINY, base, differing(base, RANK), RANK, 0)
    save_file(student.adapter(), tmp_path / 'adapter.safetensors')
    again = Student(TINY, base, whole(load_file(tmp_path / 'adapter.safetensors'), base, TINY),
                    RANK, 0)
    assert_same_depth(again.depth(pictures()).detach(), student.depth(pictures()).detach())

    unused = {'depth_head.scratch.refinenet4.resConfUnit1.conv1.bias': np.zeros(4)}
    assert set(whole(base | unused, base, TINY)) == set(base)


def test_a_start_of_another_model_is_refused() -> None:
    base = random_weights(0)
    less = {name: value for name, value in base.items() if name != 'pretrained.norm.bias'}
    with pytest.raises(WeightsError, match=r'pretrained\.norm\.bias is missing'):
        whole(less, base, TINY)
    with pytest.raises(WeightsError, match='not of these weights'):
        whole({'pretrained.nothing.weight.lora_a': np.zeros((1, 1))}, base, TINY)
