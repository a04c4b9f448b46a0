"""F3's features against what can be counted by hand, and files that are not its weights."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.events.network.config import SMALL
from asyncmde_ros.events.network.event_spd import EventSPD
from asyncmde_ros.events.network.f3 import ENTRIES, F3, NETWORKS, F3Encoder, load_f3
from asyncmde_ros.events.network.pyramid import level4_size

MICRO = '1280x720x20_patchff_ds1_micro'
TABLE = 'multi_hash_encoder.hashmap'
ROWS, COLS = 33, 46


def written(directory: Path, name: str | None = MICRO, prefix: str = '',
            **changed: Tensor | None) -> Path:
    """Return a file with upstream's tensors of MICRO, but for what is ``changed``; None: left out.

    Every tensor that has a neutral value has another here.
    """
    torch.manual_seed(0)
    tensors = {TABLE: torch.rand(4, ENTRIES, 2), 'pred.weight': torch.rand(20, 8, 1, 1),
               'pred.bias': torch.rand(20)}
    for place, swapped in (('downsample_layers.0', (0, 1)), ('downsample_layers.1', (1, 0))):
        tensors |= {f'{place}.{swapped[0]}.weight': torch.randn(8, 8, 1, 1),
                    f'{place}.{swapped[0]}.bias': torch.randn(8),
                    f'{place}.{swapped[1]}.weight': torch.randn(8),
                    f'{place}.{swapped[1]}.bias': torch.randn(8)}
    for block in (f'stages.{stage}.{number}' for stage in range(2) for number in range(3)):
        tensors |= {f'{block}.dwconv.weight': 0.1 * torch.randn(8, 1, 7, 7),
                    f'{block}.dwconv.bias': torch.randn(8),
                    f'{block}.norm.weight': torch.randn(8), f'{block}.norm.bias': torch.randn(8),
                    f'{block}.pwconv1.weight': torch.randn(32, 8),
                    f'{block}.pwconv1.bias': torch.randn(32),
                    f'{block}.grn.gamma': torch.randn(1, 1, 1, 32),
                    f'{block}.grn.beta': torch.randn(1, 1, 1, 32),
                    f'{block}.pwconv2.weight': torch.randn(8, 32),
                    f'{block}.pwconv2.bias': torch.randn(8)}
    tensors |= {key: tensor for key, tensor in changed.items() if tensor is not None}
    path = directory / 'f3.safetensors'
    save_file({prefix + key: tensor for key, tensor in tensors.items()
               if changed.get(key, tensor) is not None}, path,
              None if name is None else {'f3': name})
    return path


@pytest.fixture(scope='module')
def f3(tmp_path_factory: pytest.TempPathFactory) -> F3:
    return load_f3(written(tmp_path_factory.mktemp('weights'))).eval()


def counted(*events: tuple[int, int, int]) -> Tensor:
    """Return the counts by age of events (row, column, age)."""
    counts = torch.zeros(1, 20, ROWS, COLS)
    for row, col, age in events:
        counts[0, age, row, col] += 1
    return counts


def test_an_event_is_looked_up_between_eight_entries_of_each_table(f3: F3) -> None:
    row, col, age = 400, 700, 13
    found = f3.tables(*(torch.tensor([at]) for at in (row, col, age)))[0]
    # In the second table: 27 x 22 x 2 intervals for 1280 x 720 pixels and 20 ages.
    # x = 27 * 700 / 1280 = 14.765625, y = 22 * 400 / 720 = 12.2222..., t = 2 * 13 / 20 = 1.3
    expected = torch.zeros(2)
    for x, across in ((14, 1 - 0.765625), (15, 0.765625)):
        for y, down in ((12, 7 / 9), (13, 2 / 9)):
            for t, back in ((1, 0.7), (2, 0.3)):
                expected += across * down * back * f3.tables.entries[1, x + 27 * y + 27 * 22 * t]
    torch.testing.assert_close(found[2:4], expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize('name', NETWORKS)
def test_no_event_is_looked_up_beyond_a_table(name: str) -> None:
    config = NETWORKS[name]
    last = (config.size[0] - 1, config.size[1] - 1, config.bins - 1)
    found = F3(config).tables(*(torch.tensor([0, at]) for at in last))
    assert found.shape == (2, 8)
    assert found.isfinite().all()


def test_events_of_a_pixel_add_up(f3: F3) -> None:
    fields: list[Tensor] = []
    hook = f3.stem.register_forward_pre_hook(lambda _, given: fields.append(given[0]))
    with torch.no_grad():
        f3(counted((5, 9, 0), (5, 9, 0), (5, 9, 7), (20, 30, 3)))
    hook.remove()
    field = fields[0]
    # A sensor of 46x33 at the middle of 1280x720.
    one, two, other = f3.tables(torch.tensor([348, 348, 363]), torch.tensor([626, 626, 647]),
                                torch.tensor([0, 7, 3])).detach()
    torch.testing.assert_close(field[0, :, 5, 9], 2 * one + two)
    torch.testing.assert_close(field[0, :, 20, 30], other)
    assert (field != 0).any(1).sum() == 2


def test_upstreams_kernels_have_the_column_first(f3: F3, tmp_path: Path) -> None:
    kernel = torch.arange(8 * 49.0).reshape(8, 1, 7, 7)
    found = load_f3(written(tmp_path, **{'stages.0.1.dwconv.weight': kernel}))
    torch.testing.assert_close(found.state_dict()['first.1.spread.weight'], kernel.mT)


def test_a_file_of_a_compiled_network_is_the_same(f3: F3, tmp_path: Path) -> None:
    found = load_f3(written(tmp_path, prefix='_orig_mod.')).state_dict()
    assert found.keys() == f3.state_dict().keys()
    for name, tensor in f3.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def test_windows_do_not_see_each_other(f3: F3) -> None:
    first, second = counted((5, 9, 0), (12, 40, 19)), counted((30, 2, 8))
    with torch.no_grad():
        both = f3(torch.cat([first, second]))
        for window, features in ((first, both[:1]), (second, both[1:])):
            torch.testing.assert_close(f3(window), features, rtol=1e-4, atol=1e-4)
    assert (both[0] - both[1]).abs().max() > 0.1


def test_without_events_it_says_something_finite(f3: F3) -> None:
    with torch.no_grad():
        assert f3(counted()).isfinite().all()


def test_the_network_learns_behind_it_and_leaves_it_as_it_is(f3: F3) -> None:
    network = EventSPD(SMALL, F3Encoder(SMALL, f3))
    events = counted((5, 9, 0), (12, 40, 19))
    encoded = network.shared.encoder(events)
    assert encoded.shape == (1, SMALL.encoded, 17, 23)
    inverse, hidden = network(events, network.no_memory(1, ROWS, COLS),
                              torch.tensor([[[10.0, 5.0], [45.0, 32.0]]]))
    assert inverse.shape == (1, 2)
    assert hidden.shape[2:] == level4_size(ROWS, COLS)
    inverse.sum().backward()
    halve = network.shared.encoder.halve  # type: ignore[attr-defined]
    assert halve.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in f3.parameters())


def test_its_own_tables_can_learn(f3: F3) -> None:
    own = F3(f3.config)
    own.load_state_dict(f3.state_dict())
    own(counted((6, 9, 0)))[0, :, 6, 9].square().sum().backward()
    gradient = own.tables.entries.grad
    assert gradient is not None
    touched = (gradient != 0).any(-1).sum(-1)
    # The event's age is 0: half of the eight corners have no weight.
    assert touched.tolist() == [4, 4, 4, 4]


def test_a_sensor_that_is_too_large_and_other_ages_are_refused(f3: F3) -> None:
    with pytest.raises(ValueError, match='1281x720 pixels: .* 1280x720 at most'):
        f3(torch.zeros(1, 20, 720, 1281))
    with pytest.raises(ValueError, match='5 ages: .* take 20'):
        f3(torch.zeros(1, 5, ROWS, COLS))


@pytest.mark.parametrize(('changed', 'words'), [
    ({TABLE: None}, rf'not F3 {MICRO}: {TABLE} is missing'),
    ({TABLE: torch.zeros(4, 100, 2)}, rf'{TABLE} is of the shape \(4, 100, 2\)'),
    ({'decoder.norm.weight': torch.zeros(8)}, 'decoder.norm.weight does not belong there'),
    ({'stages.1.2.dwconv.weight': torch.zeros(8, 8)}, r'dwconv.weight is of the shape \(8, 8\)'),
    ({'stages.0.0.norm.bias': torch.full((8,), np.nan)}, 'norm.bias has numbers .* not finite'),
    ({f'stages.{stage}.0.norm.{kind}': None for stage in range(2)
      for kind in ('weight', 'bias')}, 'missing; and 1 more')])
def test_a_file_of_another_network_is_refused(tmp_path: Path, changed: dict[str, Tensor | None],
                                              words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        load_f3(written(tmp_path, **changed))


@pytest.mark.parametrize('name', [None, '1280x720_patchff_ds16'])
def test_a_file_has_to_say_which_network_it_is_of(tmp_path: Path, name: str | None) -> None:
    with pytest.raises(WeightsError, match=f'metadata .* known are .*{MICRO}'):
        load_f3(written(tmp_path, name))


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / 'f3.pth'
    torch.save({'model': {}}, path)
    with pytest.raises(WeightsError, match=r'has to be safetensors: docs/eventspd\.md'):
        load_f3(path)
    with pytest.raises(WeightsError, match='cannot read'):
        load_f3(tmp_path / 'none.safetensors')
