"""A clip through the fast network, as on the robot: one refresh, then frame after frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asyncmde_ros.lab.training.config import ModelChoice, UnrollConfig
from asyncmde_ros.lab.training.windows import Batch
from asyncmde_ros.model.preprocess import IMAGENET_MEAN, IMAGENET_STD
from asyncmde_ros.network.graphs import FastNetwork
from asyncmde_ros.network.spatial_memory import KeyframeFeatures, MemoryState, full_size
from asyncmde_ros.network.warp import TensorWarp


@dataclass
class Unrolled:
    """``observed`` Phi and ``fused`` O of levels 1-4, (B, T, C, rows, cols), and ``trust``.

    Phi has the network's own sizes (:func:`asyncmde_ros.network.spatial_memory.observed_sizes`).
    ``fused`` and ``trust`` (B, T - delay, 1, rows, cols) begin at frame ``delay``, at which the
    first frame's memory arrives.
    """

    observed: list[Tensor]
    fused: list[Tensor]
    trust: Tensor
    delay: int


def network_image(pictures: Tensor) -> Tensor:
    """Turn (..., H, W, 3) uint8 into the network's input (..., 3, H, W), ImageNet-normalised."""
    mean = torch.tensor(IMAGENET_MEAN, device=pictures.device)
    std = torch.tensor(IMAGENET_STD, device=pictures.device)
    return ((pictures.float() / 255 - mean) / std).movedim(-1, -3)


def observe(network: FastNetwork, batch: Batch) -> list[Tensor]:
    """Return Phi of every frame of a batch, (B, T, C, rows, cols) for levels 1-4."""
    images = network_image(batch.images).flatten(0, 1)
    images = images.contiguous(memory_format=torch.channels_last)
    return [level.unflatten(0, batch.images.shape[:2])
            for level in network.frame_encoder(images, [level[:, 0] for level in batch.levels])]


def as_memory(observed: Sequence[Tensor]) -> list[Tensor]:
    """Return Phi (B, T, C, rows, cols) at the memory's sizes, to decode or to compare with it."""
    leading = observed[0].shape[:2]
    return [level.unflatten(0, leading)
            for level in full_size([level.flatten(0, 1) for level in observed])]


def unroll(network: FastNetwork, batch: Batch, delay: int, model: ModelChoice,
           settings: UnrollConfig, learn_frame_encoder: bool = True) -> Unrolled:
    """Carry the first frame's memory, which arrives at frame ``delay``, through a batch.

    On arrival the frame is compared with the first one, which is what the memory shows, as on a
    swap in the pipeline.  Without ``learn_frame_encoder`` no gradient reaches it.
    """
    with torch.set_grad_enabled(torch.is_grad_enabled() and learn_frame_encoder):
        observed = observe(network, batch)
    if model.memory == 'none':
        shape = observed[0][:, delay:, :1]
        return Unrolled(observed, [level[:, delay:] for level in as_memory(observed)],
                        torch.zeros_like(shape), delay)
    own = [level[:, 0] for level in observed]
    memory = KeyframeFeatures(full_size(own) if model.memory == 'encoder'
                              else [level[:, 0].float() for level in batch.levels], own)
    state = MemoryState([torch.ones_like(level[:, :1]) for level in own[1:]],
                        own[0], own[3], torch.ones_like(own[0][:, :1]))
    scalar = own[0].new_tensor
    beta, k = scalar([settings.beta]), scalar([settings.k])
    fused: list[list[Tensor]] = []
    trust: list[Tensor] = []
    for frame in range(delay, batch.images.shape[1]):
        fresh = frame == delay
        keyframe = TensorWarp(*(part[:, frame] for part in batch.keyframe))
        step = keyframe if fresh else TensorWarp(*(part[:, frame] for part in batch.steps))
        now = network.unit([level[:, frame] for level in observed], memory, state, step,
                                  keyframe, beta, k, scalar([float(fresh)]))
        state = now.state
        fused.append(now.levels)
        trust.append(state.trust)
    return Unrolled(observed, [torch.stack([frame[level] for frame in fused], 1)
                               for level in range(4)], torch.stack(trust, 1), delay)


def corrected_at(network: FastNetwork, batch: Batch, observed: Sequence[Tensor],
                 frame: int) -> list[Tensor]:
    """Return Phi of a frame plus what it lacked in the first one, which is the keyframe."""
    memory = KeyframeFeatures([level[:, 0].float() for level in batch.levels],
                              [level[:, 0] for level in observed])
    return network.unit.corrected([level[:, frame] for level in observed], memory,
                                  TensorWarp(*(part[:, frame] for part in batch.keyframe)))


def decode(network: FastNetwork, levels: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Decode levels 1-4, each (N, C, rows, cols), to inverse depth (N, 1, *size)."""
    return network.decoder.decode(
        [level.contiguous(memory_format=torch.channels_last) for level in levels], size)
