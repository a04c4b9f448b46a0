"""Where the package's data files lie: in the source tree, a wheel, or a colcon install."""

from functools import cache
from pathlib import Path

from asyncmde_ros.errors import AsyncMDEError

MARKER = Path('models', 'registry.json')


@cache
def share_directory() -> Path:
    """Return the folder with ``models/``, ``config/`` and ``launch/``.

    It is the source tree itself, or ``share/asyncmde_ros`` under whichever prefix holds the
    installed package: pip's, ``--user``'s or colcon's.
    """
    for parent in Path(__file__).resolve().parents:
        for candidate in (parent, parent / 'share' / 'asyncmde_ros'):
            if (candidate / MARKER).is_file():
                return candidate
    raise AsyncMDEError('the data files of asyncmde_ros (models/, config/) are missing: install '
                        'the package with pip or colcon instead of copying the folder')
