"""The decoders' tails at a few blocks of pixels instead of the whole map: the same numbers.

Each block has its patch of the input, and every convolution loses its border instead of padding
it.  What lies outside the map is set to zero before each convolution, which is what padding is
there.
"""

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from asyncmde_ros.network.dpt import DPTDecoder, LightDecoder, ResidualConvUnit


def sparse_depth(decoder: DPTDecoder, patches: Tensor, rows: Tensor, cols: Tensor,
                 resampling: Iterable[Tensor]) -> Tensor:
    """Return blocks of depth (n, 3, 3) from patches (n, side, side, channels) of a tail's input.

    ``rows`` and ``cols`` (n, side) are 1 where the patch lies in the map, else 0;
    ``resampling`` the weights down, then across, of each resampling on the way from depth to the
    input (:meth:`asyncmde_ros.model.patches.Tail.inputs`).
    """
    inside = rows[:, None, :, None] * cols[:, None, None, :]
    x = patches.permute(0, 3, 1, 2)
    fusion = decoder.refinenet1
    if isinstance(decoder, LightDecoder):
        down, across = resampling
        x, inside = _refined(fusion.resConfUnit2, x, inside)
        x = _valid(decoder.output_conv1, fusion.out_conv(x) * inside)
        x = _resampled(x, down, across)
    else:
        down, down_twice, across, across_twice = resampling
        coarse, fine = x.chunk(2, dim=1)
        fine, inside = _refined(fusion.resConfUnit1, fine, inside)
        x, _ = _refined(fusion.resConfUnit2, _cropped(coarse, 2) + fine, inside)
        x = _resampled(fusion.out_conv(x), down_twice, across_twice)
        x = _resampled(_valid(decoder.output_conv1, x), down, across)
    hidden, *rest = decoder.output_conv2
    assert isinstance(hidden, nn.Conv2d)
    x = _valid(hidden, x)
    for layer in rest:
        x = layer(x)
    return x[:, 0]


def _refined(unit: ResidualConvUnit, x: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a unit makes of ``x`` and what is inside of that, two pixels less all around."""
    y = _valid(unit.conv1, F.relu(x) * inside) * _cropped(inside, 1)
    return _valid(unit.conv2, F.relu(y)) + _cropped(x, 2), _cropped(inside, 2)


def _valid(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, convolution.weight, convolution.bias)


def _cropped(x: Tensor, by: int) -> Tensor:
    return x[:, :, by:-by, by:-by]


def _resampled(x: Tensor, down: Tensor, across: Tensor) -> Tensor:
    return down[:, None] @ x @ across[:, None].transpose(2, 3)
