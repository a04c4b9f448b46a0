"""On what, and with what, the figures were taken."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

import asyncmde_ros
from asyncmde_ros.engine.cuda import Cuda, load_runtime
from asyncmde_ros.errors import EngineError
from asyncmde_ros.resources import share_directory

DISTRIBUTIONS = {'openvino': ('openvino',), 'torch': ('torch',), 'tensorrt': ('tensorrt',),
                 'tensorrt_rtx': ('tensorrt-rtx', 'tensorrt_rtx'), 'rclpy': ('rclpy', 'ros-rclpy')}
"""Which installed distributions may carry a package; the wheels of rclpy have a name of their own.
"""

GIT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Machine:
    """Everything needed to judge or repeat a run."""

    date: str
    package: str
    commit: str | None
    arguments: list[str]
    cpu: str
    gpu: str | None
    cores: int
    memory_gib: float
    load_average: float
    os: str
    ros_distro: str | None
    versions: dict[str, str]


def describe(arguments: Sequence[str]) -> Machine:
    """Describe this machine now, and how the run was asked for."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return Machine(
        datetime.now(timezone.utc).isoformat(timespec='seconds'), asyncmde_ros.__version__,
        commit(share_directory()), list(arguments), _cpu(), _gpu(),
        len(os.sched_getaffinity(0)), memory / 2**30, os.getloadavg()[0],
        f'{_system()}, {platform.machine()}',
        os.environ.get('ROS_DISTRO'), versions())


def versions() -> dict[str, str]:
    """Return the versions of what computes; absent packages are left out."""
    found = {'python': sys.version.split()[0], 'numpy': np.__version__, 'opencv': cv2.__version__}
    for name, distributions in DISTRIBUTIONS.items():
        for distribution in distributions:
            try:
                found[name] = importlib.metadata.version(distribution)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def commit(directory: Path) -> str | None:
    """Return the git commit of a source tree, ``-dirty`` where files differ; None without one.

    An installed copy has none, even if some repository's folder holds it.
    """
    if not (directory / '.git').exists():
        return None
    try:
        head = _git(directory, 'rev-parse', 'HEAD')
        changed = _git(directory, 'status', '--porcelain', '--untracked-files=no')
    except (OSError, subprocess.SubprocessError):
        return None
    return f'{head}-dirty' if changed else head


def _git(directory: Path, *arguments: str) -> str:
    return subprocess.run(['git', '-C', str(directory), *arguments], check=True, text=True,
                          capture_output=True, timeout=GIT_TIMEOUT_S).stdout.strip()


def _cpu() -> str:
    """Return the processor's name; its architecture where the kernel does not tell."""
    for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
        name, _, value = line.partition(':')
        if name.strip() in ('model name', 'Model'):
            return value.strip()
    return platform.machine()


def _gpu() -> str | None:
    """Return the graphics card's name, None where CUDA cannot use one."""
    try:
        device = Cuda(load_runtime()).device()
    except EngineError:
        return None
    return f'{device.name} (compute capability {device.compute_capability})'


def _system() -> str:
    try:
        return platform.freedesktop_os_release()['PRETTY_NAME']
    except (OSError, KeyError):
        return platform.system()
