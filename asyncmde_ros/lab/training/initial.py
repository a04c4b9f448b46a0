"""The fast network before training: where nothing is lost yet.

Decoder: the foundation model's own.  Encoder: a trained MobileNetV3-Small, if there is one.
Gates: constant, "keep the memory".  Projector: the ridge regression of the foundation model's
memory on the encoder's taps, which has a closed form, so that regions that the memory never saw
decode to something plausible instead of to the depth of a zero vector.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file
from torch import Tensor

from asyncmde_ros.engine.torch import NEVER_READ, load_weights
from asyncmde_ros.model.config import ModelConfig
from asyncmde_ros.network.depth_anything import DepthAnythingV2
from asyncmde_ros.network.graphs import FastNetwork, FrameEncoder
from asyncmde_ros.network.spatial_memory import interpolate, sum_top_down

RIDGE = 1e-3
"""Regulariser, relative to the mean variance of a tap's channels."""


@torch.inference_mode()
def fit_projector(frame_encoder: FrameEncoder,
                  samples: Iterable[tuple[Tensor, Sequence[Tensor]]],
                  context: bool = True) -> list[float]:
    """Set ``frame_encoder.projector`` to the ridge regression of M1-M4 on the taps.

    ``samples``: ImageNet-normalised images (1, 3, H, W), each with the foundation model's M1-M4.
    Interpolation and a 1x1 convolution commute, so each level is an ordinary linear regression
    over pixels, on its own tap and, where the projector has context, the deeper ones; with
    ``context`` false it is left alone.  Returns the share of each level's variance that is
    explained (R squared).
    """
    projector = frame_encoder.projector
    deeper = projector.context if context else None
    levels = len(projector.convs)
    xx: dict[int, Tensor] = {}
    xy: dict[int, Tensor] = {}
    yy = [0.0] * levels
    for image, memory in samples:
        taps = frame_encoder.encode(image)
        for level, target in enumerate(memory):
            used = taps[level:] if deeper is not None else [taps[level]]
            x = interpolate(_side_by_side(used), target.shape[2:])[0].flatten(1).double()
            x = torch.cat([x, torch.ones(1, x.shape[1], dtype=x.dtype)])    # (inputs + 1, pixels)
            y = target[0].flatten(1).double()                               # (C, pixels)
            xx[level] = xx[level] + x @ x.T if level in xx else x @ x.T
            xy[level] = xy[level] + x @ y.T if level in xy else x @ y.T
            yy[level] += float(y.square().sum())
    if not xx:
        raise ValueError('no image could be read')
    explained = []
    for level in range(levels):
        gram, cross = xx[level], xy[level]
        penalty = RIDGE * gram.diagonal()[:-1].mean() * torch.eye(len(gram), dtype=gram.dtype)
        penalty[-1, -1] = 0  # the bias is free
        solution = torch.linalg.solve(gram + penalty, cross)                # (taps + 1, C)
        readers = [projector.convs[level]]
        if deeper is not None and level < len(deeper):
            readers.append(deeper[level])
        convs = [module for reader in readers for module in reader.modules()
                 if isinstance(module, torch.nn.Conv2d)]
        parts = solution[:-1].split([conv.in_channels for conv in convs])
        for conv, part in zip(convs, parts, strict=True):
            conv.weight.copy_(part.T[:, :, None, None])
        assert convs[0].bias is not None
        convs[0].bias.copy_(solution[-1])
        count = gram[-1, -1]
        mean = cross[-1] / count
        total = yy[level] - float(count * mean.square().sum())
        residual = yy[level] - float((2 * (solution * cross) - solution * (gram @ solution)).sum())
        explained.append(1 - residual / total)
    return explained


def _side_by_side(taps: Sequence[Tensor]) -> Tensor:
    """Concatenate taps at the first one's size, resampled step by step as the projector does."""
    widths = [tap.shape[1] for tap in taps]
    maps = []
    for index, tap in enumerate(taps):
        before = sum(widths[:index])
        maps.append(torch.nn.functional.pad(
            tap, (0, 0, 0, 0, before, sum(widths) - before - widths[index])))
    return sum_top_down(maps)


def initial_network(config: ModelConfig, foundation: DepthAnythingV2,
                    encoder: Mapping[str, npt.NDArray[np.floating]] | None,
                    trust: float) -> FastNetwork:
    """Return the fast network with the foundation model's decoder and gates at ``trust``.

    A light decoder begins with those of its weights that it has.  ``encoder`` None leaves the
    encoder random.
    """
    network = FastNetwork(config).eval()
    if encoder is not None:
        load_weights(network.frame_encoder.encoder, encoder)
    network.decoder.load_state_dict(foundation.depth_head.scratch.state_dict(), strict=False)
    reset_gates(network, trust)
    return network


def reset_gates(network: FastNetwork, trust: float) -> None:
    """Begin anew with gates that say ``trust`` whatever they see."""
    for gate in (network.unit.gates.level1, network.unit.gates.level4):
        gate.compare.reset_parameters()
        gate.start_at(trust)


def save(network: FastNetwork, path: Path) -> None:
    """Write the tensors that a forward pass reads, as fp16 safetensors."""
    # In C order: safetensors writes an array's memory as it lies, channels last or not.
    tensors = {name: np.ascontiguousarray(value.numpy(), np.float16)
               for name, value in sorted(network.state_dict().items())
               if not any(part in name for part in NEVER_READ)}
    save_file(tensors, path, metadata={'format': 'pt'})
