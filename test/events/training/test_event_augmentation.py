"""Changed clips: what belongs together still does."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from asyncmde_ros.events.training.augmentation import Change, changed, drawn
from asyncmde_ros.events.training.config import Augmentation

ROWS, COLS = 56, 112
INPUTS = 4
UNCHANGED = Change(False, False, 1.0, 0.3, -0.4)


@pytest.fixture
def part() -> dict[str, Tensor]:
    """Three windows, of which two have depth; everything is the same smooth map."""
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.arange(ROWS) / ROWS, torch.arange(COLS) / COLS, indexing='ij')
    depth = 1 + x + 0.5 * y
    cells = F.avg_pool2d(depth[None, None], 8)[0]                           # (1, H/8, W/8)
    patches = F.avg_pool2d(depth[None, None], 14)[0]                        # (1, H/14, W/14)
    return {'events': depth.expand(3, INPUTS, -1, -1), 'counts': cells.expand(2, -1, -1),
            'depth': depth.expand(2, -1, -1), 'features3': patches.expand(2, 5, -1, -1),
            'features4': patches.expand(2, 5, -1, -1)}


def test_without_a_change_nothing_changes(part: dict[str, Tensor]) -> None:
    found = changed(part, UNCHANGED, True)
    assert all(torch.equal(found[name], value) for name, value in part.items())


def test_zoomed_all_show_the_same_part(part: dict[str, Tensor]) -> None:
    found = changed(part, Change(False, False, 1.25, 1.0, -1.0), False)
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in part.items()}
    depth = found['depth']
    # The upper right: four fifths of the way across are left, from one fifth on.
    assert float(depth[0, 0, 0]) == pytest.approx(1.2, abs=0.02)
    assert float(depth[0, -1, -1]) == pytest.approx(1 + 1 + 0.5 * 0.8, abs=0.02)
    for name, side in (('counts', 8), ('features3', 14), ('features4', 14)):
        within = (..., slice(1, -1), slice(1, -1))
        expected = F.avg_pool2d(depth[:1, None], side)[0, 0][within]
        torch.testing.assert_close(found[name].flatten(0, -3)[0][within], expected,
                                   rtol=0, atol=0.01)
    for channel in found['events'].flatten(0, 1):
        torch.testing.assert_close(channel, depth[0], rtol=0, atol=0.01)


def test_of_events_none_is_made_half(part: dict[str, Tensor]) -> None:
    part['events'] = (torch.rand(3, INPUTS, ROWS, COLS) < 0.1).float()
    found = changed(part, Change(False, False, 1.3, 0.0, 0.0), False)['events']
    assert set(found.unique().tolist()) == {0.0, 1.0}


def test_seen_larger_exact_depth_is_nearer(part: dict[str, Tensor]) -> None:
    change = Change(False, False, 1.25, 0.0, 0.0)
    relative, exact = (changed(part, change, metric)['depth'] for metric in (False, True))
    torch.testing.assert_close(exact, 1.25 * relative)


def test_mirrored_all_are(part: dict[str, Tensor]) -> None:
    found = changed(part, UNCHANGED._replace(mirrored=True), True)
    assert all(torch.equal(found[name], value.flip(-1)) for name, value in part.items())


def test_inverted_bright_is_dark_and_as_much_happened(part: dict[str, Tensor]) -> None:
    found = changed(part, UNCHANGED._replace(inverted=True), True)
    assert torch.equal(found['events'][:, :-1], -part['events'][:, :-1])
    assert torch.equal(found['events'][:, -1], part['events'][:, -1])
    assert all(torch.equal(found[name], value) for name, value in part.items()
               if name != 'events')


def test_changes_are_as_frequent_as_asked_for() -> None:
    rng = np.random.default_rng(0)
    changes = [drawn(Augmentation(0.5, 0.2, 0.8, 1.4), rng) for _ in range(2000)]
    assert np.mean([change.mirrored for change in changes]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([change.inverted for change in changes]) == pytest.approx(0.2, abs=0.05)
    zooms = np.array([change.zoom for change in changes if change.zoom > 1])
    assert len(zooms) / len(changes) == pytest.approx(0.8, abs=0.05)
    assert zooms.max() <= 1.4
    assert zooms.mean() == pytest.approx(1.2, abs=0.02)
    assert np.abs([change.right + change.down for change in changes]).max() <= 2
