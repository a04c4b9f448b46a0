"""The foundation model adapted to see with few tokens: what of it learns, and as what it is kept.

The transformer's linear layers learn low-rank differences, which is a tenth of their weights;
everything else learns whole, but for the class token and the positional embedding.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asyncmde_ros.engine.positions import resize_positions
from asyncmde_ros.engine.torch import load_weights
from asyncmde_ros.lab.training.unroll import network_image
from asyncmde_ros.model.config import ModelConfig
from asyncmde_ros.model.geometry import Size, patch_grid
from asyncmde_ros.network.depth_anything import DepthAnythingV2
from asyncmde_ros.network.dinov2 import Attention
from asyncmde_ros.weights import adapter
from asyncmde_ros.weights.adapter import LORA_A, LORA_B
from asyncmde_ros.weights.canonical import UNUSED, Tensors, check_shapes

BLOCKS = 'pretrained.blocks.'
POSITIONS = 'pretrained.pos_embed'
KEPT = (POSITIONS, 'pretrained.cls_token')
HEAD = 'depth_head.'


class LowRankLinear(nn.Module):
    """A linear layer whose weight W is held while b @ a, added to it, learns."""

    def __init__(self, linear: nn.Linear, a: Tensor, b: Tensor) -> None:
        """``a`` is (rank, in), ``b`` (out, rank)."""
        super().__init__()
        self.linear = linear
        self.a, self.b = nn.Parameter(a), nn.Parameter(b)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + F.linear(F.linear(x, self.a), self.b)


class Student:
    """Depth Anything V2 with an adapter that learns.

    ``learned`` holds the adapter's tensors, and nothing else, so that it can be averaged,
    checkpointed and given back as a module of its own; the network reads the same ones.
    """

    def __init__(self, config: ModelConfig, base: Mapping[str, npt.NDArray[np.floating]],
                 start: Mapping[str, npt.NDArray[np.floating]], rank: int, seed: int) -> None:
        """Begin with the weights ``start``, but for what of them is not of ``rank``.

        ``base`` and ``start`` have the foundation model's key names.
        """
        self._positions: dict[Size, Tensor] = {}
        self._pos_embed = base[POSITIONS]
        self._network = DepthAnythingV2(config)
        load_weights(self._network, base)
        self._network.requires_grad_(False)
        for module in self._network.modules():
            if isinstance(module, Attention):
                module.fused = True
        rng = np.random.default_rng(seed)
        learned: dict[str, nn.Parameter] = {}
        for name, parameter in list(self._network.named_parameters()):
            if name in KEPT or name not in base:
                continue
            if name.startswith(BLOCKS) and parameter.ndim == 2:
                layer = self._low_rank(name, low_rank(
                    start[name].astype(np.float32) - base[name].astype(np.float32), rank, rng))
                learned |= {name + LORA_A: layer.a, name + LORA_B: layer.b}
            else:
                parameter.data.copy_(torch.from_numpy(start[name].astype(np.float32)))
                parameter.requires_grad_(True)
                learned[name] = parameter
        self.learned = nn.ParameterDict({_slashed(name): learned[name] for name in learned})

    def _low_rank(self, name: str, factors: Sequence[Tensor]) -> LowRankLinear:
        """Put a layer that learns in the place of a linear one, and return it."""
        path, _, _ = name.rpartition('.')
        parent, _, leaf = path.rpartition('.')
        linear = self._network.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        layer = LowRankLinear(linear, *factors)
        setattr(self._network.get_submodule(parent), leaf, layer)
        return layer

    def to(self, device: torch.device) -> 'Student':
        """Move the network, in place.  The optimiser has to come after."""
        self._network.to(device)
        return self

    def depth(self, pictures: Tensor) -> Tensor:
        """Return inverse depth (B, 1, H, W) of pictures (B, H, W, 3) uint8."""
        size = (pictures.shape[1], pictures.shape[2])
        if size not in self._positions:
            self._positions[size] = torch.from_numpy(
                resize_positions(self._pos_embed, patch_grid(size))).to(pictures.device)
        with torch.autocast(pictures.device.type, torch.bfloat16):
            depth: Tensor = self._network(network_image(pictures), self._positions[size])[0]
        return depth.float()

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Return what learns in three parts: ``low_rank``, ``head`` and ``other``."""
        parts: dict[str, list[nn.Parameter]] = {'low_rank': [], 'head': [], 'other': []}
        for name, parameter in self.learned.items():
            name = _dotted(name)
            parts['low_rank' if name.endswith((LORA_A, LORA_B)) else
                  'head' if name.startswith(HEAD) else 'other'].append(parameter)
        return parts

    def adapter(self) -> Tensors:
        """Return the adapter as it is kept: float16, by the names of its file."""
        return {_dotted(name): np.ascontiguousarray(value.detach().cpu().numpy(), np.float16)
                for name, value in sorted(self.learned.items())}


def whole(tensors: Tensors, base: Tensors, config: ModelConfig) -> Tensors:
    """Return a student's weights with the foundation model's names, of a file of any kind.

    ``tensors`` are such weights already, perhaps with ones that are never read, or an adapter.
    WeightsError where they do not fit.
    """
    if any(name.endswith(LORA_A) for name in tensors):
        # In float32: in the base's own float16 small differences would be lost.
        tensors = adapter.apply({name: value.astype(np.float32) for name, value in base.items()},
                                tensors)
    used = {name: value for name, value in tensors.items() if not name.startswith(UNUSED)}
    check_shapes({name: value.shape for name, value in used.items()}, config)
    return used


def low_rank(difference: npt.NDArray[np.float32], rank: int,
             rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return a (rank, in) and b (out, rank), b @ a the best approximation of ``difference``.

    Of a difference of zero, b is zero and a random, so that it can begin to learn.
    """
    rows, cols = difference.shape
    if not difference.any():
        a = rng.standard_normal((rank, cols)) / np.sqrt(cols)
        return torch.from_numpy(a.astype(np.float32)), torch.zeros(rows, rank)
    u, strengths, v = np.linalg.svd(difference, full_matrices=False)
    root = np.sqrt(strengths[:rank])
    return (torch.from_numpy(np.ascontiguousarray(root[:, None] * v[:rank])),
            torch.from_numpy(np.ascontiguousarray(u[:, :rank] * root)))


def _slashed(name: str) -> str:
    """Return a name as a ParameterDict takes it."""
    return name.replace('.', '/')


def _dotted(name: str) -> str:
    return name.replace('/', '.')
