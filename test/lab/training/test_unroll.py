"""The network in training: where it begins, and a clip through it exactly as on the robot."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asyncmde_ros import weights
from asyncmde_ros.engine.interface import Precision
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.engine.torch import NEVER_READ, load_weights
from asyncmde_ros.lab.evaluation.predict import (
    Footage,
    Foundation,
    MemoryRefresh,
    spatial_memory,
)
from asyncmde_ros.lab.training import initial
from asyncmde_ros.lab.training.config import GATES, ModelChoice, UnrollConfig
from asyncmde_ros.lab.training.initial import fit_projector, initial_network, save
from asyncmde_ros.lab.training.unroll import (
    as_memory,
    corrected_at,
    decode,
    network_image,
    observe,
    unroll,
)
from asyncmde_ros.lab.training.windows import Batch
from asyncmde_ros.model.config import VITS
from asyncmde_ros.model.geometry import Size, memory_sizes, patch_grid
from asyncmde_ros.model.graph_tensors import MEMORY
from asyncmde_ros.model.preprocess import normalise
from asyncmde_ros.network import warp as network_warp
from asyncmde_ros.network.depth_anything import DepthAnythingV2
from asyncmde_ros.network.graphs import FastNetwork
from asyncmde_ros.network.spatial_memory import Gate, Projector, interpolate, sum_top_down
from asyncmde_ros.pipeline.motion import Warp, still
from asyncmde_ros.pipeline.settings import Settings

SIZE: Size = (56, 84)
SIZES = memory_sizes(patch_grid(SIZE))
SMALL = replace(VITS, channels=8)
FRAMES = 5
SETTINGS = UnrollConfig(frames=FRAMES)
MOTIONS = ('still', 'homography', 'flow')
FOUNDATION = ModelChoice()

CLOSE = 1e-4
"""Of the largest value: float32 sums in another order, through the whole network."""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@torch.no_grad()
def with_lively_gates(network: FastNetwork) -> FastNetwork:
    """Make Phi differ from place to place, and trust depend on it."""
    network.eval()
    taps = network.frame_encoder.encode(network_image(torch.from_numpy(pictures(1))))
    for conv, tap in zip(network.frame_encoder.projector.convs, taps, strict=True):
        nn.init.normal_(conv.weight, std=1 / float(tap.std() * conv.in_channels**0.5))
        conv.bias.copy_(-conv(tap).mean((0, 2, 3)) + conv.bias)
    for gate in (network.unit.gates.level1, network.unit.gates.level4):
        nn.init.normal_(gate.compare.weight, std=0.1)
        nn.init.normal_(gate.score.weight, std=0.4)
        nn.init.zeros_(gate.score.bias)
    return network


@pytest.fixture
def network() -> FastNetwork:
    return with_lively_gates(FastNetwork(SMALL))


def force_trust(network: FastNetwork, bias: float) -> None:
    """Make T one or zero exactly: sigmoid of +-1e4 is."""
    for gate in (network.unit.gates.level1, network.unit.gates.level4):
        nn.init.zeros_(gate.score.weight)
        nn.init.constant_(gate.score.bias, bias)


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Return (count, *SIZE, 3) of soft random colours, which change from frame to frame."""
    coarse = torch.from_numpy(np.random.default_rng(seed).random((count, 3, 7, 10)))
    smooth = F.interpolate(coarse, SIZE, mode='bicubic').clamp(0, 1)
    return (255 * smooth).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def walk(seed: int, motion: str) -> list[Warp]:
    """Return the steps of a camera, each to the frame before; ``motion`` is one of MOTIONS."""
    rng = np.random.default_rng(seed)
    steps = [still(SIZE) for _ in range(FRAMES)]
    if motion == 'still':
        return steps
    for index in range(1, FRAMES):
        homography = np.eye(3) + 0.06 * rng.standard_normal((3, 3))
        flow = 0.05 * rng.standard_normal((2, *SIZES[0]))
        steps[index] = Warp(homography.astype(np.float32), flow.astype(np.float32)
                            if motion == 'flow' else steps[index].flow)
    return steps


