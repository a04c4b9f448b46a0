"""MobileNetV3-Small's feature extractor, with timm's key names (``tf_mobilenetv3_small_*``).

Source: Howard et al., "Searching for MobileNetV3", 2019, table 2.  Padding is TensorFlow's "SAME",
which is what the published weights were trained with; input is in [-1, 1].
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

BATCH_NORM_EPS = 1e-3
TAP_STAGES = (0, 1, 3, 5)
"""Stages whose output is at stride 4, 8, 16 and 32."""


def round_channels(channels: float, divisor: int = 8) -> int:
    """Round a scaled width as MobileNet does: to a multiple of 8, never down by over 10 %."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclass(frozen=True)
class BlockSpec:
    """A row of the paper's table 2; ``ratio`` is its expansion over its input's channels."""

    kernel: int
    ratio: float
    out: int
    squeeze: bool
    hard_swish: bool
    stride: int


STEM_CHANNELS = 16
FINAL_CHANNELS = 576
STAGES: tuple[tuple[BlockSpec, ...], ...] = (
    (BlockSpec(3, 1, 16, True, False, 2),),
    (BlockSpec(3, 72 / 16, 24, False, False, 2), BlockSpec(3, 88 / 24, 24, False, False, 1)),
    (BlockSpec(5, 4, 40, True, True, 2), BlockSpec(5, 6, 40, True, True, 1),
     BlockSpec(5, 6, 40, True, True, 1)),
    (BlockSpec(5, 3, 48, True, True, 1), BlockSpec(5, 3, 48, True, True, 1)),
    (BlockSpec(5, 6, 96, True, True, 2), BlockSpec(5, 6, 96, True, True, 1),
     BlockSpec(5, 6, 96, True, True, 1)),
)


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "SAME" padding and no bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1,
                 groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False,
                         padding=0 if stride > 1 else kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 2:
            # ceil(n / 2) outputs want kernel - 2 + n % 2 pixels of padding, the odd one behind.
            before, after = (self.kernel_size[0] - 3) // 2, (self.kernel_size[0] - 1) // 2
            rows, cols = x.shape[2:]
            x = F.pad(x, (before + cols % 2, after, before + rows % 2, after))
        return super().forward(x)


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS)


class SqueezeExcite(nn.Module):
    """Gain per channel from the global average."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = round_channels(channels / 4)
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.conv_expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gain = self.conv_expand(F.relu(self.conv_reduce(x.mean((2, 3), keepdim=True))))
        return x * F.hardsigmoid(gain)


class DepthwiseSeparable(nn.Module):
    """Depthwise convolution and projection, without expansion (the first stage)."""

    def __init__(self, inputs: int, spec: BlockSpec, outputs: int) -> None:
        super().__init__()
        self.conv_dw = SameConv2d(inputs, inputs, spec.kernel, spec.stride, groups=inputs)
        self.bn1 = norm(inputs)
        self.se = SqueezeExcite(inputs)
        self.conv_pw = SameConv2d(inputs, outputs, 1)
        self.bn2 = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv_pw(self.se(F.relu(self.bn1(self.conv_dw(x))))))


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, squeeze, project; with a shortcut where shapes allow."""

    def __init__(self, inputs: int, spec: BlockSpec, expanded: int, outputs: int) -> None:
        super().__init__()
        self.activation = F.hardswish if spec.hard_swish else F.relu
        self.shortcut = spec.stride == 1 and inputs == outputs
        self.conv_pw = SameConv2d(inputs, expanded, 1)
        self.bn1 = norm(expanded)
        self.conv_dw = SameConv2d(expanded, expanded, spec.kernel, spec.stride, groups=expanded)
        self.bn2 = norm(expanded)
        self.se = SqueezeExcite(expanded) if spec.squeeze else nn.Identity()
        self.conv_pwl = SameConv2d(expanded, outputs, 1)
        self.bn3 = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.bn1(self.conv_pw(x)))
        y = self.se(self.activation(self.bn2(self.conv_dw(y))))
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.shortcut else y


class FinalConv(nn.Module):
    """The last 1x1 expansion."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = SameConv2d(inputs, outputs, 1)
        self.bn1 = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(self.bn1(self.conv(x)))


class MobileNetV3Small(nn.Module):
    """The complete ``features`` part; ``taps`` holds the channels of its four outputs."""

    def __init__(self, width: float) -> None:
        super().__init__()
        channels = STEM_CHANNELS  # not scaled, as in timm's width-0.75 model
        self.conv_stem = SameConv2d(3, channels, 3, stride=2)
        self.bn1 = norm(channels)
        self.blocks = nn.ModuleList()
        stage_channels = []
        for specs in STAGES:
            stage = nn.Sequential()
            for spec in specs:
                outputs = round_channels(spec.out * width)
                if spec.ratio == 1:
                    stage.append(DepthwiseSeparable(channels, spec, outputs))
                else:
                    expanded = round_channels(channels * spec.ratio)
                    stage.append(InvertedResidual(channels, spec, expanded, outputs))
                channels = outputs
            self.blocks.append(stage)
            stage_channels.append(channels)
        final = round_channels(FINAL_CHANNELS * width)
        self.blocks.append(nn.Sequential(FinalConv(channels, final)))
        self.taps = (stage_channels[0], stage_channels[1], stage_channels[3], final)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map an image (B, 3, H, W) in [-1, 1] to features at strides 4, 8, 16, 32."""
        x = F.hardswish(self.bn1(self.conv_stem(image)))
        features = []
        for index, stage in enumerate(self.blocks):
            x = stage(x)
            if index in TAP_STAGES:
                features.append(x)
        return features
