"""The one form that foundation weights are kept in: float16, the authors' key names.

Every source is brought to it, so engines know a single layout and one model has one digest.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.model.config import ModelConfig
from asyncmde_ros.model.geometry import PATCH

Tensors = dict[str, npt.NDArray[np.floating]]
Shape = tuple[int, ...]

OUTPUT_CHANNELS = 32
"""Width between DPT's last two convolutions, in every variant."""

UNUSED = ('pretrained.mask_token', 'depth_head.scratch.refinenet4.resConfUnit1.')
"""Prefixes of checkpoint tensors that inference never reads; the canonical form drops them."""


def shapes(config: ModelConfig) -> dict[str, Shape]:
    """Return the name and shape of every canonical tensor of a Depth Anything V2 variant."""
    dim, channels = config.embed_dim, config.channels
    result: dict[str, Shape] = {
        'pretrained.cls_token': (1, 1, dim),
        'pretrained.pos_embed': (1, 1 + config.trained_grid**2, dim),
        **_affine('pretrained.patch_embed.proj', (dim, 3, PATCH, PATCH)),
        **_affine('pretrained.norm', (dim,))}
    for index in range(config.depth):
        block = f'pretrained.blocks.{index}'
        result |= {f'{block}.ls1.gamma': (dim,), f'{block}.ls2.gamma': (dim,),
                   **_affine(f'{block}.norm1', (dim,)), **_affine(f'{block}.norm2', (dim,)),
                   **_affine(f'{block}.attn.qkv', (3 * dim, dim)),
                   **_affine(f'{block}.attn.proj', (dim, dim)),
                   **_affine(f'{block}.mlp.fc1', (4 * dim, dim)),
                   **_affine(f'{block}.mlp.fc2', (dim, 4 * dim))}
    for index, width in enumerate(config.head_channels):
        result |= _affine(f'depth_head.projects.{index}', (width, dim, 1, 1))
        result[f'depth_head.scratch.layer{index + 1}_rn.weight'] = (channels, width, 3, 3)
    first, second, _, fourth = config.head_channels  # the third level keeps its size
    result |= {**_affine('depth_head.resize_layers.0', (first, first, 4, 4)),
               **_affine('depth_head.resize_layers.1', (second, second, 2, 2)),
               **_affine('depth_head.resize_layers.3', (fourth, fourth, 3, 3))}
    for level in range(1, 5):
        block = f'depth_head.scratch.refinenet{level}'
        result |= _affine(f'{block}.out_conv', (channels, channels, 1, 1))
        for convolution in ('resConfUnit1.conv1', 'resConfUnit1.conv2',
                            'resConfUnit2.conv1', 'resConfUnit2.conv2'):
            result |= _affine(f'{block}.{convolution}', (channels, channels, 3, 3))
    half, scratch = channels // 2, 'depth_head.scratch'
    result |= {**_affine(f'{scratch}.output_conv1', (half, channels, 3, 3)),
               **_affine(f'{scratch}.output_conv2.0', (OUTPUT_CHANNELS, half, 3, 3)),
               **_affine(f'{scratch}.output_conv2.2', (1, OUTPUT_CHANNELS, 1, 1))}
    return {name: shape for name, shape in result.items() if not name.startswith(UNUSED)}


def check_shapes(found: Mapping[str, Shape], config: ModelConfig) -> None:
    """Raise WeightsError unless names and shapes are exactly the canonical ones."""
    expected = shapes(config)
    if missing := sorted(expected.keys() - found.keys()):
        raise WeightsError(f'not {config.name} weights: {missing[0]} is missing'
                           f'{_and_more(len(missing) - 1)}')
    if surplus := sorted(found.keys() - expected.keys()):
        raise WeightsError(f'not {config.name} weights: {surplus[0]} does not belong there'
                           f'{_and_more(len(surplus) - 1)}')
    for name, shape in expected.items():
        if found[name] != shape:
            raise WeightsError(f'not {config.name} weights: {name} has shape {found[name]} '
                               f'instead of {shape}')


def canonicalise(tensors: Mapping[str, npt.NDArray[np.floating]], config: ModelConfig) -> Tensors:
    """Return the canonical tensors: unused ones dropped, float16, sorted by name.

    ``tensors`` has the authors' key names and any float dtype.  WeightsError if a name or shape
    is not that of the variant, or a value is not finite in float16.
    """
    used = {name: tensors[name] for name in sorted(tensors) if not name.startswith(UNUSED)}
    check_shapes({name: value.shape for name, value in used.items()}, config)
    result = {}
    for name, value in used.items():
        with np.errstate(over='ignore'):  # what overflows is reported below
            result[name] = np.ascontiguousarray(value, np.float16)
        if not np.isfinite(result[name]).all():
            raise WeightsError(f'{name} has values that are not finite in float16')
    return result


def serialise(tensors: Tensors) -> bytes:
    """Return the safetensors file of canonical tensors; equal tensors give equal bytes."""
    return save(tensors, metadata={'format': 'pt'})


def _affine(module: str, weight: Shape) -> dict[str, Shape]:
    # A transposed convolution has its output channels second, but here they equal the first.
    return {f'{module}.weight': weight, f'{module}.bias': weight[:1]}


def _and_more(count: int) -> str:
    return f', and {count} more' if count else ''
