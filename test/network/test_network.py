"""The networks against the paper's counts, equations and the foundation model itself."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')
pytest.importorskip('onnx', reason='left out: needs onnx')

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.engine.positions import resize_positions
from asyncmde_ros.engine.torch import load_weights
from asyncmde_ros.model.config import VITB, VITS
from asyncmde_ros.model.geometry import PATCH, memory_sizes, patch_grid
from asyncmde_ros.model.graph_tensors import FAST_OUTPUTS, STATE
from asyncmde_ros.network.depth_anything import DepthAnythingV2
from asyncmde_ros.network.dpt import DPTDecoder, LightDecoder
from asyncmde_ros.network.export import fast_example
from asyncmde_ros.network.graphs import FastGraph, FastNetwork
from asyncmde_ros.network.mobilenetv3 import SameConv2d
from asyncmde_ros.network.spatial_memory import (
    KeyframeFeatures,
    MemoryState,
    Projector,
    SpatialMemoryUnit,
    full_size,
    interpolate,
    observed_sizes,
)
from asyncmde_ros.network.warp import BORDER_REACH, TensorWarp, sample, warp_grid

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
    assert count(network.frame_encoder.encoder) == 927_008
    assert network.frame_encoder.encoder.taps == (16, 24, 48, 576)
    assert count(network.frame_encoder.projector) == 85_504
    assert count(network.unit.gates) == 295_170
    assert count(network.frame_encoder.projector) + count(network.unit.gates) == 380_674
    assert count(network.unit.correction) == 4 * 128  # ours
    assert count(network.decoder) == 2_519_681


def test_our_projector_reads_the_deeper_taps_as_well() -> None:
    frame_encoder = FastNetwork(VITS).frame_encoder
    taps, c = frame_encoder.encoder.taps, VITS.channels
    own = sum(c * width + c for width in taps)
    deeper = sum(c * (level * taps[level]) for level in range(1, len(taps)))
    assert own == 33_024, 'the paper has no more'
    assert count(frame_encoder.projector) == own + deeper == 122_624
    assert FastNetwork(VITB).frame_encoder.projector.context is None


def test_without_its_context_our_projector_is_the_papers() -> None:
    taps, sizes = (16, 24, 48, 576), [(16, 20), (8, 10), (4, 5), (2, 3)]
    features = [torch.randn(2, width, *size) for width, size in zip(taps, sizes, strict=True)]
    ours, papers = Projector(taps, CHANNELS, True), Projector(taps, CHANNELS, False)
    papers.load_state_dict(ours.state_dict(), strict=False)
    assert not torch.allclose(ours(features, sizes)[0], papers(features, sizes)[0])
    ours.hold_context()
    for a, b in zip(ours(features, sizes), papers(features, sizes), strict=True):
        torch.testing.assert_close(a, b)
    assert not any(parameter.requires_grad for parameter in ours.context.parameters())


def test_a_levels_context_is_what_lies_deeper() -> None:
    taps, sizes = (3, 4, 5, 6), [(16, 20), (8, 10), (4, 5), (2, 3)]
    projector = Projector(taps, CHANNELS, True)
    features = [torch.randn(1, width, *size) for width, size in zip(taps, sizes, strict=True)]
    before = projector(features, sizes)
    for changed in range(4):
        other = [feature + (level == changed) for level, feature in enumerate(features)]
        after = projector(other, sizes)
        assert [not torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [
            level <= changed for level in range(4)]


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

    fast = FastNetwork(replace(VITS, decoder='dpt')).eval()
    fast.decoder.load_state_dict(foundation.depth_head.scratch.state_dict(), strict=False)
    for gate in (fast.unit.gates.level1, fast.unit.gates.level4):
        gate.score.bias.fill_(1e4)  # sigmoid of it is 1 exactly
    inputs = fast_example(VITS, size) | {
        'image': image, 'fresh': torch.ones(1), **{f'm{i + 1}': m for i, m in enumerate(memory)}}
    result = FastGraph(fast)(*inputs.values())[0]
    assert depth.max() > 0.1
    torch.testing.assert_close(result, depth, rtol=0, atol=BIT_CLOSE * float(depth.max()))


def random_unit(correction: float = 1.0) -> SpatialMemoryUnit:
    """A unit whose gates really depend on what they compare."""
    unit = SpatialMemoryUnit(CHANNELS).eval()
    for parameter in unit.correction:
        parameter.fill_(correction)
    for gate in (unit.gates.level1, unit.gates.level4):
        torch.nn.init.normal_(gate.compare.weight, std=0.2)
        torch.nn.init.normal_(gate.score.weight, std=0.3)
        gate.score.bias.zero_()
    return unit


def random_levels(channels: int) -> list[torch.Tensor]:
    return [torch.randn(1, channels, *size) for size in memory_sizes(SMALL_GRID)]


def random_observed() -> list[torch.Tensor]:
    """Phi: level 1 has the size of level 2."""
    return [torch.randn(1, CHANNELS, *size)
            for size in observed_sizes(random_levels(1))]


def blank_state(fill: float = 0.0) -> MemoryState:
    sizes = memory_sizes(SMALL_GRID)[1:]
    return MemoryState([torch.full((1, 1, *s), fill) for s in sizes],
                       torch.full((1, CHANNELS, *sizes[0]), fill),
                       torch.full((1, CHANNELS, *sizes[2]), fill),
                       torch.full((1, 1, *sizes[0]), fill))


def moving(homography: torch.Tensor, flow: torch.Tensor | float = 0.0) -> TensorWarp:
    return TensorWarp(homography, torch.zeros(1, 2, *memory_sizes(SMALL_GRID)[0]) + flow)


@pytest.mark.parametrize('correction', [0.0, 1.0, 0.3])
def test_twenty_steps_follow_the_papers_gates_and_mix_in_the_present(correction: float) -> None:
    """Phi itself with correction 0, else Phi plus what it lacked in the keyframe."""
    unit, memory = random_unit(correction), random_levels(CHANNELS)
    still, beta, k = moving(torch.eye(3)), torch.tensor([0.5]), torch.tensor([4.0])
    first = random_observed()
    state = blank_state()
    weights = [torch.ones(1, 1, *phi.shape[2:]) for phi in first]
    previous_p1, previous_p4, smoothed = first[0], first[3], None
    for index in range(20):
        present = random_observed()
        fused, state, _ = unit(present, KeyframeFeatures(memory, first), state, still, still, beta,
                               k, torch.tensor([float(index == 0)]))
        # Eqs. 4-8 as the paper writes them; the keyframe's weight is what eqs. 9-10 leave of it.
        fine = unit.gates.level1(previous_p1, present[0])
        coarse = interpolate(unit.gates.level4(previous_p4, present[3]), present[0].shape[2:])
        g = torch.sigmoid(4 * (coarse - 0.5))
        trust = g * fine + (1 - g) * coarse
        smoothed = trust if smoothed is None else 0.5 * trust + 0.5 * smoothed
        previous_p1, previous_p4 = present[0], present[3]
        for level, phi in enumerate(present):
            t = interpolate(smoothed, phi.shape[2:])
            weights[level] = t * weights[level]
            mixed_in = 1 - weights[level]
            seen_new = mixed_in * (phi - correction * first[level])
            if level == 0:
                mixed_in, seen_new = (interpolate(x, memory[0].shape[2:])
                                      for x in (mixed_in, seen_new))
            expected = ((1 - mixed_in) * memory[level] + mixed_in * correction * memory[level]
                        + seen_new)
            torch.testing.assert_close(fused[level], expected, rtol=1e-4, atol=1e-4)
    assert 0.05 < float(smoothed.min()) and float(smoothed.max()) < 0.95, 'the gates did nothing'


homographies = st.lists(st.floats(-0.5, 0.5), min_size=9, max_size=9).map(
    lambda values: torch.eye(3) + torch.tensor(values).reshape(3, 3))


@st.composite
def warps(draw: st.DrawFn) -> TensorWarp:
    spread, seed = draw(st.floats(0, 1)), draw(st.integers(0, 1000))
    size = draw(st.sampled_from([memory_sizes(SMALL_GRID)[0], (7, 9)]))
    flow = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(seed))
    return TensorWarp(draw(homographies), spread * flow)


@given(steps=st.lists(st.tuples(warps(), warps()), min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_weights_sum_to_one_under_any_warp(steps: list[tuple[TensorWarp, TensorWarp]]) -> None:
    """With a memory and observations of ones, any convex combination is one everywhere."""
    torch.manual_seed(1)
    unit = random_unit(correction=0.3)
    ones = [torch.ones(1, CHANNELS, *size) for size in memory_sizes(SMALL_GRID)]
    observed = [torch.ones_like(phi) for phi in random_observed()]
    state = blank_state()
    for index, (step, keyframe) in enumerate(steps):
        state = state._replace(p1=torch.randn_like(state.p1), p4=torch.randn_like(state.p4))
        fused, state, share = unit(observed, KeyframeFeatures(ones, observed), state, step,
                                   keyframe, torch.tensor([0.5]), torch.tensor([4.0]),
                                   torch.tensor([float(index == 0)]))
        for level in fused:
            torch.testing.assert_close(level, torch.ones_like(level), rtol=0, atol=1e-4)
        assert all(float(a.min()) >= 0 and float(a.max()) <= 1 + 1e-5
                   for a in (*state.weight, share))


def test_a_fresh_step_ignores_whatever_the_stale_state_holds() -> None:
    unit, present = random_unit(), random_observed()
    memory = KeyframeFeatures(random_levels(CHANNELS), random_observed())
    arguments = (*[moving(torch.eye(3))] * 2, torch.tensor([0.5]), torch.tensor([4.0]),
                 torch.ones(1))
    clean, *_ = unit(present, memory, blank_state(), *arguments)
    stale, *_ = unit(present, memory, blank_state(float('nan')), *arguments)
    for a, b in zip(clean, stale, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize('by', ['homography', 'flow'])
def test_regions_that_the_keyframe_never_saw_show_the_present(by: str) -> None:
    unit = SpatialMemoryUnit(CHANNELS).eval()  # untrained: keeps the memory
    unit.hold_correction()
    memory, present = random_levels(CHANNELS), random_observed()
    half = torch.eye(3)
    half[0, 2] = 1.0  # the left half of this view lies in the remembered view's right half
    state = blank_state()
    warp = moving(half) if by == 'homography' else moving(
        torch.eye(3), torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1))
    fused, _, share = unit(present, KeyframeFeatures(memory, present), state, warp, warp,
                           torch.tensor([0.5]), torch.tensor([4.0]), torch.ones(1))
    cols = share.shape[3]
    reach = math.ceil(cols / 2 * (1 + BORDER_REACH))  # where the repeated border counts no more
    for ours, phi, beyond in zip(fused, full_size(present), (2 * reach + 1, reach),
                                 strict=False):
        torch.testing.assert_close(ours[..., beyond:], phi[..., beyond:])
    assert not share[..., reach:].any() and (share[..., :cols // 2] > 0.99).all()
    assert (share.diff(dim=3) <= 1e-6).all(), 'the share falls with the distance'
    kept = memory[1][..., cols // 2:]  # moved left by half the image
    assert (fused[1][..., :cols // 2] - kept).abs().max() < 0.01 * kept.abs().max()


def test_what_phi_lacked_in_the_keyframe_is_added_where_the_present_shows() -> None:
    """Where the keyframe saw nothing its border's lack goes on, as far as the view reaches."""
    unit = random_unit()
    present, first = random_observed(), random_observed()
    lack = [torch.randn(1, CHANNELS, 1, 1) for _ in first]
    memory = KeyframeFeatures(
        [phi + by for phi, by in zip(full_size(first), lack, strict=True)], first)
    away = torch.eye(3)
    away[0, 2] = 4.0
    state = blank_state()
    fused, _, share = unit(present, memory, state, moving(away), moving(away),
                           torch.tensor([0.5]), torch.tensor([4.0]), torch.ones(1))
    assert not share.any()
    expected = [phi + by for phi, by in zip(full_size(present), lack, strict=True)]
    for ours, corrected, by_hand in zip(
            fused, unit.corrected(present, memory, moving(away)), expected, strict=True):
        torch.testing.assert_close(ours, by_hand, rtol=0, atol=1e-5)
        torch.testing.assert_close(corrected, by_hand, rtol=0, atol=1e-5)


