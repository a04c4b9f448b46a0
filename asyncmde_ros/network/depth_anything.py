"""Depth Anything V2: the foundation model of the slow path.

Source: Yang et al., "Depth Anything V2", NeurIPS 2024.
"""

from torch import Tensor, nn

from asyncmde_ros.model.config import ModelConfig
from asyncmde_ros.network.dinov2 import DinoVisionTransformer
from asyncmde_ros.network.dpt import DPTHead


class DepthAnythingV2(nn.Module):
    """Monocular affine-invariant inverse depth."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.taps = config.taps
        self.pretrained = DinoVisionTransformer(
            config.embed_dim, config.heads, config.depth, config.trained_grid)
        self.depth_head = DPTHead(config.embed_dim, config.head_channels, config.channels)

    def forward(self, image: Tensor, positions: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the depth (B, 1, H, W) and the memory M1-M4 that it was decoded from.

        ``image`` and ``positions`` as :meth:`DinoVisionTransformer.forward`.
        """
        memory = self.memory(image, positions)
        return self.depth_head.scratch.decode(memory, image.shape[2:]), memory

    def memory(self, image: Tensor, positions: Tensor) -> list[Tensor]:
        """Return M1-M4 alone, without decoding them."""
        return self.depth_head.memory(self.pretrained(image, positions, self.taps))
