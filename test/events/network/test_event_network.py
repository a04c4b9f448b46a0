"""EventSPD's stages against their equations, and what must not depend on what."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asyncmde_ros.events.network.anchors import DeformableRead, route
from asyncmde_ros.events.network.attention import CrossAttention
from asyncmde_ros.events.network.auxiliary import Connectors, DenseHeads
from asyncmde_ros.events.network.config import SMALL, STRIDES, EventNetworkConfig
from asyncmde_ros.events.network.decoder import LEAST_INVERSE_DEPTH
from asyncmde_ros.events.network.event_spd import EventSPD
from asyncmde_ros.events.network.layers import (
    ResponseNorm,
    SwinBlock,
    fourier,
    neighbourhood,
    read_tokens,
    to_cells,
)
from asyncmde_ros.events.network.memory import WindowMemory
from asyncmde_ros.events.network.precompute import Context
from asyncmde_ros.events.network.pyramid import ConvGRU, level4_size

TINY = replace(SMALL, channels=(8, 8, 16, 16), encoded=8, dim=16, blocks=(1, 1, 2, 1),
               kernels=(3, 5))
ROWS, COLS = 140, 180
BIT_CLOSE = 1e-5
"""Relative to the largest value: float32 sums in another order, through some twenty layers."""

MS = 1_000_000


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope='module')
def network() -> EventSPD:
    torch.manual_seed(1)
    network = EventSPD(TINY).eval()
    with torch.no_grad():  # so that every place matters, as in a trained one
        for layer in (network.decoder.read.offsets, network.decoder.gather.where):
            torch.nn.init.normal_(layer.weight, std=0.5)
        network.decoder.depth[-1].weight.mul_(20)
    return network


@pytest.fixture(scope='module')
def context(network: EventSPD) -> Context:
    torch.manual_seed(2)
    with torch.no_grad():
        return network.shared(torch.randn(2, TINY.inputs, ROWS, COLS),
                              torch.rand_like(network.no_memory(2, ROWS, COLS)))


@pytest.fixture
def queries() -> Tensor:
    return torch.rand(2, 9, 2) * torch.tensor([COLS - 1.0, ROWS - 1.0])


@pytest.fixture
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def close(ours: Tensor, expected: Tensor) -> None:
    tolerance = BIT_CLOSE * float(expected.abs().max())
    torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance)


@pytest.mark.usefixtures('no_gradients')
class TestQueries:
    """Each query is answered by itself."""

    def test_their_order_does_not_matter(self, network: EventSPD, context: Context,
                                         queries: Tensor) -> None:
        order = torch.randperm(queries.shape[1])
        answers = network.decoder(context, queries)
        assert answers.shape == (2, 9)
        assert float(answers.std()) > 1e-3, 'they differ, so an order can be seen'
        close(network.decoder(context, queries[:, order]), answers[:, order])

    def test_many_at_once_are_as_one_by_one(self, network: EventSPD, context: Context,
                                            queries: Tensor) -> None:
        alone = [network.decoder(context, queries[:, k:k + 1]) for k in range(queries.shape[1])]
        close(network.decoder(context, queries), torch.cat(alone, dim=1))

    def test_windows_of_a_batch_do_not_mix(self, network: EventSPD, context: Context,
                                           queries: Tensor) -> None:
        second = Context(*(field[1:] for field in context))
        close(network.decoder(second, queries[1:]), network.decoder(context, queries)[1:])

    def test_inverse_depth_is_positive_and_finite_even_far_outside(
            self, network: EventSPD, context: Context) -> None:
        places = torch.tensor([[-1e6, 0.0], [0, 1e6], [COLS, ROWS], [-0.5, -0.5]])
        answers = network.decoder(context, places.expand(2, -1, -1))
        assert torch.isfinite(answers).all()
        assert (answers > LEAST_INVERSE_DEPTH).all()

    def test_scale_and_shift_act_on_every_answer(self, network: EventSPD, context: Context,
                                                 queries: Tensor) -> None:
        """Equation 26."""
        def undone(answers: Tensor) -> Tensor:
            return torch.log(torch.expm1(answers - LEAST_INVERSE_DEPTH))
        plain = context._replace(scale=torch.ones(2, 1), shift=torch.zeros(2, 1))
        moved = context._replace(scale=torch.full((2, 1), 0.5), shift=torch.full((2, 1), 0.25))
        z = undone(network.decoder(plain, queries))
        torch.testing.assert_close(undone(network.decoder(moved, queries)), 0.5 * z + 0.25,
                                   rtol=1e-4, atol=1e-4)

    def test_an_untrained_calibration_changes_nothing(self, context: Context) -> None:
        torch.testing.assert_close(context.scale, torch.ones(2, 1), rtol=0, atol=1e-4)
        torch.testing.assert_close(context.shift, torch.zeros(2, 1))


@pytest.mark.usefixtures('no_gradients')
@pytest.mark.parametrize(('rows', 'cols'), [
    (260, 346), (480, 640), (168, 224), (65, 71), (29, 30)])
def test_any_resolution(network: EventSPD, rows: int, cols: int) -> None:
    hidden = network.no_memory(1, rows, cols)
    context = network.shared(torch.randn(1, TINY.inputs, rows, cols), hidden)
    sizes = [tuple(level.shape[2:]) for level in context[:4]]
    assert sizes[0] == (math.ceil(rows / 4), math.ceil(cols / 4))
    assert sizes[1:3] == [(sizes[0][0] // n, sizes[0][1] // n) for n in (2, 4)]
    assert sizes[3] == level4_size(rows, cols) == tuple(hidden.shape[2:])
    answers = network.decoder(context, torch.tensor([[[3.0, 5.0], [cols - 1.0, rows - 1.0]]]))
    assert torch.isfinite(answers).all()


def test_a_sensor_without_a_single_coarse_cell_is_refused(network: EventSPD) -> None:
    assert level4_size(29, 29) == (1, 1)
    with pytest.raises(ValueError, match='a sensor of 64 x 28 pixels: the network needs 29'):
        network.no_memory(1, 28, 64)


@pytest.mark.usefixtures('no_gradients')
@pytest.mark.parametrize('stride', STRIDES)
def test_a_pixel_is_found_in_every_level(stride: int) -> None:
    """A map that holds where its cells' middles are gives back the place asked for."""
    rows, cols = 320 // stride, 384 // stride
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) * stride - 0.5,
                          (torch.arange(cols) + 0.5) * stride - 0.5, indexing='ij')
    pixels = torch.rand(1, 20, 1, 2) * 200 + 50
    found = read_tokens(torch.stack([x, y])[None], to_cells(pixels, stride))
    torch.testing.assert_close(found, pixels, rtol=0, atol=1e-3)


