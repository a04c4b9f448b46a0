"""DPT head and decoder, with Depth Anything V2's key names.

Source: Ranftl et al., "Vision Transformers for Dense Prediction", 2021.  The decoder
(refinenet1-4 and the output convolutions) is what the fast network inherits (AsyncMDE III-B-3).
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

OUTPUT_CHANNELS = 32


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resample bilinearly with corners aligned, as the DPT weights were trained."""
    return F.interpolate(x, size=tuple(size), mode='bilinear', align_corners=True)


def doubled(x: Tensor) -> tuple[int, int]:
    """Return twice a map's (rows, cols)."""
    return 2 * x.shape[2], 2 * x.shape[3]


class ResidualConvUnit(nn.Module):
    """Two pre-activated 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(F.relu(x)))) + x


class FeatureFusionBlock(nn.Module):
    """Merge a finer level, refined or as it is, refine the sum, upsample."""

    def __init__(self, channels: int, refine_finer: bool = True) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, channels, 1)
        if refine_finer:
            self.resConfUnit1 = ResidualConvUnit(channels)
        self.resConfUnit2 = ResidualConvUnit(channels)
        self._refine_finer = refine_finer

    def merge(self, x: Tensor, finer: Tensor | None) -> Tensor:
        """Return the refined sum at the size of ``x``, which is that of ``finer``."""
        if finer is not None:
            x = x + (self.resConfUnit1(finer) if self._refine_finer else finer)
        return self.out_conv(self.resConfUnit2(x))

    def forward(self, x: Tensor, finer: Tensor | None, size: Sequence[int]) -> Tensor:
        # A 1x1 convolution (out_conv) commutes with bilinear resampling, whose weights sum to
        # one: applied before the upsampling it costs a quarter and gives the same numbers.
        return resize(self.merge(x, finer), size)


class DPTDecoder(nn.Module):
    """Four levels of features to one map of inverse depth."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # refinenet4 has nothing coarser to merge, so its resConfUnit1 never runs; it is kept
        # because checkpoints and the paper's parameter count have it.
        self.refinenet1 = FeatureFusionBlock(channels)
        self.refinenet2 = FeatureFusionBlock(channels)
        self.refinenet3 = FeatureFusionBlock(channels)
        self.refinenet4 = FeatureFusionBlock(channels)
        self.output_conv1 = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(channels // 2, OUTPUT_CHANNELS, 3, padding=1), nn.ReLU(),
            nn.Conv2d(OUTPUT_CHANNELS, 1, 1), nn.ReLU())

    def decode(self, levels: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Decode ``levels``, finest first, each (B, C, ., .), to (B, 1, *size) >= 0.

        The output is affine-invariant inverse depth: larger is nearer, unitless.
        """
        return self.native(levels, size)

    def native(self, levels: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return what :meth:`decode` does, at the size that it is computed at for ``size``."""
        return self.tail(self.undecoded(levels), size)

    def undecoded(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return what :meth:`tail` goes on from: maps (B, C, ., .) of level 1's size."""
        return self.coarse(levels), levels[0]

    def tail(self, undecoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return depth, as :meth:`native` does.

        At single pixels it is :func:`asyncmde_ros.network.sparse_decoder.sparse_depth`.
        """
        coarse, fine = undecoded
        x = self.refinenet1(coarse, fine, doubled(fine))
        return self.output_conv2(resize(self.output_conv1(x), size))

    def coarse(self, levels: Sequence[Tensor]) -> Tensor:
        """Merge levels 4 to 2, at the size of level 1."""
        fine, second, third, coarse = levels
        x = self.refinenet4(coarse, None, third.shape[2:])
        x = self.refinenet3(x, third, second.shape[2:])
        return self.refinenet2(x, second, fine.shape[2:])


class LightDecoder(DPTDecoder):
    """The DPT decoder with less than half of its arithmetic, distilled from it.

    Two thirds of the whole go into three places that hardly change the depth: refining M1
    before it is merged, and two convolutions on maps that were only interpolated before.  Here M1
    is merged as it is, output_conv1 works at M1's size, output_conv2 at twice that, and what is
    interpolated to the image's size is depth.  Measured: docs/speed.md.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.refinenet1 = FeatureFusionBlock(channels, refine_finer=False)

    def decode(self, levels: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        return F.interpolate(self.native(levels, size), size=tuple(size), mode='bilinear',
                             align_corners=False)

    def undecoded(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (self.coarse(levels) + levels[0],)

    def tail(self, undecoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        x = self.refinenet1.merge(undecoded[0], None)
        return self.output_conv2(resize(self.output_conv1(x), doubled(x)))


class DPTScratch(DPTDecoder):
    """The decoder with the convolutions that bring the head's levels to C channels."""

    def __init__(self, head_channels: Sequence[int], channels: int) -> None:
        super().__init__(channels)
        for level, width in enumerate(head_channels, start=1):
            self.add_module(f'layer{level}_rn',
                            nn.Conv2d(width, channels, 3, padding=1, bias=False))


class DPTHead(nn.Module):
    """Tokens of four transformer blocks to the four-level memory."""

    def __init__(self, embed_dim: int, head_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.projects = nn.ModuleList(nn.Conv2d(embed_dim, width, 1) for width in head_channels)
        first, second, _, fourth = head_channels
        self.resize_layers = nn.ModuleList([
            nn.ConvTranspose2d(first, first, 4, stride=4),
            nn.ConvTranspose2d(second, second, 2, stride=2),
            nn.Identity(),
            nn.Conv2d(fourth, fourth, 3, stride=2, padding=1)])
        self.scratch = DPTScratch(head_channels, channels)

    def memory(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map features, each (B, D, h, w), to M1-M4: C channels at 4x, 2x, 1x, 1/2x of h x w."""
        levels = []
        for index, x in enumerate(features):
            x = self.resize_layers[index](self.projects[index](x))
            levels.append(getattr(self.scratch, f'layer{index + 1}_rn')(x))
        return levels
