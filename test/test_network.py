"""The networks against the paper's counts, equations and the foundation model itself."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.engine.export import fast_example
from asyncmde_ros.engine.positions import resize_positions
from asyncmde_ros.engine.torch import load_weights
from asyncmde_ros.geometry import memory_sizes, patch_grid
from asyncmde_ros.model_config import VITB, VITS
from asyncmde_ros.network.depth_anything import DepthAnythingV2
from asyncmde_ros.network.graphs import FAST_OUTPUTS, STATE, FastGraph, FastNetwork
from asyncmde_ros.network.mobilenetv3 import SameConv2d
from asyncmde_ros.network.spatial_memory import MemoryState, SpatialMemoryUnit, interpolate
from asyncmde_ros.network.warp import homography_grid, sample

CHANNELS = 6
SMALL_GRID = (4, 5)
BIT_CLOSE = 2e-5
"""Relative to the largest value: float32 rounding through some thirty layers."""


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_are_the_papers() -> None:
    network = FastNetwork(VITB)
    assert count(network.observer.encoder) == 927_008
    assert network.observer.encoder.taps == (16, 24, 48, 576)
    assert count(network.observer.projector) == 85_504
    assert count(network.unit.gates) == 295_170
    assert count(network.observer.projector) + count(network.unit) == 380_674
    assert count(network.decoder) == 2_519_681


def test_foundation_has_the_published_number_of_parameters(
        foundation_weights: dict[str, np.ndarray]) -> None:
    assert sum(tensor.size for tensor in foundation_weights.values()) == 24_710_849
    unread = count(DepthAnythingV2(VITS).depth_head.scratch.refinenet4.resConfUnit1)
    assert count(DepthAnythingV2(VITS)) == 24_710_849 + unread


@given(size=st.integers(5, 40), kernel=st.sampled_from([3, 5]))
@settings(deadline=None)
def test_stride_two_padding_is_tensorflows(size: int, kernel: int) -> None:
    conv = SameConv2d(1, 1, kernel, stride=2)
    x = torch.randn(1, 1, size, size)
    outputs = -(-size // 2)
    total = max((outputs - 1) * 2 + kernel - size, 0)  # tf.nn "SAME"
    padded = torch.nn.functional.pad(x, (total // 2, total - total // 2) * 2)
    expected = torch.nn.functional.conv2d(padded, conv.weight, stride=2)
    assert conv(x).shape == expected.shape == (1, 1, outputs, outputs)
    torch.testing.assert_close(conv(x), expected)


def test_full_trust_reproduces_the_foundation_models_own_depth(
        foundation_weights: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    size = (126, 168)
    foundation = DepthAnythingV2(VITS).eval()
    load_weights(foundation, foundation_weights)
    image = torch.from_numpy(rng.normal(size=(1, 3, *size)).astype(np.float32))
    positions = torch.from_numpy(
        resize_positions(foundation_weights['pretrained.pos_embed'], patch_grid(size)))
    depth, memory = foundation(image, positions)

    fast = FastNetwork(VITS).eval()
    fast.decoder.load_state_dict(foundation.depth_head.scratch.state_dict(), strict=False)
    for gate in (fast.unit.gates.level1, fast.unit.gates.level4):
        gate.score.bias.fill_(1e4)  # sigmoid of it is 1 exactly
    inputs = fast_example(VITS, patch_grid(size)) | {
        'image': image, 'fresh': torch.ones(1), **{f'm{i + 1}': m for i, m in enumerate(memory)}}
    result = FastGraph(fast)(*inputs.values())[0]
    assert depth.max() > 0.1
    torch.testing.assert_close(result, depth, rtol=0, atol=BIT_CLOSE * float(depth.max()))


def random_unit() -> SpatialMemoryUnit:
    """A unit whose gates really depend on what they compare."""
    unit = SpatialMemoryUnit(CHANNELS).eval()
    for gate in (unit.gates.level1, unit.gates.level4):
        torch.nn.init.normal_(gate.compare.weight, std=0.2)
        torch.nn.init.normal_(gate.score.weight, std=0.3)
        gate.score.bias.zero_()
    return unit


def random_levels(channels: int) -> list[torch.Tensor]:
    return [torch.randn(1, channels, *size) for size in memory_sizes(SMALL_GRID)]


def blank_state(fill: float = 0.0) -> MemoryState:
    sizes = memory_sizes(SMALL_GRID)
    return MemoryState([torch.full((1, 1, *s), fill) for s in sizes],
                       [torch.full((1, CHANNELS, *s), fill) for s in sizes],
                       torch.full((1, CHANNELS, *sizes[0]), fill),
                       torch.full((1, CHANNELS, *sizes[3]), fill),
                       torch.full((1, 1, *sizes[0]), fill))


def test_keyframe_form_is_the_papers_recursion_over_twenty_steps() -> None:
    unit, memory = random_unit(), random_levels(CHANNELS)
    still, beta, k = torch.eye(3), torch.tensor([0.5]), torch.tensor([4.0])
    first = random_levels(CHANNELS)
    state = blank_state()._replace(p1=first[0], p4=first[3])
    recursive = [level.clone() for level in memory]
    previous_p1, previous_p4, smoothed = first[0], first[3], None
    for index in range(20):
        present = random_levels(CHANNELS)
        fused, state = unit(present, memory, state, still, still, beta, k,
                            torch.tensor([float(index == 0)]))
        # Eqs. 4-10 as the paper writes them, with M itself as the state.
        fine = unit.gates.level1(previous_p1, present[0])
        coarse = interpolate(unit.gates.level4(previous_p4, present[3]), present[0].shape[2:])
        g = torch.sigmoid(4 * (coarse - 0.5))
        trust = g * fine + (1 - g) * coarse
        smoothed = trust if smoothed is None else 0.5 * trust + 0.5 * smoothed
        previous_p1, previous_p4 = present[0], present[3]
        for level, phi in enumerate(present):
            t = interpolate(smoothed, phi.shape[2:])
            recursive[level] = t * recursive[level] + (1 - t) * phi
            torch.testing.assert_close(fused[level], recursive[level], rtol=1e-4, atol=1e-4)
    assert 0.05 < float(smoothed.min()) and float(smoothed.max()) < 0.95, 'the gates did nothing'


homographies = st.lists(st.floats(-0.5, 0.5), min_size=9, max_size=9).map(
    lambda values: torch.eye(3) + torch.tensor(values).reshape(3, 3))


@given(steps=st.lists(st.tuples(homographies, homographies), min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_weights_sum_to_one_under_any_warp(
        steps: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """With a memory and observations of ones, any convex combination is one everywhere."""
    torch.manual_seed(1)
    unit = random_unit()
    ones = [torch.ones(1, CHANNELS, *size) for size in memory_sizes(SMALL_GRID)]
    state = blank_state()._replace(p1=torch.randn_like(ones[0]), p4=torch.randn_like(ones[3]))
    for index, (step, keyframe) in enumerate(steps):
        fused, state = unit(ones, ones, state, step, keyframe, torch.tensor([0.5]),
                            torch.tensor([4.0]), torch.tensor([float(index == 0)]))
        for level in fused:
            torch.testing.assert_close(level, torch.ones_like(level), rtol=0, atol=1e-4)
        assert all(float(a.min()) >= 0 and float(a.max()) <= 1 + 1e-5 for a in state.weight)


def test_a_fresh_step_ignores_whatever_the_stale_state_holds() -> None:
    unit, memory, present = random_unit(), random_levels(CHANNELS), random_levels(CHANNELS)
    arguments = (torch.eye(3), torch.eye(3), torch.tensor([0.5]), torch.tensor([4.0]),
                 torch.ones(1))
    p1, p4 = random_levels(CHANNELS)[0], random_levels(CHANNELS)[3]
    clean, _ = unit(present, memory, blank_state()._replace(p1=p1, p4=p4), *arguments)
    stale, _ = unit(present, memory, blank_state(float('nan'))._replace(p1=p1, p4=p4), *arguments)
    for a, b in zip(clean, stale, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_regions_that_the_keyframe_never_saw_show_the_present() -> None:
    unit = SpatialMemoryUnit(CHANNELS).eval()  # untrained: keeps the memory
    memory, present = random_levels(CHANNELS), random_levels(CHANNELS)
    half = torch.eye(3)
    half[0, 2] = 1.0  # the left half of this view lies in the remembered view's right half
    state = blank_state()._replace(p1=present[0], p4=present[3])
    fused, _ = unit(present, memory, state, half, half, torch.tensor([0.5]), torch.tensor([4.0]),
                    torch.ones(1))
    cols = present[0].shape[3] // 2
    torch.testing.assert_close(fused[0][..., cols:], present[0][..., cols:])
    kept = memory[0][..., cols:]  # moved left by half the image
    assert (fused[0][..., :cols] - kept).abs().max() < 0.01 * kept.abs().max()


def test_gates_start_by_keeping_the_memory_and_the_graph_names_its_outputs() -> None:
    network = FastNetwork(VITS).eval()
    inputs = fast_example(VITS, SMALL_GRID) | {'fresh': torch.ones(1)}
    outputs = dict(zip(FAST_OUTPUTS, FastGraph(network)(*inputs.values()), strict=True))
    assert set(outputs) == {'depth', *(f'next_{name}' for name in STATE)}
    assert float(outputs['next_trust'].min()) > 0.99
    assert all(float(outputs[f'next_a{level}'].min()) > 0.99 for level in range(1, 5))


def test_half_a_turn_is_a_flip_and_nothing_behind_the_camera_is_valid() -> None:
    x = torch.randn(1, 2, 6, 8)
    grid, valid = homography_grid(torch.diag(torch.tensor([-1.0, -1.0, 1.0])), (6, 8))
    assert bool(valid.all())
    torch.testing.assert_close(sample(x, grid), x.flip((2, 3)), rtol=1e-4, atol=1e-4)
    behind = torch.eye(3)
    behind[2, 2] = -1
    assert not homography_grid(behind, (6, 8))[1].any()
