"""What a script may match: the names of what /diagnostics and depth/memory say (docs/ros.md).

Sentences for people are in :mod:`asyncmde_ros.ros.sentences`.
"""

from typing import NamedTuple

from asyncmde_ros.model.geometry import Size, size_text
from asyncmde_ros.pipeline.results import DepthSource

OVERRUN, ENGINE, INTERNAL = 'overrun', 'engine', 'internal'
"""Why the node drops images, beside the reasons of ImageError and PipelineState: a newer one
replaced them before their turn came; the engine failed; a fault of ours."""

DROPPED = 'dropped'
SLOW_PATH_FAILURES = 'slow_path_failures'
SLOW_PATH_REFRESHES = 'slow_path_refreshes'
GLANCES, GLANCE_MS = 'glances', 'glance_ms'
"""Keys of /diagnostics that others of this package read."""

STALE = 'stale'
"""What depth/memory adds where the keyframe is older than ``memory.max_age``."""


def depth_key(source: str) -> str:
    """Return the key that counts images with depth from a source, a value of DepthSource."""
    return f'depth_{source}'


def dropped_key(reason: str) -> str:
    """Return the key that counts images without depth for a ``reason``."""
    return f'{DROPPED}_{reason}'


def refreshes_key(size: Size) -> str:
    """Return the key that counts refreshes of an image of ``size``, (rows, cols)."""
    return f'{SLOW_PATH_REFRESHES}_{size_text(size)}'


def refreshed_size(key: str) -> str | None:
    """Return the size, as ``252x336``, that a key counts refreshes of; None for another key."""
    prefix = f'{SLOW_PATH_REFRESHES}_'
    return key.removeprefix(prefix) if key.startswith(prefix) else None


class MemorySource(NamedTuple):
    """What ``source`` of depth/memory says of a depth map."""

    depth: DepthSource
    stale: bool

    def __str__(self) -> str:
        """Return the depth's source, followed by ``,stale`` where that is so."""
        return f'{self.depth.value},{STALE}' if self.stale else self.depth.value

    @classmethod
    def parse(cls, text: str) -> 'MemorySource':
        """Return what ``text`` says; marks that are not known are ignored.

        Raises ValueError where it begins with no source of depth.
        """
        depth, *marks = text.split(',')
        return cls(DepthSource(depth), STALE in marks)