def stacked(walks: Sequence[Sequence[Warp]]) -> network_warp.TensorWarp:
    """Return warps (B, T) as a batch has them."""
    return network_warp.TensorWarp(*(torch.from_numpy(np.stack([
        [warp[part] for warp in steps] for steps in walks])) for part in (0, 1)))


def make_batch(size: int, channels: int = SMALL.channels, motion: str = 'flow') -> Batch:
    rng = np.random.default_rng(1)
    shown = [pictures(FRAMES, seed) for seed in range(size)]
    walks = [walk(seed, motion) for seed in range(size)]
    footages = [Footage(list(p), steps) for p, steps in zip(shown, walks, strict=True)]
    return Batch(
        torch.from_numpy(np.stack(shown)),
        [torch.from_numpy(rng.normal(size=(size, FRAMES, channels, *s))).half() for s in SIZES],
        torch.from_numpy(rng.random((size, FRAMES, 1, *SIZE))).half(), stacked(walks),
        stacked([[footage.since(0, index) for index in range(FRAMES)] for footage in footages]))


def of_item(batch: Batch, index: int) -> Batch:
    one = slice(index, index + 1)
    return Batch(batch.images[one], [level[one] for level in batch.levels], batch.depth[one],
                 *(network_warp.TensorWarp(warps.homography[one], warps.flow[one])
                   for warps in (batch.steps, batch.keyframe)))


