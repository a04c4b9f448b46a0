"""What several stages share: blocks of A2, Fourier codes, reading a map at any place."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asyncmde_ros.network.dinov2 import Attention, Mlp

EPS = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, rows, cols)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResponseNorm(nn.Module):
    """Global response normalisation of (B, rows, cols, C): channels compete.

    Source: Woo et al., "ConvNeXt V2", 2023, eqs. 1-3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        strength = torch.sqrt(x.square().sum((1, 2), keepdim=True) + EPS)   # (B, 1, 1, C)
        share = strength / (strength.mean(-1, keepdim=True) + EPS)
        return x + self.gain * (x * share) + self.shift


class ConvNeXtBlock(nn.Module):
    """A wide depthwise convolution and a perceptron with response normalisation.

    ``factor``: how many times as many channels the perceptron has within.
    """

    def __init__(self, channels: int, kernel: int, factor: int = 4) -> None:
        super().__init__()
        self.spread = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=EPS)
        self.widen = nn.Linear(channels, factor * channels)
        self.response = ResponseNorm(factor * channels)
        self.narrow = nn.Linear(factor * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.spread(x).permute(0, 2, 3, 1))                   # (B, h, w, C)
        y = self.narrow(self.response(F.gelu(self.widen(y))))
        return x + y.permute(0, 3, 1, 2)


class WindowAttention(nn.Module):
    """Self-attention within windows of (side, side) cells, with a bias by relative position.

    Source: Liu et al., "Swin Transformer", 2021.
    """

    index: Tensor

    def __init__(self, dim: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        rows, cols = torch.meshgrid(torch.arange(side), torch.arange(side), indexing='ij')
        cells = torch.stack([rows.flatten(), cols.flatten()])
        apart = cells[:, :, None] - cells[:, None, :] + side - 1
        self.register_buffer('index', apart[0] * (2 * side - 1) + apart[1], persistent=False)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Attend within each window.

        ``x``: (B, windows, side^2, C); ``hidden`` (windows, side^2, side^2): what is added to the
        logits, 0 or a large negative number.
        """
        batch, windows, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, windows, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)           # (B, windows, heads, t, d)
        bias = self.bias[self.index.flatten()].reshape(tokens, tokens, self.heads)
        logits = (q * self.scale) @ k.transpose(-2, -1) + bias.permute(2, 0, 1)
        x = (logits + hidden[:, None]).softmax(dim=-1) @ v
        return self.proj(x.transpose(2, 3).reshape(batch, windows, tokens, dim))


class SwinBlock(nn.Module):
    """Windowed attention, windows shifted by half a side or not, and a perceptron."""

    FAR = -1e4

    def __init__(self, dim: int, heads: int, side: int, shifted: bool) -> None:
        super().__init__()
        self.side, self.shifted = side, shifted
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = WindowAttention(dim, heads, side)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, rows, cols, C) to the same; sides need not be multiples of the window's."""
        _, rows, cols, _ = x.shape
        # Where one window spans the map, shifting would only cut it up.
        shift = [self.side // 2 if self.shifted and length > self.side else 0
                 for length in (rows, cols)]
        y = self.norm1(x)
        y = F.pad(y, (0, 0, 0, -cols % self.side, 0, -rows % self.side))
        y = torch.roll(y, (-shift[0], -shift[1]), (1, 2))
        y = self._whole(self.attn(self._windows(y), self._hidden((rows, cols), shift, x)),
                        y.shape[1], y.shape[2])
        y = torch.roll(y, (shift[0], shift[1]), (1, 2))[:, :rows, :cols]
        x = x + y
        return x + self.mlp(self.norm2(x))

    def _windows(self, x: Tensor) -> Tensor:
        batch, rows, cols, dim = x.shape
        side = self.side
        x = x.reshape(batch, rows // side, side, cols // side, side, dim)
        return x.transpose(2, 3).reshape(batch, -1, side * side, dim)

    def _whole(self, windows: Tensor, rows: int, cols: int) -> Tensor:
        batch, _, _, dim = windows.shape
        side = self.side
        x = windows.reshape(batch, rows // side, cols // side, side, side, dim)
        return x.transpose(2, 3).reshape(batch, rows, cols, dim)

    def _hidden(self, size: tuple[int, int], shift: list[int], like: Tensor) -> Tensor:
        """Return what keeps cells apart that only padding or rolling brought together."""
        along = []
        for length, by in zip(size, shift, strict=True):
            cell = torch.arange(length + -length % self.side, device=like.device)
            origin = (cell + by) % len(cell)
            # Two parts: what was rolled in from the other border, and the rest; -1 is padding.
            along.append(torch.where(origin < length, (origin < by).long(), -1))
        part = torch.where((along[0][:, None] < 0) | (along[1] < 0), -1,
                           2 * along[0][:, None] + along[1])
        tokens = self._windows(part[None, :, :, None])[0, :, :, 0]          # (windows, side^2)
        apart = (tokens[:, :, None] != tokens[:, None, :]) | (tokens[:, None, :] < 0)
        return torch.where(apart, self.FAR, 0.0).to(like.dtype)


class GlobalBlock(nn.Module):
    """Self-attention of all cells with all, and a perceptron, on tokens (B, N, C)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def fourier(x: Tensor, frequencies: int) -> Tensor:
    """Return phi_n: (..., 2) to (..., 4 n), sines and cosines of pi x, 2 pi x, 4 pi x, ..."""
    turns = torch.pi * 2.0 ** torch.arange(frequencies, dtype=x.dtype, device=x.device)
    angles = (x[..., None] * turns).flatten(-2)                             # (..., 2 n)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def to_cells(pixels: Tensor, stride: int) -> Tensor:
    """Return pixels (x, y) in a level's cells; centres are at whole numbers in both."""
    return (pixels + 0.5) / stride - 0.5


def read(x: Tensor, cells: Tensor) -> Tensor:
    """Read (B, C, rows, cols) at ``cells`` (B, N, P, 2), (x, y), bilinearly: (B, C, N, P).

    Beyond the border is the border.
    """
    size = torch.tensor([x.shape[3], x.shape[2]], dtype=cells.dtype, device=cells.device)
    # In the places' float32 whatever the map is in: half precision would misplace them.
    return F.grid_sample(x.to(cells.dtype), (2 * cells + 1) / size - 1, mode='bilinear',
                         padding_mode='border', align_corners=False).to(x.dtype)


def read_tokens(x: Tensor, cells: Tensor) -> Tensor:
    """As :func:`read`, channels last: (B, N, P, C)."""
    return read(x, cells).permute(0, 2, 3, 1)


def neighbourhood(reach: int) -> Tensor:
    """Return the (x, y) offsets of a square of cells, (N, 2), row by row."""
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    y, x = torch.meshgrid(steps, steps, indexing='ij')
    return torch.stack([x.flatten(), y.flatten()], dim=-1)