def test_where_nothing_changed_mixing_in_changes_nothing() -> None:
    """Whatever the gates say: a poor Phi costs nothing as long as it stays what it was."""
    unit, state = random_unit(), blank_state()
    memory = KeyframeFeatures(random_levels(CHANNELS), random_observed())
    still = moving(torch.eye(3))
    for index in range(5):
        fused, state, share = unit(memory.observed, memory, state, still, still,
                                   torch.tensor([0.5]), torch.tensor([4.0]),
                                   torch.tensor([float(index == 0)]))
        for ours, m0 in zip(fused, memory.levels, strict=True):
            torch.testing.assert_close(ours, m0, rtol=0, atol=1e-4)
    assert float(share.max()) < 0.9, 'the gates mixed nothing in'


def test_what_comes_back_into_view_is_remembered() -> None:
    unit = SpatialMemoryUnit(CHANNELS).eval()
    memory, present = random_levels(CHANNELS), random_observed()
    both = KeyframeFeatures(memory, present)
    away, back = torch.eye(3), torch.eye(3)
    away[0, 2], back[0, 2] = 2.0, -2.0
    state = blank_state()
    scalars = (torch.tensor([0.5]), torch.tensor([4.0]))
    gone = unit(present, both, state, moving(away), moving(away), *scalars, torch.ones(1))
    assert not gone.share[..., gone.share.shape[3] // 2:].any()
    again = unit(present, both, gone.state, moving(back), moving(torch.eye(3)), *scalars,
                 torch.zeros(1))
    assert float(again.share.min()) > 0.99
    assert (again.levels[0] - memory[0]).abs().max() < 0.01 * memory[0].abs().max()


def test_gates_start_by_keeping_the_memory_and_the_graph_names_its_outputs() -> None:
    network = FastNetwork(VITS).eval()
    size = (PATCH * SMALL_GRID[0], PATCH * SMALL_GRID[1])
    inputs = fast_example(VITS, size) | {'fresh': torch.ones(1)}
    outputs = dict(zip(FAST_OUTPUTS, FastGraph(network)(*inputs.values()), strict=True))
    assert set(outputs) == {'depth', 'share', *(f'next_{name}' for name in STATE)}
    assert float(outputs['next_trust'].min()) > 0.99
    assert all(float(outputs[f'next_a{level}'].min()) > 0.99 for level in range(2, 5))


def test_a_light_decoder_is_the_foundation_models_but_for_what_it_leaves_out() -> None:
    """With what is left out doing nothing both show the same, but for how depth is resampled."""
    torch.manual_seed(2)
    full, light = DPTDecoder(CHANNELS), LightDecoder(CHANNELS)
    for parameter in full.refinenet1.resConfUnit1.parameters():
        parameter.zero_()
    light.load_state_dict(full.state_dict(), strict=False)
    # Constant maps resample to themselves, so that order and size of resampling do not count;
    # zero padding does, up to as many pixels from the border as 3x3 convolutions follow.
    levels = [torch.randn(1, CHANNELS, 1, 1).expand(1, CHANNELS, *size)
              for size in memory_sizes((24, 32))]
    size = (24 * PATCH, 32 * PATCH)
    whole, lighter = full.decode(levels, size), light.decode(levels, size)
    assert whole.shape == lighter.shape == (1, 1, *size)
    middle = (..., slice(size[0] // 2 - 2, size[0] // 2 + 2),
              slice(size[1] // 2 - 2, size[1] // 2 + 2))
    torch.testing.assert_close(lighter[middle], whole[middle], rtol=1e-4, atol=1e-5)
    assert light.native(levels, size).shape == (1, 1, 2 * 4 * 24, 2 * 4 * 32)
    assert count(full) - count(light) == count(full.refinenet1.resConfUnit1)


def test_half_a_turn_is_a_flip_and_nothing_behind_the_camera_is_valid() -> None:
    x = torch.randn(1, 2, 6, 8)
    grid, valid = warp_grid(moving(torch.diag(torch.tensor([-1.0, -1.0, 1.0]))), (6, 8))
    assert bool(valid.all())
    torch.testing.assert_close(sample(x, grid), x.flip((2, 3)), rtol=1e-4, atol=1e-4)
    behind = torch.eye(3)
    behind[2, 2] = -1
    assert not warp_grid(moving(behind, 0.5), (6, 8))[1].any()


@given(pairs=st.lists(warps(), min_size=2, max_size=3))
@settings(deadline=None)
def test_a_batch_of_warps_is_each_by_itself(pairs: list[TensorWarp]) -> None:
    size = (6, 9)
    flows = [interpolate(warp.flow, size) for warp in pairs]
    grids, valid = warp_grid(
        TensorWarp(torch.stack([warp.homography for warp in pairs]), torch.cat(flows)), size)
    assert grids.shape == (len(pairs), *size, 2) and valid.shape == (len(pairs), 1, *size)
    x = torch.randn(len(pairs), 3, *size)
    moved = sample(x, grids)
    for index, warp in enumerate(pairs):
        grid, seen = warp_grid(TensorWarp(warp.homography, flows[index]), size)
        torch.testing.assert_close(grids[index:index + 1], grid)
        torch.testing.assert_close(valid[index:index + 1], seen)
        torch.testing.assert_close(moved[index:index + 1], sample(x[index:index + 1], grid))


def test_a_flow_is_added_to_what_the_homography_says_at_any_size() -> None:
    homography = torch.tensor([[1.0, 0.1, 0.2], [-0.1, 0.9, 0.0], [0.1, 0.0, 1.0]])
    by_camera, _ = warp_grid(moving(homography), (6, 8))
    constant = torch.tensor([0.25, -0.5]).reshape(1, 2, 1, 1)
    for size in ((16, 20), (6, 8), (3, 2)):
        grid, _ = warp_grid(TensorWarp(homography, constant.expand(1, 2, *size)), (6, 8))
        torch.testing.assert_close(grid - by_camera, constant.permute(0, 2, 3, 1).expand_as(grid))


def test_half_precision_features_are_sampled_where_float32_says() -> None:
    size = (72, 128)
    features = torch.randn(1, 3, *size).half()
    warp = moving(torch.tensor([[1.0, 0.01, 0.1], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), 0.003)
    grid, _ = warp_grid(TensorWarp(warp.homography.half(), warp.flow.half()), size)
    assert grid.dtype == torch.float32
    moved = sample(features, grid)
    assert moved.dtype == torch.float16
    exact = sample(features.float(), grid)
    torch.testing.assert_close(moved, exact.half(), rtol=0, atol=0)
    rounded = sample(features.float(), grid.half().float())
    assert (rounded - exact).abs().max() > 20 * (moved.float() - exact).abs().max()