def assert_same(ours: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    assert scale > 0, 'nothing is compared'
    torch.testing.assert_close(ours, expected, rtol=0, atol=CLOSE * scale)


# What goes in


def test_pictures_are_normalised_as_for_the_engines() -> None:
    shown = pictures(3)
    ours = network_image(torch.from_numpy(shown)[None])
    expected = np.empty((1, 3, *SIZE), np.float32)
    for index, picture in enumerate(shown):
        normalise(picture, expected)
        np.testing.assert_allclose(ours[0, index], expected[0], atol=1e-6)


@torch.inference_mode()
def test_every_frame_is_observed_by_itself(network: FastNetwork) -> None:
    batch = make_batch(2)
    observed = observe(network, batch)
    for index in (0, 1):
        for frame in (0, FRAMES - 1):
            alone = network.frame_encoder(network_image(batch.images[index, frame])[None],
                                     [level[:1, 0] for level in batch.levels])
            for level, expected in zip(observed, alone, strict=True):
                assert_same(level[index, frame], expected[0])


# The memory over time


@torch.inference_mode()
@pytest.mark.parametrize('delay', [0, 2])
def test_full_trust_keeps_the_first_frames_memory(network: FastNetwork, delay: int) -> None:
    force_trust(network, 1e4)
    batch = make_batch(2, motion='still')
    result = unroll(network, batch, delay, FOUNDATION, SETTINGS)
    assert result.delay == delay and result.trust.shape == (2, FRAMES - delay, 1, *SIZES[1])
    assert (result.trust == 1).all()
    for fused, memory in zip(result.fused, batch.levels, strict=True):
        # Resampling through the identity is exact but for rounding.
        assert_same(fused, memory[:, :1].float().expand_as(fused))


@torch.inference_mode()
def test_no_trust_shows_the_present(network: FastNetwork) -> None:
    force_trust(network, -1e4)
    network.unit.hold_correction()
    result = unroll(network, make_batch(2), 1, FOUNDATION, SETTINGS)
    for fused, observed in zip(result.fused, as_memory(result.observed), strict=True):
        assert_same(fused, observed[:, 1:])


@torch.inference_mode()
def test_no_trust_shows_the_corrected_present(network: FastNetwork) -> None:
    force_trust(network, -1e4)
    batch = make_batch(2)
    result = unroll(network, batch, 1, FOUNDATION, SETTINGS)
    for frame in range(1, FRAMES):
        corrected = corrected_at(network, batch, result.observed, frame)
        for fused, level in zip(result.fused, corrected, strict=True):
            assert_same(fused[:, frame - 1], level)


def by_hand(network: FastNetwork, observed: Sequence[Tensor], memory: Sequence[Tensor],
                     delay: int, gates: str) -> list[list[Tensor]]:
    """Eqs. 4-8 for a camera that does not move, and the weight that eqs. 9-10 leave M.

    The rest is the present's: Phi plus the network's correction of what it lacked at first.
    """
    def h(gate: Gate, p: Tensor, c: Tensor) -> Tensor:
        return torch.sigmoid(gate.score(F.relu(gate.compare(torch.cat([p, c], 1)))))
    modules = network.unit.gates
    p1, p4 = observed[0][:, 0], observed[3][:, 0]
    weights, smooth, shown = [1.0] * 4, None, []
    correction = [c.reshape(-1, 1, 1) for c in network.unit.correction]
    for frame in range(delay, FRAMES):
        present = [level[:, frame] for level in observed]
        fine = h(modules.level1, p1, present[0])                            # eq. 4
        semantic = interpolate(h(modules.level4, p4, present[3]), SIZES[1])  # eq. 5
        g = torch.sigmoid(SETTINGS.k * (semantic - 0.5))                    # eq. 6
        trust = {'full': g * fine + (1 - g) * semantic,                     # eq. 7
                 'level1': fine, 'level4': semantic}[gates]
        smooth = (trust if smooth is None
                  else SETTINGS.beta * trust + (1 - SETTINGS.beta) * smooth)
        weights = [interpolate(smooth, phi.shape[2:]) * a                   # eqs. 8-10
                   for a, phi in zip(weights, present, strict=True)]
        new = [(1 - a) * (phi - c * level[:, 0]) for a, c, phi, level
               in zip(weights, correction, present, observed, strict=True)]
        new[0] = interpolate(new[0], SIZES[0])
        kept = [interpolate(a, SIZES[0]) if level == 0 else a for level, a in enumerate(weights)]
        shown.append([(a + (1 - a) * c) * m + by for a, c, m, by
                      in zip(kept, correction, memory, new, strict=True)])
        p1, p4 = present[0], present[3]
    return shown


@torch.inference_mode()
@pytest.mark.parametrize('gates', GATES)
@pytest.mark.parametrize(('memory', 'delay'), [('foundation', 0), ('foundation', 3),
                                               ('encoder', 0), ('encoder', 1)])
def test_a_still_camera_follows_the_papers_equations(network: FastNetwork, gates: str,
                                                     memory: str, delay: int) -> None:
    network.unit.gates.scales = gates
    for parameter in network.unit.correction:
        parameter.uniform_()
    batch = make_batch(2, motion='still')
    result = unroll(network, batch, delay, ModelChoice(memory=memory, gates=gates), SETTINGS)
    first = as_memory(result.observed) if memory == 'encoder' else batch.levels
    shown = by_hand(network, result.observed, [level[:, 0].float() for level in first],
                             delay, gates)
    for level in range(4):
        assert_same(result.fused[level], torch.stack([frame[level] for frame in shown], 1))
    assert float(result.trust.std()) > 0.05, 'the gates did nothing'


@torch.inference_mode()
def test_without_memory_there_is_only_the_present(network: FastNetwork) -> None:
    batch = make_batch(2)
    result = unroll(network, batch, 2, ModelChoice(memory='none'), SETTINGS)
    for fused, observed in zip(result.fused, as_memory(observe(network, batch)), strict=True):
        torch.testing.assert_close(fused, observed[:, 2:], rtol=0, atol=0)
    assert result.trust.shape == (2, FRAMES - 2, 1, *SIZES[1]) and not result.trust.any()


@torch.inference_mode()
@pytest.mark.parametrize('delay', [0, 2])
def test_a_batch_is_its_items(network: FastNetwork, delay: int) -> None:
    batch = make_batch(3)
    together = unroll(network, batch, delay, FOUNDATION, SETTINGS)
    for index in range(3):
        alone = unroll(network, of_item(batch, index), delay, FOUNDATION, SETTINGS)
        for level in range(4):
            assert_same(together.fused[level][index], alone.fused[level][0])
        assert_same(together.trust[index], alone.trust[0])
        depths = [decode(network, [level[i, -1:] for level in result.fused], SIZE)
                  for result, i in ((together, index), (alone, 0))]
        assert_same(depths[0] + 1, depths[1] + 1)  # an untrained decoder may show nothing


# As on the robot


@pytest.fixture(scope='module')
def pair(foundation_path: Path, foundation_weights: dict[str, np.ndarray],
         fast_weights: dict[str, np.ndarray],
         tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A network to train and the engines that run its saved weights."""
    torch.manual_seed(0)
    foundation = DepthAnythingV2(VITS).eval()
    load_weights(foundation, foundation_weights)
    encoder = {name.removeprefix('frame_encoder.encoder.'): value
               for name, value in fast_weights.items()
               if name.startswith('frame_encoder.encoder.')}
    network = with_lively_gates(initial_network(VITS, foundation, encoder, 0.9))
    path = tmp_path_factory.mktemp('weights') / 'own.safetensors'
    save(network, path)
    load_weights(network, weights.load(path))  # what half precision leaves of them
    model = Model('vits', 'torch', Precision.FP32, Threads(1, 1), foundation_path, path)
    return SimpleNamespace(network=network, engines=model.compile(SIZE), foundation=foundation,
                           own=Foundation(model, SIZE))


def taught(pair: SimpleNamespace, motion: str) -> tuple[Batch, Tensor, Footage]:
    """Return a batch of one with the foundation model's memory, its depth, and the footage."""
    shown = pictures(FRAMES)
    slot = MemoryRefresh(pair.engines).refresh(shown[0], 0)
    batch = make_batch(1, VITS.channels, motion)
    batch.images = torch.from_numpy(shown)[None]
    batch.levels = [level.float() for level in batch.levels]  # frames that nobody may look at
    for level, name in zip(batch.levels, MEMORY, strict=True):
        level[:, 0] = torch.from_numpy(slot.buffers[name].array)
    return (batch, torch.from_numpy(pair.own.depth(shown[0]).copy())[None, None],
            Footage(list(shown), walk(0, motion)))


@torch.inference_mode()
def test_full_trust_decodes_to_the_foundation_models_own_depth(pair: SimpleNamespace) -> None:
    network = initial_network(replace(VITS, decoder='dpt'), pair.foundation, None, 0.9)
    force_trust(network, 1e4)
    batch, depth, _ = taught(pair, motion='still')
    result = unroll(network, batch, 1, FOUNDATION, SETTINGS)
    for frame in range(FRAMES - 1):
        assert_same(decode(network, [level[:, frame] for level in result.fused], SIZE), depth)


@torch.inference_mode()
@pytest.mark.parametrize('motion', MOTIONS)
@pytest.mark.parametrize('delay', [0, 1, 3])
def test_training_and_the_robot_compute_the_same_depth(pair: SimpleNamespace, delay: int,
                                                       motion: str) -> None:
    batch, teachers, footage = taught(pair, motion)
    result = unroll(pair.network, batch, delay, FOUNDATION, SETTINGS)
    ours = [decode(pair.network, [level[:, frame] for level in result.fused], SIZE)[0, 0]
            for frame in range(FRAMES - delay)]
    settings = Settings(temporal_smoothing=SETTINGS.beta, gate_temperature=SETTINGS.k)
    live = [torch.from_numpy(depth) for depth, _ in spatial_memory(
        pair.engines, footage, delay * [None] + (FRAMES - delay) * [0], settings)][delay:]
    for depth, expected in zip(ours, live, strict=True):
        assert_same(depth, expected)
    assert float((live[-1] - teachers[0, 0]).abs().max()) > 0.05 * float(teachers.max()), \
        'nothing happened'
    assert result.trust.std() > 0.05


# Learning through time


def test_the_last_frames_loss_reaches_every_frame_and_gate(network: FastNetwork) -> None:
    result = unroll(network, make_batch(1), 1, FOUNDATION, SETTINGS)
    for level in (0, 3):
        result.observed[level].retain_grad()
    sum(level[:, -1].square().mean() for level in result.fused).backward()
    for level in (0, 3):
        reached = result.observed[level].grad[0].abs().flatten(1).sum(1)
        assert (reached > 0).all(), 'a frame, the first one among them, has no influence'
    for gate in (network.unit.gates.level1, network.unit.gates.level4):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in gate.parameters())


@pytest.mark.parametrize(('name', 'corrected'), [
    ('unit.gates.level1.score.bias', True), ('unit.gates.level4.score.bias', True),
    ('frame_encoder.projector.convs.0.weight', True), ('unit.correction.2', True),
    # The correction cancels a bias: what would be left is too little to be measured.
    ('frame_encoder.projector.convs.3.bias', False)])
def test_the_gradient_through_time_is_the_finite_difference(network: FastNetwork, name: str,
                                                            corrected: bool) -> None:
    batch = make_batch(1)
    if not corrected:
        network.unit.hold_correction()
    parameter = dict(network.named_parameters())[name]

    def loss() -> Tensor:
        """Of the last frame only: whatever else it depends on, it does through the memory."""
        fused = unroll(network, batch, 1, FOUNDATION, SETTINGS).fused
        return torch.stack([level[:, -1].double().square().mean() for level in fused]).sum()

    loss().backward()
    expected = float(parameter.grad.flatten()[0])
    scalar = parameter.data.view(-1)[:1]
    before, step = scalar.clone(), 3e-3
    values = []
    with torch.no_grad():
        for sign in (1, -1):
            scalar.copy_(before + sign * step)
            values.append(float(loss()))
    assert abs(expected) > 1e-5
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(expected, rel=0.02)


# The projector


TAPS = (3, 4, 5, 6)
TAP_SIZES = ((14, 21), (7, 11), (4, 6), (2, 3))


def random_taps(count: int = 1, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, width, *size, generator=generator)
            for width, size in zip(TAPS, TAP_SIZES, strict=True)]