@pytest.mark.usefixtures('no_gradients')
def test_keys_and_values_need_not_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = CrossAttention(16, 4, 0.1).eval()
    x, tokens = torch.randn(5, 16), torch.randn(5, 91, 16)
    folded = attention(x, tokens)
    monkeypatch.setattr(attention, 'folded', False)
    close(folded, attention(x, tokens))
    reference = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    reference.in_proj_weight.copy_(torch.cat([layer.weight for layer in (
        attention.query, attention.key, attention.value)]))
    reference.in_proj_bias.copy_(torch.cat([attention.query.bias, torch.randn(16),
                                            attention.value.bias]))
    reference.out_proj.load_state_dict(attention.out.state_dict())
    close(folded, reference(x[:, None], tokens, tokens)[0][:, 0])


class TestRouting:
    def test_the_cells_that_all_heads_together_look_at_most(self) -> None:
        weights = torch.tensor([[[[0.7, 0.1, 0.2, 0.0]], [[0.0, 0.5, 0.1, 0.4]]]])
        cells, gates = route(weights, 2)  # mean: 0.35, 0.3, 0.15, 0.2
        assert cells.tolist() == [[[0, 1]]]
        assert gates.tolist() == [[[1.0, 1.0]]]

    def test_more_anchors_than_cells_are_all_cells(self) -> None:
        cells, _ = route(torch.rand(1, 2, 3, 5), 32)
        assert torch.equal(cells.sort().values, torch.arange(5).expand(1, 3, 5))

    def test_the_gradient_reaches_the_attention_of_chosen_cells_only(self) -> None:
        logits = torch.randn(1, 4, 2, 12, requires_grad=True)
        weights = logits.softmax(-1)
        weights.retain_grad()
        cells, gates = route(weights, 3)
        worth = torch.randn(gates.shape)
        (gates * worth).sum().backward()
        expected = torch.zeros(1, 2, 12).scatter(2, cells, worth / 4)
        torch.testing.assert_close(weights.grad, expected[:, None].expand(-1, 4, -1, -1))

    def test_without_the_gates_the_anchors_teach_the_attention_nothing(
            self, network: EventSPD, context: Context, queries: Tensor) -> None:
        """The way from a depth through B4's tokens to who was chosen, and no other."""
        h = torch.randn(2, 9, TINY.dim)
        weights = torch.rand(2, 4, 9, context.keys.shape[2], requires_grad=True)
        for open_gates in (True, False):
            cells, gates = route(weights, TINY.anchors)
            tokens = network.decoder.read(context, h, queries, cells,
                                          gates if open_gates else gates.detach())
            if open_gates:
                gradient, = torch.autograd.grad(tokens.square().sum(), weights)
                assert (gradient != 0).sum() == 2 * 4 * 9 * TINY.anchors
            else:
                leaves = torch.autograd.grad(tokens.square().sum(), weights, allow_unused=True)
                assert leaves == (None,)


