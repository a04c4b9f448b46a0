"""The graphs that run: the fast one on every frame, whole or in parts, the slow one behind it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from asyncmde_ros.model.config import ModelConfig
from asyncmde_ros.model.geometry import FINEST, PATCH
from asyncmde_ros.model.patches import TAILS
from asyncmde_ros.model.preprocess import IMAGENET_MEAN, IMAGENET_STD
from asyncmde_ros.network.depth_anything import DepthAnythingV2
from asyncmde_ros.network.dpt import DPTDecoder, LightDecoder
from asyncmde_ros.network.mobilenetv3 import MobileNetV3Small
from asyncmde_ros.network.sparse_decoder import sparse_depth
from asyncmde_ros.network.spatial_memory import (
    Fused,
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
        self.decoder = _decoder(config)

    def forward(self, image: Tensor, step: TensorWarp, keyframe: TensorWarp,
                memory: KeyframeFeatures, state: MemoryState, beta: Tensor, k: Tensor,
                fresh: Tensor) -> FastOutputs:
        """Take one frame.

        ``image``: (1, 3, H, W), ImageNet-normalised; the rest as
        :meth:`SpatialMemoryUnit.forward`.
        """
        fused = self.fuse(image, step, keyframe, memory, state, beta, k, fresh)
        depth = self.decoder.native(fused.levels, image.shape[2:])
        return FastOutputs(depth, fused.share, fused.state)

    def fuse(self, image: Tensor, step: TensorWarp, keyframe: TensorWarp,
             memory: KeyframeFeatures, state: MemoryState, beta: Tensor, k: Tensor,
             fresh: Tensor) -> Fused:
        """Do what :meth:`forward` does, but for the decoder's part."""
        observed = self.frame_encoder(image, memory.levels)
        return self.unit(observed, memory, state, step, keyframe, beta, k, fresh)


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
        fused = self.fast.fuse(
            image, TensorWarp(step, step_flow), TensorWarp(keyframe, keyframe_flow),
            KeyframeFeatures([m1, m2, m3, m4], [phi1, phi2, phi3, phi4]), state, beta, k, fresh)
        return self.outputs(fused, image.shape[2:])

    def outputs(self, fused: Fused, size: Sequence[int]) -> tuple[Tensor, ...]:
        """Return what is told of a step on an image of ``size``."""
        return (self.fast.decoder.native(fused.levels, size), *_state(fused))


class TrunkGraph(FastGraph):
    """The fast network without the decoder's tail: what runs where nobody asks for a map."""

    def outputs(self, fused: Fused, size: Sequence[int]) -> tuple[Tensor, ...]:
        return (*_state(fused), _features_last(self.fast.decoder.undecoded(fused.levels)))


class WholeFastGraph(FastGraph):
    """With the decoder's tail and its input; what is exported, in part to run."""

    def outputs(self, fused: Fused, size: Sequence[int]) -> tuple[Tensor, ...]:
        undecoded = self.fast.decoder.undecoded(fused.levels)
        return (self.fast.decoder.tail(undecoded, size), *_state(fused),
                _features_last(undecoded))


def _state(fused: Fused) -> tuple[Tensor, ...]:
    """Return the keyframe's share and the next state."""
    state = fused.state
    return fused.share, *state.weight, state.p1, state.p4, state.trust


def _features_last(maps: Sequence[Tensor]) -> Tensor:
    """Return maps (B, C, ., .) as one, each pixel's features beside each other in memory."""
    return torch.cat(tuple(maps), dim=1).permute(0, 2, 3, 1)


class DecoderGraph(nn.Module):
    """A decoder by itself, with the names that its weights have in the fast network."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.fast = nn.ModuleDict({'decoder': _decoder(config)})
        self._parts = TAILS[config.decoder].parts

    @property
    def decoder(self) -> DPTDecoder:
        decoder = self.fast['decoder']
        assert isinstance(decoder, DPTDecoder)
        return decoder


class TailGraph(DecoderGraph):
    """From what :class:`TrunkGraph` leaves undecoded to the depth map."""

    def forward(self, undecoded: Tensor) -> tuple[Tensor]:
        size = [PATCH * length // FINEST for length in undecoded.shape[1:3]]
        maps = undecoded.permute(0, 3, 1, 2).chunk(self._parts, dim=1)
        return (self.decoder.tail(maps, size),)


class PointsGraph(DecoderGraph):
    """From patches of it to blocks of depth: :meth:`asyncmde_ros.model.patches.Tail.inputs`."""

    def forward(self, patches: Tensor, rows: Tensor, cols: Tensor, *resampling: Tensor
                ) -> tuple[Tensor]:
        return (sparse_depth(self.decoder, patches, rows, cols, resampling),)


def _decoder(config: ModelConfig) -> DPTDecoder:
    return (LightDecoder if config.decoder == 'light' else DPTDecoder)(config.channels)


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
