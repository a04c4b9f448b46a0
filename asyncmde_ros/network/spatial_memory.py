"""SpatialMemoryUnit: projector, gates and complementary fusion (AsyncMDE III-C).

The keyframe's features M0 stay untouched, so that moving the memory with the camera never blurs
them; the state is the keyframe's remaining weight A per level, the product of every trust since.
The paper's recursion (eqs. 9-10) gives M0 that same weight and spreads the rest over the frames
since; here all of it is the present's (measured: docs/training.md).

Ours is also what is mixed in.  The light features Phi are a poor copy of the foundation model's,
and most of what they get wrong in a frame they got wrong in the keyframe, too.  So what was
missing there, M0 - Phi0, moves with the camera and is added to the observation: mixing in then
changes what Phi saw change.  With ``correction`` 0 it is Phi itself, as in eq. 9.

Everything of level 1 but M0 itself lives at level 2's size: Phi, A, the gates' map.  What changed
since the keyframe, and how far to believe it, are smooth next to M0, whose detail stays whole.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asyncmde_ros.model.graph_tensors import LEVELS
from asyncmde_ros.network.warp import TensorWarp, sample, warp_grid

GATE_HIDDEN = 64
INITIAL_TRUST = 0.999
"""T of an untrained gate: keep the memory.  A keyframe then still holds 97 % after a second."""


def interpolate(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resample bilinearly (``Interp`` of eqs. 3 and 8), pixel centres aligned."""
    return F.interpolate(x, size=tuple(size), mode='bilinear', align_corners=False)


class Projector(nn.Module):
    """Phi of eq. 3: one 1x1 convolution per encoder tap, then the memory's size at that level.

    With ``context`` (ours; the paper has none) each level also reads the deeper taps, by 1x1
    convolutions too, added from the coarsest up.  A linear fit of the foundation model's M1 from
    its own tap, 16 channels that see a few pixels, explains 10 % of the variance of unseen
    photos; with the deeper taps 41 % (M2: 22 and 34 %, M3: 25 and 30 %).
    """

    def __init__(self, taps: Sequence[int], channels: int, context: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in taps)
        self.context = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(width, channels, 1, bias=False) for width in taps[level + 1:])
            for level in range(len(taps) - 1)) if context else None

    def forward(self, features: Sequence[Tensor], sizes: Sequence[Sequence[int]]) -> list[Tensor]:
        levels = []
        for level, (conv, size) in enumerate(zip(self.convs, sizes, strict=True)):
            x = conv(features[level])
            if self.context is not None and level < len(self.context):
                deeper = [convolve(tap) for convolve, tap in
                          zip(self.context[level].children(), features[level + 1:], strict=True)]
                x = sum_top_down([x, *deeper])
            levels.append(interpolate(x, size))
        return levels

    def hold_context(self) -> None:
        """Set the context to zero for good: the paper's projector, in a graph that has ours."""
        assert self.context is not None
        for parameter in self.context.parameters():
            nn.init.zeros_(parameter)
            parameter.requires_grad_(False)


def sum_top_down(maps: Sequence[Tensor]) -> Tensor:
    """Add maps of falling size, each brought to the next finer one's; the finest's size."""
    *finer, x = maps
    for target in reversed(finer):
        x = target + interpolate(x, target.shape[2:])
    return x


class Gate(nn.Module):
    """h of eqs. 4-5: trust in the memory from two frames' projected features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.compare = nn.Conv2d(2 * channels, GATE_HIDDEN, 3, padding=1)
        self.score = nn.Conv2d(GATE_HIDDEN, 1, 1)
        self.start_at(INITIAL_TRUST)

    def start_at(self, trust: float) -> None:
        """Give the same trust in (0, 1) everywhere, whatever is seen."""
        assert self.score.bias is not None
        nn.init.zeros_(self.score.weight)
        nn.init.constant_(self.score.bias, float(torch.logit(torch.tensor(trust))))

    def forward(self, previous: Tensor, current: Tensor) -> Tensor:
        both = torch.cat([previous, current], dim=1)                        # (B, 2C, ., .)
        # In float32 whatever the features are in: half precision has few numbers near 1.
        return torch.sigmoid(self.score(F.relu(self.compare(both))).float())  # (B, 1, ., .)


class SemanticGates(nn.Module):
    """The two-scale modulation factor of eqs. 4-7.

    ``scales`` other than ``full`` are the ablations of the paper's table V: ``level1`` alone
    ("w/o SGM") or ``level4`` alone.
    """

    scales = 'full'

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.level1 = Gate(channels)
        self.level4 = Gate(channels)

    def forward(self, p1: Tensor, c1: Tensor, p4: Tensor, c4: Tensor, k: Tensor) -> Tensor:
        """Return T (B, 1, rows, cols of ``c1``) in (0, 1); ``k`` is eq. 6's temperature."""
        fine = self.level1(p1, c1)                                          # eq. 4
        if self.scales == 'level1':
            return fine
        semantic = interpolate(self.level4(p4, c4), c1.shape[2:])           # eq. 5
        if self.scales == 'level4':
            return semantic
        g = torch.sigmoid(k * (semantic - 0.5))                             # eq. 6
        return g * fine + (1 - g) * semantic                                # eq. 7


def observed_sizes(levels: Sequence[Tensor]) -> list[Sequence[int]]:
    """Return the sizes of Phi for a memory's levels: at level 1 that of level 2."""
    second, third, fourth = (level.shape[2:] for level in levels[1:])
    return [second, second, third, fourth]


