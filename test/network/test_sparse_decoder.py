"""Depth decoded at single blocks of pixels against the whole map."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

import numpy as np
import torch

from asyncmde_ros.engine.positions import resize_positions
from asyncmde_ros.engine.torch import load_weights
from asyncmde_ros.images.picture import read_picture
from asyncmde_ros.model.config import VITS
from asyncmde_ros.model.geometry import patch_grid
from asyncmde_ros.model.patches import SIDE, TAILS
from asyncmde_ros.model.preprocess import normalise, shrink
from asyncmde_ros.network.depth_anything import DepthAnythingV2
from asyncmde_ros.network.dpt import DPTDecoder
from asyncmde_ros.network.graphs import TailGraph
from asyncmde_ros.network.sparse_decoder import sparse_depth
from asyncmde_ros.resources import share_directory

SIZE = (126, 168)
INNER = 60
"""Blocks inside the map; of those at its border none is left out."""

SAME = 1e-5
"""Relative to the largest depth: float32 sums in another order."""


@pytest.fixture(scope='module')
def foundation(foundation_weights: dict[str, np.ndarray]) -> DepthAnythingV2:
    model = DepthAnythingV2(VITS).eval()
    load_weights(model, foundation_weights)
    return model


@pytest.fixture(scope='module')
def memory(foundation: DepthAnythingV2, foundation_weights: dict[str, np.ndarray]
           ) -> list[torch.Tensor]:
    """What the foundation model sees on a real picture."""
    picture = shrink(read_picture(share_directory() / 'models' / 'validation.jpg',
                                  oriented=False), SIZE)
    image = torch.empty(1, 3, *SIZE)
    normalise(picture, image.numpy())
    positions = resize_positions(foundation_weights['pretrained.pos_embed'], patch_grid(SIZE))
    with torch.inference_mode():
        return foundation.memory(image, torch.from_numpy(positions))


def blocks(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """First pixels of every block along the border of a map, and of some inside."""
    rows, cols = (np.append(np.arange(0, side - SIDE, SIDE), side - SIDE) for side in size)
    rng = np.random.default_rng(0)
    inside = (rng.integers(0, side - SIDE + 1, INNER) for side in size)
    border = np.array([(row, col) for row in rows for col in cols
                       if row in (0, rows[-1]) or col in (0, cols[-1])]).T
    return tuple(np.concatenate(pair) for pair in zip(border, inside, strict=True))


@pytest.mark.parametrize('name', ['light', 'dpt'])
def test_blocks_have_the_numbers_of_the_map_to_its_corners(
        name: str, foundation: DepthAnythingV2, memory: list[torch.Tensor],
        fast_weights: dict[str, np.ndarray]) -> None:
    decoder: DPTDecoder = foundation.depth_head.scratch
    if name == 'light':
        graph = TailGraph(VITS).eval()
        load_weights(graph, {f'fast.{key}': value for key, value in fast_weights.items()})
        decoder = graph.decoder
    tail = TAILS[name]
    with torch.inference_mode():
        whole = decoder.native(memory, SIZE)[0, 0].numpy()
        parts = decoder.undecoded(memory)
        undecoded = torch.cat(parts, dim=1)[0].permute(1, 2, 0).contiguous().numpy()
        assert len(parts) == tail.parts and whole.shape == tail.size(undecoded.shape[:2])
        rows, cols = blocks(whole.shape)
        inputs = tail.inputs(undecoded, rows, cols)
        found = sparse_depth(decoder, **{key: torch.from_numpy(inputs.pop(key)) for key in (
            'patches', 'rows', 'cols')}, resampling=map(torch.from_numpy, inputs.values())).numpy()
    assert whole.max() > 0.1
    down, across = np.mgrid[:SIDE, :SIDE]
    expected = whole[rows[:, None, None] + down, cols[:, None, None] + across]
    np.testing.assert_allclose(found, expected, rtol=0, atol=SAME * whole.max())


@pytest.mark.parametrize('name', TAILS)
@pytest.mark.parametrize('fine', [(8, 8), (36, 64), (148, 200)])
def test_a_patch_has_one_size_wherever_its_block_lies(name: str, fine: tuple[int, int]) -> None:
    """What the sizes of a compiled graph's inputs rest on; and no weight falls out of a patch."""
    tail = TAILS[name]
    rows, cols = blocks(tail.size(fine))
    inputs = tail.inputs(np.ones((*fine, tail.parts), np.float32), rows, cols)
    shapes = tail.shapes(len(rows), 1)
    assert {key: value.shape for key, value in inputs.items()} == shapes
    for key in shapes.keys() - {'patches', 'rows', 'cols'}:
        total = inputs[key].sum(axis=2)
        assert (np.isclose(total, 1, atol=1e-6) | (total == 0)).all()
