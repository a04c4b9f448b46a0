"""Small generated weight files for the tests of ``asyncmde_ros.weights``."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from asyncmde_ros.model.config import ModelConfig
from asyncmde_ros.weights import canonical, registry
from asyncmde_ros.weights.canonical import Tensors
from asyncmde_ros.weights.registry import FoundationWeights, Pinned, Registry, Source, Weights

TINY = ModelConfig('tiny', embed_dim=4, heads=2, head_channels=(2, 3, 4, 5), channels=4,
                   encoder_width=0.75, decoder='dpt', projector_context=True, depth=2,
                   trained_grid=2)
NAME = 'tiny_foundation'
FILE = 'tiny.fp16.safetensors'
UNUSED_SHAPES = {'pretrained.mask_token': (1, 4),
                 'depth_head.scratch.refinenet4.resConfUnit1.conv1.weight': (4, 4, 3, 3),
                 'depth_head.scratch.refinenet4.resConfUnit1.conv1.bias': (4,),
                 'depth_head.scratch.refinenet4.resConfUnit1.conv2.weight': (4, 4, 3, 3),
                 'depth_head.scratch.refinenet4.resConfUnit1.conv2.bias': (4,)}


def tiny_checkpoint(seed: int = 0) -> Tensors:
    """A complete float32 checkpoint of TINY, every value exact in float16 and in bfloat16."""
    rng = np.random.default_rng(seed)
    shapes = canonical.shapes(TINY) | UNUSED_SHAPES
    return {name: rng.integers(-64, 64, shape).astype(np.float32) / 32
            for name, shape in shapes.items()}


def tiny_file(seed: int = 0) -> bytes:
    """The canonical file of :func:`tiny_checkpoint`."""
    return canonical.serialise(canonical.canonicalise(tiny_checkpoint(seed), TINY))


def pinned(name: str, content: bytes) -> Pinned:
    return Pinned(name, hashlib.sha256(content).hexdigest(), len(content))


def tiny_entry(*sources: Source, checkpoint: Pinned | None = None,
               is_pinned: bool = True) -> FoundationWeights:
    content = tiny_file()
    return FoundationWeights(
        NAME, 'Tiny', FILE, pinned(FILE, content).sha256 if is_pinned else None, len(content),
        'Apache-2.0', 'https://example.org/tiny', TINY, len(canonical.shapes(TINY)), 0,
        checkpoint, sources)


def register(monkeypatch: pytest.MonkeyPatch, *entries: Weights) -> None:
    """Let the registry consist of ``entries``."""
    content = Registry({}, {entry.name: entry for entry in entries})
    monkeypatch.setattr(registry, 'shipped', lambda: content)


def isolate(monkeypatch: pytest.MonkeyPatch, directory: Path) -> Path:
    """Point the cache into ``directory`` and return it; no other setting of the user's holds."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(directory))
    for name in ('ASYNCMDE_MODELS', 'HF_ENDPOINT', 'HF_HOME', 'HF_HUB_CACHE', 'HF_HUB_OFFLINE'):
        monkeypatch.delenv(name, raising=False)
    return directory / 'asyncmde'


def transformers_file(tensors: Mapping[str, np.ndarray], depth: int) -> Tensors:
    """Rename a checkpoint as transformers' conversion script does, from the authors' names."""
    remaining = dict(tensors)
    result = {}

    def move(ours: str, theirs: str) -> None:
        for leaf in ('.weight', '.bias'):
            if ours + leaf in remaining:
                result[theirs + leaf] = remaining.pop(ours + leaf)

    result['backbone.embeddings.cls_token'] = remaining.pop('pretrained.cls_token')
    result['backbone.embeddings.position_embeddings'] = remaining.pop('pretrained.pos_embed')
    if 'pretrained.mask_token' in remaining:
        result['backbone.embeddings.mask_token'] = remaining.pop('pretrained.mask_token')
    move('pretrained.patch_embed.proj', 'backbone.embeddings.patch_embeddings.projection')
    move('pretrained.norm', 'backbone.layernorm')
    for n in range(depth):
        ours, theirs = f'pretrained.blocks.{n}', f'backbone.encoder.layer.{n}'
        for leaf in ('weight', 'bias'):
            joined = remaining.pop(f'{ours}.attn.qkv.{leaf}')
            dim = joined.shape[0] // 3
            for part, rows in (('query', joined[:dim]), ('key', joined[dim:2 * dim]),
                               ('value', joined[-dim:])):
                result[f'{theirs}.attention.attention.{part}.{leaf}'] = rows
        move(f'{ours}.attn.proj', f'{theirs}.attention.output.dense')
        move(f'{ours}.norm1', f'{theirs}.norm1')
        move(f'{ours}.norm2', f'{theirs}.norm2')
        move(f'{ours}.mlp.fc1', f'{theirs}.mlp.fc1')
        move(f'{ours}.mlp.fc2', f'{theirs}.mlp.fc2')
        result[f'{theirs}.layer_scale1.lambda1'] = remaining.pop(f'{ours}.ls1.gamma')
        result[f'{theirs}.layer_scale2.lambda1'] = remaining.pop(f'{ours}.ls2.gamma')
    for i in range(4):
        move(f'depth_head.projects.{i}', f'neck.reassemble_stage.layers.{i}.projection')
        move(f'depth_head.resize_layers.{i}', f'neck.reassemble_stage.layers.{i}.resize')
        move(f'depth_head.scratch.layer{i + 1}_rn', f'neck.convs.{i}')
    for ours_index, theirs_index in {1: 3, 2: 2, 3: 1, 4: 0}.items():
        ours = f'depth_head.scratch.refinenet{ours_index}'
        theirs = f'neck.fusion_stage.layers.{theirs_index}'
        move(f'{ours}.out_conv', f'{theirs}.projection')
        move(f'{ours}.resConfUnit1.conv1', f'{theirs}.residual_layer1.convolution1')
        move(f'{ours}.resConfUnit1.conv2', f'{theirs}.residual_layer1.convolution2')
        move(f'{ours}.resConfUnit2.conv1', f'{theirs}.residual_layer2.convolution1')
        move(f'{ours}.resConfUnit2.conv2', f'{theirs}.residual_layer2.convolution2')
    move('depth_head.scratch.output_conv1', 'head.conv1')
    move('depth_head.scratch.output_conv2.0', 'head.conv2')
    move('depth_head.scratch.output_conv2.2', 'head.conv3')
    assert not remaining, 'the sample has names that transformers does not know'
    return result
