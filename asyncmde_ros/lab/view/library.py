"""Rerun, or one clear word on how to get it."""

from asyncmde_ros.errors import AsyncMDEError

REQUIREMENT = 'rerun-sdk>=0.23.4,<0.42'
"""As in setup.py: the versions that were tried."""

try:
    import rerun as rr
    import rerun.blueprint as rrb
except ImportError as error:
    raise AsyncMDEError(f'the view needs Rerun: pip install "{REQUIREMENT}"') from error

__all__ = ['REQUIREMENT', 'rr', 'rrb']
