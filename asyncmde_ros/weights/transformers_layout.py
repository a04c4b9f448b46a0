"""From the key names of Hugging Face's transformers to the authors'.

Source: ``transformers/models/depth_anything/convert_depth_anything_to_hf.py``, read backwards.
"""

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.weights.canonical import Tensors

PREFIX = 'backbone.'
LEVELS = 4
PARAMETERS = {
    'backbone.embeddings.cls_token': 'pretrained.cls_token',
    'backbone.embeddings.mask_token': 'pretrained.mask_token',
    'backbone.embeddings.position_embeddings': 'pretrained.pos_embed'}
MODULES = {
    'backbone.embeddings.patch_embeddings.projection': 'pretrained.patch_embed.proj',
    'backbone.layernorm': 'pretrained.norm',
    'head.conv1': 'depth_head.scratch.output_conv1',
    'head.conv2': 'depth_head.scratch.output_conv2.0',
    'head.conv3': 'depth_head.scratch.output_conv2.2'}


def is_transformers_layout(names: Collection[str]) -> bool:
    """Tell whether a file has transformers' key names."""
    return any(name.startswith(PREFIX) for name in names)


def to_original_names(tensors: Mapping[str, npt.NDArray[np.floating]]) -> Tensors:
    """Rename the tensors and join each block's query, key and value, in this order, to ``qkv``.

    A name that is not transformers' is kept, for the canonical form's check to report.
    WeightsError where a block has only some of its query, key and value.
    """
    remaining = dict(tensors)
    result: Tensors = {}
    depth = 0
    while any(name.startswith(f'{_block(depth)}.') for name in tensors):
        for leaf in ('weight', 'bias'):
            result[f'pretrained.blocks.{depth}.attn.qkv.{leaf}'] = _joined(remaining, depth, leaf)
        depth += 1
    names = _names(depth)
    return result | {names.get(name, name): value for name, value in remaining.items()}


def _block(index: int) -> str:
    return f'{PREFIX}encoder.layer.{index}'


def _joined(remaining: Tensors, index: int, leaf: str) -> npt.NDArray[np.floating]:
    attention = f'{_block(index)}.attention.attention'
    try:
        return np.concatenate([remaining.pop(f'{attention}.{part}.{leaf}')
                               for part in ('query', 'key', 'value')])
    except (KeyError, ValueError) as error:
        raise WeightsError(f'{attention}: query, key and value do not fit together ({error})'
                           ) from error


def _names(depth: int) -> dict[str, str]:
    """Map transformers' parameter names to the authors' for ``depth`` blocks."""
    parameters, modules = dict(PARAMETERS), dict(MODULES)
    for index in range(depth):
        theirs, ours = _block(index), f'pretrained.blocks.{index}'
        modules[f'{theirs}.attention.output.dense'] = f'{ours}.attn.proj'
        for part in ('norm1', 'norm2', 'mlp.fc1', 'mlp.fc2'):
            modules[f'{theirs}.{part}'] = f'{ours}.{part}'
        for branch in (1, 2):
            parameters[f'{theirs}.layer_scale{branch}.lambda1'] = f'{ours}.ls{branch}.gamma'
    for index in range(LEVELS):
        stage = f'neck.reassemble_stage.layers.{index}'
        modules[f'{stage}.projection'] = f'depth_head.projects.{index}'
        modules[f'{stage}.resize'] = f'depth_head.resize_layers.{index}'
        modules[f'neck.convs.{index}'] = f'depth_head.scratch.layer{index + 1}_rn'
        # transformers counts the fusion blocks from the coarsest level, the authors from 1, the
        # finest
        stage = f'neck.fusion_stage.layers.{index}'
        refine = f'depth_head.scratch.refinenet{LEVELS - index}'
        modules[f'{stage}.projection'] = f'{refine}.out_conv'
        for unit in (1, 2):
            for convolution in (1, 2):
                modules[f'{stage}.residual_layer{unit}.convolution{convolution}'] = (
                    f'{refine}.resConfUnit{unit}.conv{convolution}')
    return parameters | {f'{theirs}.{leaf}': f'{ours}.{leaf}'
                         for theirs, ours in modules.items() for leaf in ('weight', 'bias')}