@torch.inference_mode()
def test_a_projector_without_context_is_the_papers() -> None:
    ours, papers = Projector(TAPS, 2, context=True), Projector(TAPS, 2, context=False)
    papers.load_state_dict(ours.state_dict(), strict=False)
    taps = random_taps(2)
    before = ours(taps, SIZES)
    ours.hold_context()
    for level, (phi, eq3) in enumerate(zip(ours(taps, SIZES), papers(taps, SIZES), strict=True)):
        torch.testing.assert_close(phi, eq3, rtol=0, atol=1e-6)
        by_hand = interpolate(papers.convs[level](taps[level]), SIZES[level])
        torch.testing.assert_close(eq3, by_hand, rtol=0, atol=0)
        assert bool((before[level] - phi).abs().max() > 0.01) == (level < 3)


def test_context_that_is_held_stays_zero_in_training() -> None:
    projector = Projector(TAPS, 2, context=True)
    projector.hold_context()
    optimiser = torch.optim.AdamW(p for p in projector.parameters() if p.requires_grad)
    for _ in range(3):
        optimiser.zero_grad()
        sum(level.square().mean() for level in projector(random_taps(), SIZES)).backward()
        optimiser.step()
    assert not any(p.any() for p in projector.context.parameters())


@torch.inference_mode()
def test_the_top_down_sum_adds_each_map_at_the_next_finer_size() -> None:
    a, b, c = (torch.randn(2, 3, *size) for size in TAP_SIZES[:3])
    expected = a + interpolate(b + interpolate(c, b.shape[2:]), a.shape[2:])
    torch.testing.assert_close(sum_top_down([a, b, c]), expected)
    torch.testing.assert_close(sum_top_down([a]), a)
    ones = [torch.ones(1, 1, *size) for size in TAP_SIZES]
    torch.testing.assert_close(sum_top_down(ones), torch.full((1, 1, *TAP_SIZES[0]), 4.0))