def full_size(observed: Sequence[Tensor]) -> list[Tensor]:
    """Return Phi with level 1 at the size of the memory's."""
    first, *others = observed
    return [interpolate(first, (2 * first.shape[2], 2 * first.shape[3])), *others]


class KeyframeFeatures(NamedTuple):
    """What a refresh leaves of the keyframe, four levels (B, C, rows, cols) each.

    ``levels``: M0, the foundation model's; ``observed``: Phi0, this network's own.
    """

    levels: Sequence[Tensor]
    observed: Sequence[Tensor]


class MemoryState(NamedTuple):
    """What a step hands to the next one; all maps are (B, channels, rows, cols), B = 1 live.

    ``weight`` is A at the sizes of levels 2 to 4, the first of which serves level 1, too; ``p1``
    and ``p4`` the projected features to compare with, ``trust`` the T of the step before.
    """

    weight: list[Tensor]
    p1: Tensor
    p4: Tensor
    trust: Tensor


class Fused(NamedTuple):
    """The fused ``levels`` O, the next ``state``, and the keyframe's ``share`` of O1."""

    levels: list[Tensor]
    state: MemoryState
    share: Tensor


class SpatialMemoryUnit(nn.Module):
    """One step of the memory: gate, move with the camera, mix in the present."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = SemanticGates(channels)
        self.correction = nn.ParameterList(
            nn.Parameter(torch.ones(channels)) for _ in range(LEVELS))

    def hold_correction(self) -> None:
        """Set the correction to zero for good: what is mixed in is Phi itself, as in eq. 9."""
        for parameter in self.correction:
            nn.init.zeros_(parameter)
            parameter.requires_grad_(False)

    def corrected(self, observed: Sequence[Tensor], memory: KeyframeFeatures,
                  keyframe: TensorWarp) -> list[Tensor]:
        """Return Phi plus what it lacked in the keyframe: what trust 0 shows."""
        grids = [warp_grid(keyframe, phi.shape[2:])[0] for phi in observed]
        nothing = torch.zeros_like(observed[0][:, :1])
        return self._mixed(observed, memory, keyframe, grids,
                           [interpolate(nothing, phi.shape[2:]) for phi in observed])

    def _mixed(self, observed: Sequence[Tensor], memory: KeyframeFeatures, keyframe: TensorWarp,
               grids: Sequence[Tensor], shares: Sequence[Tensor]) -> list[Tensor]:
        """Return O: eq. 9 with the correction.

        ``shares`` (B, 1, rows, cols) of the keyframe and the ``grids`` that lead to it are of
        Phi's sizes.  With c the correction and S the share,
        S W(M0) + (1 - S) (Phi + c W(M0 - Phi0))
        = (1 - (1 - c) (1 - S)) W(M0) + (1 - S) (Phi - c W(Phi0)),
        so that only M0 is needed at its own size.
        """
        finest, _ = warp_grid(keyframe, memory.levels[0].shape[2:])
        fused = []
        for level, (phi, grid, share) in enumerate(zip(observed, grids, shares, strict=True)):
            c = self.correction[level].reshape(1, -1, 1, 1)
            m = sample(memory.levels[level], finest if level == 0 else grid)
            present = (1 - share).to(phi.dtype)
            change = present * (phi - c * sample(memory.observed[level], grid))
            if level == 0:
                present, change = (interpolate(x, m.shape[2:]) for x in (present, change))
            fused.append((1 - (1 - c) * present) * m + change)
        return fused

    def forward(self, observed: Sequence[Tensor], memory: KeyframeFeatures, state: MemoryState,
                step: TensorWarp, keyframe: TensorWarp, beta: Tensor, k: Tensor, fresh: Tensor
                ) -> Fused:
        """Fuse one frame.

        ``observed``: this frame's projected features Phi_l; ``memory``: the keyframe's.
        ``step`` and ``keyframe`` map this view to the one that ``state`` belongs to and to the
        keyframe's (see :mod:`asyncmde_ros.network.warp`).  ``beta``, ``k`` and ``fresh`` are
        scalars of shape (1,); ``fresh`` is 1 on the first step after a swap, which compares with
        the keyframe and ignores ``state``.
        """
        is_fresh = fresh.reshape(1, 1, 1, 1) > 0.5
        beta = beta.reshape(1, 1, 1, 1)
        c1, c4 = observed[0], observed[3]
        sizes = [phi.shape[2:] for phi in observed[1:]]
        steps = [warp_grid(step, size)[0] for size in sizes]

        # where(), not a product: a stale state may hold anything.
        p1 = torch.where(is_fresh, memory.observed[0], state.p1)
        p4 = torch.where(is_fresh, memory.observed[3], state.p4)
        raw = self.gates(sample(p1, steps[0]), c1, sample(p4, steps[2]), c4,
                         k.reshape(1, 1, 1, 1))
        # Temporal smoothing (III-C-1).
        before = torch.where(is_fresh, raw, sample(state.trust, steps[0]))
        trust = beta * raw + (1 - beta) * before

        weights, grids, shares = [], [], []
        for weight, size, back in zip(state.weight, sizes, steps, strict=True):
            a = torch.where(is_fresh, torch.ones_like(weight), sample(weight, back))
            a = a * interpolate(trust, size)                                         # eq. 8
            grid, seen = warp_grid(keyframe, size)
            weights.append(a)
            grids.append(grid)
            # What the keyframe never saw, the present shows.  The state does not hear of it, so
            # that what comes back into view is remembered.
            shares.append(seen * a)
        fused = self._mixed(observed, memory, keyframe, [grids[0], *grids],
                            [shares[0], *shares])
        return Fused(fused, MemoryState(weights, c1, c4, trust), shares[0])
