"""Clips changed at random, so that fewer of them are learned by heart."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from asyncmde_ros.events.training.clips import DEPTH, EVENTS
from asyncmde_ros.events.training.config import Augmentation


class Change(NamedTuple):
    """What is done to a clip.

    ``mirrored``: left becomes right.  ``inverted``: bright becomes dark, and so brighter darker.
    ``zoom``: so many times larger; of what there is room for is seen what is ``right`` and
    ``down`` of the middle, both from -1 to 1.
    """

    mirrored: bool
    inverted: bool
    zoom: float
    right: float
    down: float


def drawn(settings: Augmentation, rng: np.random.Generator) -> Change:
    """Draw a change."""
    mirrored, inverted, zoomed = (bool(rng.random() < share) for share in (
        settings.mirrored, settings.inverted, settings.zoomed))
    zoom = float(rng.uniform(1, settings.largest_zoom))
    right, down = rng.uniform(-1, 1, 2).tolist()
    return Change(mirrored, inverted, zoom if zoomed else 1.0, right, down)


def changed(part: dict[str, Tensor], change: Change, metric: bool) -> dict[str, Tensor]:
    """Return a clip's windows, as :meth:`EventClip.read` gives them, with a change.

    Zoomed, exact inverse depth (``metric``) is larger by that: a camera that sees all things
    larger has come nearer.  Events are looked up at the nearest pixel, so that they stay whole.
    """
    found = dict(part)
    if change.zoom > 1:
        found = {name: _zoomed(value, change, 'nearest' if name == EVENTS else 'bilinear')
                 for name, value in found.items()}
        if metric:
            found[DEPTH] = found[DEPTH] * change.zoom
    if change.mirrored:
        found = {name: value.flip(-1) for name, value in found.items()}
    if change.inverted:
        # The last channel stays: how much happened.
        signs = torch.ones(found[EVENTS].shape[1])
        signs[:-1] = -1
        found[EVENTS] = found[EVENTS] * signs[:, None, None]
    return found


def _zoomed(value: Tensor, change: Change, mode: str) -> Tensor:
    """Return maps (N, ..., rows, cols) with a part of them on their whole area."""
    share = 1 / change.zoom
    maps = value.reshape(1, -1, *value.shape[-2:])
    theta = torch.tensor([[[share, 0, (1 - share) * change.right],
                           [0, share, (1 - share) * change.down]]])
    grid = F.affine_grid(theta, [1, 1, *maps.shape[2:]], align_corners=False)
    return F.grid_sample(maps, grid, mode=mode, padding_mode='border',
                         align_corners=False).reshape(value.shape)