class FakeFrameEncoder(nn.Module):
    """Gives random taps for an image that is nothing but their seed."""

    def __init__(self, context: bool) -> None:
        super().__init__()
        self.projector = Projector(TAPS, 2, context)

    def encode(self, image: Tensor) -> list[Tensor]:
        return random_taps(seed=int(image.flatten()[0]))


def design(taps: Sequence[Tensor], level: int, context: bool) -> np.ndarray:
    """Return (pixels, inputs + 1): what level ``level`` of M is regressed on."""
    columns = []
    for index in range(level, len(TAPS) if context else level + 1):
        x = taps[index]
        for finer in reversed(range(level, index)):
            x = interpolate(x, TAP_SIZES[finer])
        columns.append(interpolate(x, SIZES[level])[0].flatten(1))
    x = torch.cat(columns).double().numpy().T
    return np.concatenate([x, np.ones((len(x), 1))], 1)


IMAGES = [torch.full((1, 3, 1, 1), float(seed)) for seed in range(12)]


@pytest.mark.parametrize('context', [False, True])
def test_the_fit_recovers_a_linear_memory(context: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initial, 'RIDGE', 1e-9)
    truth, frame_encoder = Projector(TAPS, 2, context), FakeFrameEncoder(context)
    with torch.inference_mode():
        samples = [(image, truth(frame_encoder.encode(image), SIZES)) for image in IMAGES]
    explained = fit_projector(frame_encoder, samples)
    assert explained == pytest.approx([1, 1, 1, 1], abs=1e-6)
    for name, value in truth.state_dict().items():
        torch.testing.assert_close(frame_encoder.projector.state_dict()[name], value, rtol=0,
                                   atol=1e-3)