@pytest.mark.usefixtures('no_gradients')
def test_offsets_are_in_cells_of_the_level_that_is_read() -> None:
    config = replace(TINY, heads=2)
    read = DeformableRead(config).eval()
    read.kind.zero_()
    read.out.weight.copy_(torch.eye(config.dim))
    read.out.bias.zero_()
    read.importance.weight.zero_()
    read.importance.bias.zero_()
    moved = torch.tensor([1.5, -1.0])
    read.offsets.bias.copy_(moved.repeat(len(read.offsets.bias) // 2))
    rows, cols = 8, 9

    def places(stride: int) -> Tensor:
        """Return a map whose every channel is a cell's middle, x plus a thousand times y."""
        y, x = torch.meshgrid(torch.arange(rows * 32 // stride), torch.arange(cols * 32 // stride),
                              indexing='ij')
        middle = (x + 0.5) * stride + 1000 * (y + 0.5) * stride
        return middle.expand(1, config.dim, *middle.shape)
    maps = [places(stride) for stride in STRIDES]
    fixed = torch.zeros(1, 1)
    context = Context(*maps, fixed, fixed, torch.zeros(1, rows * cols, config.dim), *maps[1:],
                      fixed, fixed)
    cells = torch.tensor([[[4 * cols + 5, 3 * cols + 2]]])
    tokens = read(context, torch.zeros(1, 1, config.dim), torch.zeros(1, 1, 2), cells,
                  torch.ones(1, 1, 2))
    stride = sum(STRIDES[1:]) / 3  # the levels count alike
    for token, (row, col) in zip(tokens[0, 0], ((4, 5), (3, 2)), strict=True):
        expected = ((col + 0.5) * 32 + moved[0] * stride
                    + 1000 * ((row + 0.5) * 32 + moved[1] * stride))
        torch.testing.assert_close(token, expected.expand(config.dim), rtol=1e-5, atol=0)


def test_every_parameter_learns() -> None:
    torch.manual_seed(3)
    network = EventSPD(TINY)
    heads, connectors = DenseHeads(TINY), Connectors(TINY, 24)
    hidden = network.no_memory(1, ROWS, COLS)
    loss = torch.zeros(())
    for _ in range(2):  # the reset gate matters from the second window on
        context = network.shared(torch.randn(1, TINY.inputs, ROWS, COLS), hidden)
        hidden = context.l4
        places = torch.rand(1, 20, 2) * 100
        loss = loss + (network.decoder(context, places) * torch.randn(1, 20)).sum()
        for dense in (*heads(context), *connectors(context)):
            loss = loss + (dense * torch.randn(dense.shape)).sum()
    loss.backward()
    modules = torch.nn.ModuleDict({'network': network, 'heads': heads, 'connectors': connectors})
    silent = [name for name, parameter in modules.named_parameters()
              if parameter.grad is None or not parameter.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.usefixtures('no_gradients')
class TestMemory:
    def test_equation_3(self) -> None:
        gru = ConvGRU(3)
        x, hidden = torch.randn(1, 3, 4, 5), torch.rand(1, 3, 4, 5)
        gru.update[1].bias.fill_(-100)
        torch.testing.assert_close(gru(x, hidden), hidden)      # z = 0 keeps
        gru.update[1].bias.fill_(100)
        gru.reset[1].bias.fill_(-100)
        torch.testing.assert_close(gru(x, hidden), gru(x, torch.zeros_like(hidden)))  # r = 0

    def test_it_stays_bounded(self, network: EventSPD) -> None:
        hidden = network.no_memory(1, ROWS, COLS)
        for _ in range(5):
            hidden = network.shared(100 * torch.randn(1, TINY.inputs, ROWS, COLS), hidden).l4
        assert hidden.abs().max() <= 1

    def test_what_was_seen_before_matters(self, network: EventSPD) -> None:
        events = torch.randn(1, TINY.inputs, ROWS, COLS)
        place = torch.tensor([[[60.0, 70.0]]])
        empty = network.no_memory(1, ROWS, COLS)
        first, hidden = network(events, empty, place)
        again, _ = network(events, hidden, place)
        assert not torch.equal(first, again)
        torch.testing.assert_close(network(events, empty, place)[0], first)

    @pytest.mark.parametrize(('start_ns', 'kept'), [
        (20 * MS, True), (40 * MS, True), (41 * MS, False), (19 * MS, False), (0, False)],
        ids=['next', 'small gap', 'large gap', 'overlap', 'back to the start'])
    def test_it_is_dropped_when_time_jumps(self, start_ns: int, kept: bool) -> None:
        memory, empty = WindowMemory(20 * MS), torch.zeros(1, 2, 3, 4)
        assert memory.before(0, empty) is empty
        hidden = torch.ones(1, 2, 3, 4)
        memory.after(20 * MS, hidden)
        assert memory.before(start_ns, empty) is (hidden if kept else empty)
        assert memory.resets == int(not kept)

    def test_it_is_dropped_for_another_sensor(self) -> None:
        memory, empty = WindowMemory(MS), torch.zeros(1, 2, 3, 5)
        memory.after(0, torch.ones(1, 2, 3, 4))
        assert memory.before(0, empty) is empty


@pytest.mark.usefixtures('no_gradients')
@pytest.mark.parametrize('shifted', [False, True])
@pytest.mark.parametrize('size', [(10, 15), (7, 13), (4, 11), (5, 5)])
def test_windows_are_as_in_full_attention_with_the_others_hidden(shifted: bool,
                                                                 size: tuple[int, int]) -> None:
    side, dim, heads = 5, 8, 2
    block = SwinBlock(dim, heads, side, shifted).eval()
    torch.nn.init.normal_(block.attn.bias)
    x = torch.randn(1, *size, dim)
    rows, cols = size

    def group(cell: int, length: int) -> int:
        return (cell - (side // 2 if shifted and length > side else 0)) // side
    cells = [(row, col) for row in range(rows) for col in range(cols)]
    logits = torch.full((heads, len(cells), len(cells)), -math.inf)
    q, k, v = (part.reshape(len(cells), heads, -1).transpose(0, 1) for part in
               block.attn.qkv(block.norm1(x)).reshape(len(cells), 3 * dim).chunk(3, dim=-1))
    products = q @ k.transpose(1, 2) / math.sqrt(dim / heads)
    for i, (row, col) in enumerate(cells):
        for j, (other, across) in enumerate(cells):
            if (group(row, rows), group(col, cols)) == (group(other, rows), group(across, cols)):
                place = (row - other + side - 1) * (2 * side - 1) + col - across + side - 1
                logits[:, i, j] = products[:, i, j] + block.attn.bias[place]
    mixed = (logits.softmax(-1) @ v).transpose(0, 1).reshape(1, rows, cols, dim)
    y = x + block.attn.proj(mixed)
    close(block(x), y + block.mlp(block.norm2(y)))


@pytest.mark.usefixtures('no_gradients')
def test_response_normalisation_is_convnext_v2s() -> None:
    norm = ResponseNorm(3)
    x = torch.randn(2, 4, 5, 3)
    assert torch.equal(norm(x), x), 'untrained it does nothing'
    norm.gain.fill_(0.5)
    norm.shift.fill_(0.25)
    strength = x.flatten(1, 2).norm(dim=1)                                  # (2, 3)
    share = strength / strength.mean(1, keepdim=True)
    torch.testing.assert_close(norm(x), x + 0.5 * x * share[:, None, None] + 0.25,
                               rtol=1e-4, atol=1e-4)


@given(x=st.floats(-1, 1), y=st.floats(-1, 1), frequencies=st.integers(1, 8))
@settings(deadline=None)
def test_fourier_codes(x: float, y: float, frequencies: int) -> None:
    code = fourier(torch.tensor([x, y], dtype=torch.float64), frequencies)
    angles = [value * math.pi * 2**k for value in (x, y) for k in range(frequencies)]
    expected = [*map(math.sin, angles), *map(math.cos, angles)]
    torch.testing.assert_close(code, torch.tensor(expected, dtype=torch.float64))


def test_a_neighbourhood_goes_row_by_row() -> None:
    assert neighbourhood(1).tolist()[:4] == [[-1, -1], [0, -1], [1, -1], [-1, 0]]


@pytest.mark.parametrize(('changes', 'words'), [
    ({'dim': 32}, 'they must be equal'), ({'heads': 3}, 'no multiple of 3 heads')])
def test_sizes_that_do_not_fit_say_so(changes: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EventNetworkConfig('wrong', **{'channels': (8, 8, 16, 16), 'dim': 16, 'heads': 4}
                           | changes)
