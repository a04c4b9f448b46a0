"""DINOv2 vision transformer, as Depth Anything V2 uses it, with that checkpoint's key names.

Source: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023.
Attention is written out (no fused kernel), which exports to four plain ONNX operators.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asyncmde_ros.model.geometry import PATCH

LAYER_NORM_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention over tokens (B, N, D).

    ``fused``: in one kernel, which does not export; the same numbers but for rounding.
    """

    fused = False

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)                      # 3 x (B, heads, N, d)
        if self.fused:
            x = F.scaled_dot_product_attention(q, k, v, scale=self.scale)   # (B, heads, N, d)
        else:
            weights = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
            x = weights @ v                                                 # (B, heads, N, d)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, dim))


class Mlp(nn.Module):
    """The transformer block's two-layer perceptron."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned gain per channel on a residual branch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.attn = Attention(dim, heads)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim)
        self.ls2 = LayerScale(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """One linear map per 14x14 patch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=PATCH, stride=PATCH)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image)


class DinoVisionTransformer(nn.Module):
    """DINOv2 without register tokens."""

    def __init__(self, dim: int, heads: int, depth: int, trained_grid: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + trained_grid**2, dim))
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)

    def forward(self, image: Tensor, positions: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """Return the patch features after each block named in ``taps``.

        ``image``: (B, 3, H, W), ImageNet-normalised, sides multiples of 14.  ``positions``:
        (1, H/14, W/14, D), the positional embedding resized to the patch grid (see
        :mod:`asyncmde_ros.engine.positions`); it is an input so that one exported graph serves
        every size.  Each result: (B, D, H/14, W/14).
        """
        patches = self.patch_embed(image)                                   # (B, D, h, w)
        batch, dim, rows, cols = patches.shape
        patches = patches.permute(0, 2, 3, 1) + positions                   # (B, h, w, D)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(batch, -1, -1)
        x = torch.cat([first, patches.reshape(batch, rows * cols, dim)], dim=1)
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in taps:
                tokens = self.norm(x)[:, 1:].transpose(1, 2)                # (B, D, N)
                features.append(tokens.reshape(batch, dim, rows, cols))
        return features
