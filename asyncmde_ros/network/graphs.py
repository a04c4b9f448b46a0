"""The two graphs that run: the fast one on every frame, the slow one in the background."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from asyncmde_ros.model.config import ModelConfig
from asyncmde_ros.model.preprocess import IMAGENET_MEAN, IMAGENET_STD
from asyncmde_ros.network.depth_anything import DepthAnythingV2
from asyncmde_ros.network.dpt import DPTDecoder, LightDecoder
from asyncmde_ros.network.mobilenetv3 import MobileNetV3Small
from asyncmde_ros.network.spatial_memory import (
    KeyframeFeatures,
    MemoryState,
    Projector,
    SpatialMemoryUnit,
    observed_sizes,
)
from asyncmde_ros.network.warp import TensorWarp


class FrameEncoder(nn.Module):
    """Encoder and projector: what the fast network sees of one frame by itself."""

    scale: Tensor
    shift: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = MobileNetV3Small(config.encoder_width)
        self.projector = Projector(self.encoder.taps, config.channels,
                                   config.projector_context)
        # ImageNet-normalised input to the encoder's own [-1, 1], as one scale and shift.
        std, mean = torch.tensor(IMAGENET_STD), torch.tensor(IMAGENET_MEAN)
        self.register_buffer('scale', (2 * std).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer('shift', (2 * mean - 1).reshape(1, 3, 1, 1), persistent=False)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Map an ImageNet-normalised image (B, 3, H, W) to the encoder's four taps."""
        return self.encoder(image * self.scale + self.shift)

    def forward(self, image: Tensor, memory: Sequence[Tensor]) -> list[Tensor]:
        """Return Phi of the four levels, sized for ``memory``'s."""
        return self.projector(self.encode(image), observed_sizes(memory))


class FastOutputs(NamedTuple):
    """Inverse depth and the keyframe's share, (1, 1, rows, cols) each, and the next state.

    Depth has the size that the decoder computes it at.
    """

    depth: Tensor
    share: Tensor
    state: MemoryState


class FastNetwork(nn.Module):
    """The lightweight network f_theta of eq. 2: encoder, SpatialMemoryUnit, decoder.

    Untrained, its gates keep the memory; with the foundation model's decoder it then shows the
    keyframe's depth, held and moved with the camera.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.frame_encoder = FrameEncoder(config)
        self.unit = SpatialMemoryUnit(config.channels)
        decoder = LightDecoder if config.decoder == 'light' else DPTDecoder
        self.decoder = decoder(config.channels)

    def forward(self, image: Tensor, step: TensorWarp, keyframe: TensorWarp,
                memory: KeyframeFeatures, state: MemoryState, beta: Tensor, k: Tensor,
                fresh: Tensor) -> FastOutputs:
        """Take one frame.

        ``image``: (1, 3, H, W), ImageNet-normalised; the rest as
        :meth:`SpatialMemoryUnit.forward`.
        """
        observed = self.frame_encoder(image, memory.levels)
        fused = self.unit(observed, memory, state, step, keyframe, beta, k, fresh)
        depth = self.decoder.native(fused.levels, image.shape[2:])
        return FastOutputs(depth, fused.share, fused.state)


class FastGraph(nn.Module):
    """:class:`FastNetwork` with flat inputs and outputs, as ``model.graph_tensors`` names them."""

    def __init__(self, network: FastNetwork) -> None:
        super().__init__()
        self.fast = network

    def forward(self, image: Tensor, step: Tensor, keyframe: Tensor,
                step_flow: Tensor, keyframe_flow: Tensor,
                m1: Tensor, m2: Tensor, m3: Tensor, m4: Tensor,
                phi1: Tensor, phi2: Tensor, phi3: Tensor, phi4: Tensor,
                a2: Tensor, a3: Tensor, a4: Tensor,
                p1: Tensor, p4: Tensor, trust: Tensor,
                beta: Tensor, k: Tensor, fresh: Tensor) -> tuple[Tensor, ...]:
        state = MemoryState([a2, a3, a4], p1, p4, trust)
        out = self.fast(image, TensorWarp(step, step_flow), TensorWarp(keyframe, keyframe_flow),
                        KeyframeFeatures([m1, m2, m3, m4], [phi1, phi2, phi3, phi4]),
                        state, beta, k, fresh)
        return (out.depth, out.share, *out.state.weight, out.state.p1, out.state.p4,
                out.state.trust)


class KeyframeGraph(nn.Module):
    """Foundation model, encoder and projector: everything a cache slot holds.

    Outputs: the memory M0 and the frame's own projected features Phi0, 4 levels each.  The
    foundation model's own depth is not among them: nobody on a robot would look at it, and
    decoding it takes a sixth of the whole.
    """

    def __init__(self, foundation: DepthAnythingV2, frame_encoder: FrameEncoder) -> None:
        super().__init__()
        self.foundation = foundation
        self.fast = nn.ModuleDict({'frame_encoder': frame_encoder})

    def forward(self, image: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        memory = self.foundation.memory(image, positions)
        return (*memory, *self.fast['frame_encoder'](image, memory))


class SlowGraph(KeyframeGraph):
    """With the foundation model's depth as well; what is exported, in whole or in part to run."""

    def forward(self, image: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        depth, memory = self.foundation(image, positions)
        return (*memory, *self.fast['frame_encoder'](image, memory), depth)


class FoundationGraph(nn.Module):
    """The foundation model alone: what a node without a fast path runs."""

    def __init__(self, foundation: DepthAnythingV2) -> None:
        super().__init__()
        self.foundation = foundation

    def forward(self, image: Tensor, positions: Tensor) -> tuple[Tensor]:
        return self.foundation(image, positions)[:1]