@pytest.mark.parametrize('context', [False, True])
@pytest.mark.parametrize('ridge', [1e-9, 1e-3, 1.0])
def test_the_fit_is_numpys_ridge_regression(context: bool, ridge: float,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initial, 'RIDGE', ridge)
    frame_encoder = FakeFrameEncoder(context)
    memory = [[torch.randn(1, 2, *size) + 3 for size in SIZES] for _ in IMAGES]
    explained = fit_projector(frame_encoder, zip(IMAGES, memory, strict=True))
    taps = [frame_encoder.encode(image) for image in IMAGES]
    for level in range(4):
        x = np.concatenate([design(t, level, context) for t in taps])
        y = np.concatenate([m[level][0].flatten(1).double().numpy().T for m in memory])
        penalty = ridge * (x[:, :-1]**2).sum(0).mean()
        # A ridge is least squares with a row more for each weight but the bias.
        rows = np.sqrt(penalty) * np.eye(x.shape[1])[:-1]
        solution = np.linalg.lstsq(np.concatenate([x, rows]),
                                   np.concatenate([y, np.zeros((len(rows), 2))]), rcond=None)[0]
        convs = [frame_encoder.projector.convs[level]]
        if context and level < 3:
            convs += frame_encoder.projector.context[level]
        fitted = torch.cat([conv.weight[:, :, 0, 0] for conv in convs], 1).detach().numpy().T
        np.testing.assert_allclose(fitted, solution[:-1], atol=1e-4)
        np.testing.assert_allclose(convs[0].bias.detach().numpy(), solution[-1], atol=1e-4)
        share = 1 - ((y - x @ solution)**2).sum() / ((y - y.mean(0))**2).sum()
        assert explained[level] == pytest.approx(share, abs=1e-6)


def test_a_fit_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match='no image'):
        fit_projector(FakeFrameEncoder(True), [])


# Before the first step, and on the disk


@torch.inference_mode()
@pytest.mark.parametrize('trust', [0.5, 0.88, 0.99])
def test_the_network_begins_as_the_foundation_model_with_constant_trust(trust: float) -> None:
    foundation = DepthAnythingV2(SMALL)
    network = initial_network(SMALL, foundation, None, trust)
    own = foundation.depth_head.scratch.state_dict()
    for name, value in network.decoder.state_dict().items():
        torch.testing.assert_close(value, own[name], rtol=0, atol=0)
    result = unroll(network, make_batch(1, motion='still'), 1, FOUNDATION, SETTINGS)
    semantic = 1 / (1 + np.exp(-4 * (trust - 0.5)))  # eq. 6; both scales agree, so eq. 7 is trust
    expected = semantic * trust + (1 - semantic) * trust
    torch.testing.assert_close(result.trust, torch.full_like(result.trust, expected))


def test_saved_weights_are_the_networks_whatever_its_memory_layout(tmp_path: Path) -> None:
    network = FastNetwork(SMALL).to(memory_format=torch.channels_last)  # as the trainer has it
    save(network, tmp_path / 'own.safetensors')
    stored = weights.load(tmp_path / 'own.safetensors')
    state = network.state_dict()
    assert set(stored) == {name for name in state if not any(p in name for p in NEVER_READ)}
    for name, value in stored.items():
        assert value.dtype == np.float16
        np.testing.assert_array_equal(value, state[name].numpy().astype(np.float16))
    other = FastNetwork(SMALL)
    load_weights(other, stored)
    for name, value in stored.items():
        np.testing.assert_array_equal(other.state_dict()[name].numpy(), value.astype(np.float32))
