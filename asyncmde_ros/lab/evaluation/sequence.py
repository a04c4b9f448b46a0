"""Sequences to evaluate on: folders with ground truth and plain videos, behind one interface.

Three things are recognised: a folder in the project's own format (``meta.json``, ``rgb/``,
``depth/``, perhaps ``poses.txt``), a recording of the TUM RGB-D benchmark (Sturm et al., "A
Benchmark for the Evaluation of RGB-D SLAM Systems", IROS 2012) and any video file, which has no
ground truth.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence as Series
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import MediaError
from asyncmde_ros.files import printable
from asyncmde_ros.images.codec import RGB
from asyncmde_ros.images.picture import read_picture, read_units
from asyncmde_ros.lab.media.sources import open_video
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.rotation import SHORTEST_QUATERNION, quaternion_matrix

Depth = npt.NDArray[np.float32]
Pose = npt.NDArray[np.float64]

MILLIMETRES_PER_M = 1000.0
"""Of a depth image in the project's format."""

TUM_UNITS_PER_M = 5000.0
"""Of a depth image of the TUM RGB-D benchmark (its "File Formats" page)."""

TUM_TOLERANCE_S = 0.02
"""Farther apart, two stamps do not belong together: the default of TUM's ``associate.py``."""

TUM_MAX_DEPTH_M = 10.0
"""The Kinect measures nothing useful beyond."""

UNBOUNDED_DEPTH_M = 1000.0
"""``max_depth_m`` where nothing is known: no smaller than any depth that alignment gives."""

MAX_VIDEO_BYTES = 4 * 2**30
"""A video is held decoded in memory; one that needs more has to be cut with ``max_frames``."""

RIGID_TOLERANCE = 1e-3
"""Poses are written with few digits; a matrix farther from a rotation is not a pose."""


@dataclass(frozen=True)
class PinholeIntrinsics:
    """A pinhole camera, in pixels of one image size; pixel centres are at whole numbers."""

    fx: float
    fy: float
    cx: float
    cy: float

    def scaled(self, size: Size, new_size: Size) -> 'PinholeIntrinsics':
        """Return the calibration of images of ``size`` (rows, cols) resized to ``new_size``.

        Focal lengths and centre grow alike, as ROS scales a CameraInfo; exact for images
        decimated from pixel 0 on, a quarter of a pixel off for halved ones that were averaged.
        """
        down, across = new_size[0] / size[0], new_size[1] / size[1]
        return PinholeIntrinsics(self.fx * across, self.fy * down, self.cx * across,
                                 self.cy * down)


@dataclass(frozen=True, eq=False, kw_only=True)
class Sequence(ABC):
    """Frames with random access, 0 <= index < ``length``; ``rgb`` beyond raises IndexError.

    ``rate_hz`` is None where nobody knows it.  Only truth below ``max_depth_m`` counts.
    ``calibration`` is that of the RGB images, None where unknown.
    """

    name: str
    length: int
    rate_hz: float | None
    max_depth_m: float
    calibration: PinholeIntrinsics | None
    has_depth: bool
    has_poses: bool

    @abstractmethod
    def rgb(self, index: int) -> RGB:
        """Return the image, (H, W, 3) uint8 RGB.  Raises MediaError where it is unreadable."""

    @abstractmethod
    def depth(self, index: int) -> Depth | None:
        """Return the true depth along the optical axis, (h, w) float32 metres, 0 = invalid.

        Its size may differ from the image's, not its field of view.  None where the sequence has
        no truth.  Raises MediaError where it is unreadable.
        """

    @abstractmethod
    def pose(self, index: int) -> Pose | None:
        """Return camera-to-world, 4x4 float64, OpenCV axes, metres; None where unknown."""


def open_sequence(path: Path, max_frames: int | None = None) -> Sequence:
    """Open a folder with ground truth or a video, at most its first ``max_frames`` frames.

    Images of folders are read when asked for; a video is decoded into memory at once.  Raises
    MediaError for what is missing, inconsistent, unreadable or of an unknown kind, and
    ValueError unless ``max_frames`` is positive.
    """
    if max_frames is not None and max_frames < 1:
        raise ValueError(f'max_frames is {max_frames}: must be 1 or more')
    if path.is_file():
        return _open_video(path, max_frames)
    if (path / 'meta.json').is_file():
        return _open_folder(path, max_frames)
    if (path / 'rgb.txt').is_file():
        return _open_tum(path, max_frames)
    if not path.exists():
        raise MediaError(f'{path} does not exist')
    raise MediaError(f'{path} is no sequence: expected a video file, or a folder with meta.json '
                     '(rgb/, depth/) or with rgb.txt and depth.txt (TUM RGB-D)')


@dataclass(frozen=True, eq=False, kw_only=True)
class _Files(Sequence):
    """Images and depth maps in files of their own."""

    rgb_paths: Series[Path]
    depth_paths: Series[Path]
    poses: Series[Pose | None]
    units_per_m: float

    def rgb(self, index: int) -> RGB:
        return read_picture(self.rgb_paths[index], oriented=False)

    def depth(self, index: int) -> Depth | None:
        return read_units(self.depth_paths[index]).astype(np.float32) / np.float32(
            self.units_per_m)

    def pose(self, index: int) -> Pose | None:
        return self.poses[index]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Video(Sequence):
    """Decoded frames; no ground truth."""

    frames: Series[RGB]

    def rgb(self, index: int) -> RGB:
        return self.frames[index]

    def depth(self, index: int) -> Depth | None:
        return None

    def pose(self, index: int) -> Pose | None:
        return None


def _open_video(path: Path, max_frames: int | None) -> _Video:
    frames: list[RGB] = []
    with open_video(path) as source:
        for frame in source:
            if (len(frames) + 1) * frame.image.nbytes > MAX_VIDEO_BYTES:
                raise MediaError(f'{path} does not fit in {MAX_VIDEO_BYTES / 2**30:g} GiB of '
                                 f'memory: take at most {len(frames)} frames of it')
            if frames and frame.image.shape != frames[0].shape:
                raise MediaError(f'{path} changes its size after {len(frames)} frames: take at '
                                 'most so many of it (--frames), or cut it there')
            frames.append(frame.image)
            if len(frames) == max_frames:
                break
        rate_hz = source.rate_hz
    return _Video(name=printable(path.stem), length=len(frames), rate_hz=rate_hz,
                  max_depth_m=UNBOUNDED_DEPTH_M, calibration=None, has_depth=False,
                  has_poses=False, frames=frames)


def _open_folder(path: Path, max_frames: int | None) -> _Files:
    meta_path = path / 'meta.json'
    meta = _read_meta(meta_path)
    frames = _number(meta_path, meta, 'frames')
    if frames != int(frames):
        raise MediaError(f'{meta_path}: frames is {frames}, not a whole number')
    rgb_paths = _numbered(path / 'rgb', '.jpg', int(frames))
    depth_paths = _numbered(path / 'depth', '.png', int(frames))
    poses = _read_matrices(path / 'poses.txt', int(frames))
    length = min(int(frames), max_frames or int(frames))
    return _Files(
        name=str(meta.get('name') or printable(path.resolve().name)), length=length,
        rate_hz=None if meta.get('fps') is None else _number(meta_path, meta, 'fps'),
        max_depth_m=_number(meta_path, meta, 'max_depth_m'),
        calibration=_calibration(meta_path, meta), has_depth=True, has_poses=poses is not None,
        rgb_paths=rgb_paths[:length], depth_paths=depth_paths[:length],
        poses=(poses or [None] * length)[:length], units_per_m=MILLIMETRES_PER_M)


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise MediaError(f'{path} cannot be read: {error}') from error
    if not isinstance(meta, dict):
        raise MediaError(f'{path} is not a JSON object')
    return meta


def _is_number(value: Any) -> bool:
    return (isinstance(value, int | float) and not isinstance(value, bool)
            and math.isfinite(value))


def _number(path: Path, meta: dict[str, Any], key: str) -> float:
    value: Any = meta.get(key)
    if not _is_number(value) or value <= 0:
        raise MediaError(f'{path}: {key} is {value!r}, not a positive number')
    return float(value)


def _calibration(path: Path, meta: dict[str, Any]) -> PinholeIntrinsics | None:
    values = meta.get('intrinsics_rgb')
    if values is None:
        return None
    if not (isinstance(values, list) and len(values) == 4 and all(map(_is_number, values))
            and min(values[:2]) > 0):
        raise MediaError(f'{path}: intrinsics_rgb is {values!r}, not [fx, fy, cx, cy] in pixels')
    return PinholeIntrinsics(*map(float, values))


def _numbered(folder: Path, suffix: str, frames: int) -> list[Path]:
    """Return 000000 to ``frames`` - 1; what the folder holds must be exactly that."""
    found = sorted(folder.glob(f'*{suffix}'))
    if len(found) != frames:
        raise MediaError(f'{folder} holds {len(found)} {suffix} files, but meta.json says '
                         f'{frames} frames')
    expected = [folder / f'{index:06d}{suffix}' for index in range(frames)]
    missing = sorted(set(expected) - set(found))
    if missing:
        raise MediaError(f'{missing[0]} is missing')
    return expected


def _read_matrices(path: Path, frames: int) -> list[Pose | None] | None:
    if not path.is_file():
        return None
    poses: list[Pose | None] = []
    for number, fields in _read_table(path):
        if len(fields) != 16:
            raise MediaError(f'{path}, line {number}: {len(fields)} numbers, not the 16 of a '
                             'row-major 4x4 matrix')
        pose = np.array(fields, np.float64).reshape(4, 4)
        rotation = pose[:3, :3]
        rigid = (np.allclose(rotation @ rotation.T, np.eye(3), atol=RIGID_TOLERANCE)
                 and np.linalg.det(rotation) > 0
                 and np.allclose(pose[3], (0, 0, 0, 1), atol=RIGID_TOLERANCE))
        if not rigid:
            raise MediaError(f'{path}, line {number}: not a camera-to-world matrix (a rotation '
                             'and a translation)')
        poses.append(pose)
    if len(poses) != frames:
        raise MediaError(f'{path} holds {len(poses)} poses, but meta.json says {frames} frames')
    return poses


def _read_table(path: Path) -> list[tuple[int, list[float]]]:
    """Return (line number, numbers) of the lines that are neither empty nor comments."""
    rows = []
    for number, fields in _read_fields(path):
        try:
            values = [float(field) for field in fields]
        except ValueError as error:
            raise MediaError(f'{path}, line {number}: {error}') from error
        if not all(map(math.isfinite, values)):
            raise MediaError(f'{path}, line {number}: a number is not finite')
        rows.append((number, values))
    return rows


def _read_fields(path: Path) -> list[tuple[int, list[str]]]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f'{path} cannot be read: {error}') from error
    # TUM's tools accept commas between the fields, too.
    fields = [(number, line.replace(',', ' ').split()) for number, line in enumerate(lines, 1)]
    return [(number, row) for number, row in fields if row and not row[0].startswith('#')]


_TUM_CALIBRATIONS = {
    'freiburg1': PinholeIntrinsics(517.3, 516.5, 318.6, 255.3),
    'freiburg2': PinholeIntrinsics(520.9, 521.0, 325.1, 249.7),
    'freiburg3': PinholeIntrinsics(535.4, 539.2, 320.1, 247.6),
}
"""TUM's "Intrinsic Camera Calibration" of the colour cameras, at 640x480.

Lens distortion, up to some pixels in the corners of freiburg1 and freiburg2, is left out."""


@dataclass(frozen=True)
class _Listing:
    """A TUM list of images: ``stamps_s`` rising, and the file of each."""

    stamps_s: npt.NDArray[np.float64]
    paths: list[Path]


def _open_tum(path: Path, max_frames: int | None) -> _Files:
    name = printable(path.resolve().name)
    colour, depth = _read_listing(path / 'rgb.txt'), _read_listing(path / 'depth.txt')
    # As TUM's tools do, an image without depth of its time is left out.
    pairs = associate(colour.stamps_s, depth.stamps_s)[:max_frames]
    if not pairs:
        raise MediaError(f'{path}: no image of rgb.txt is within {TUM_TOLERANCE_S * 1000:g} ms '
                         'of one of depth.txt')
    poses = _tum_poses(path / 'groundtruth.txt', colour.stamps_s[[index for index, _ in pairs]])
    periods_s = np.diff(colour.stamps_s)
    periods_s = periods_s[periods_s > 0]
    return _Files(
        name=name, length=len(pairs),
        rate_hz=float(1 / np.median(periods_s)) if periods_s.size else None,
        max_depth_m=TUM_MAX_DEPTH_M,
        calibration=next((calibration for camera, calibration in _TUM_CALIBRATIONS.items()
                          if camera in name), None),
        has_depth=True, has_poses=any(pose is not None for pose in poses),
        rgb_paths=[colour.paths[index] for index, _ in pairs],
        depth_paths=[depth.paths[index] for _, index in pairs],
        poses=poses, units_per_m=TUM_UNITS_PER_M)


def _read_listing(path: Path) -> _Listing:
    entries: list[tuple[float, Path]] = []
    for number, fields in _read_fields(path):
        try:
            stamp_s, file = float(fields[0]), path.parent / fields[1]
        except (ValueError, IndexError) as error:
            raise MediaError(f'{path}, line {number}: not a stamp and a file name') from error
        if not math.isfinite(stamp_s):
            raise MediaError(f'{path}, line {number}: the stamp is not finite')
        if not file.is_file():
            raise MediaError(f'{path}, line {number}: {file} is missing')
        entries.append((stamp_s, file))
    entries.sort()
    return _Listing(np.array([stamp_s for stamp_s, _ in entries]), [file for _, file in entries])


def associate(first_s: npt.NDArray[np.float64], second_s: npt.NDArray[np.float64]
              ) -> list[tuple[int, int]]:
    """Pair stamps, closest first and each once, in the order of time (TUM's associate.py).

    Both must rise; (index into first, index into second) of the pairs nearer than the tolerance.
    """
    begin = np.searchsorted(second_s, first_s - TUM_TOLERANCE_S, 'right')
    end = np.searchsorted(second_s, first_s + TUM_TOLERANCE_S, 'left')
    candidates = sorted((abs(first_s[i] - second_s[j]), i, j) for i in range(len(first_s))
                        for j in range(begin[i], end[i]))
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in candidates:
        if i not in partner and j not in taken:
            partner[i] = j
            taken.add(j)
    return sorted(partner.items())


def _tum_poses(path: Path, stamps_s: npt.NDArray[np.float64]) -> list[Pose | None]:
    """Return the pose at each stamp, None where the trajectory has a gap or is not known."""
    poses: list[Pose | None] = [None] * len(stamps_s)
    if not path.is_file():  # TUM keeps those of its validation recordings back
        return poses
    rows = _read_table(path)
    for number, row in rows:
        if len(row) != 8 or np.linalg.norm(row[4:]) < SHORTEST_QUATERNION:
            raise MediaError(f'{path}, line {number}: not "stamp tx ty tz qx qy qz qw"')
    trajectory = np.array(sorted(row for _, row in rows), np.float64).reshape(-1, 8)
    for frame, index in associate(stamps_s, trajectory[:, 0]):
        poses[frame] = pose_of(trajectory[index, 1:4], trajectory[index, 4:])
    return poses


def pose_of(translation: npt.NDArray[np.float64], quaternion: npt.NDArray[np.float64]) -> Pose:
    """Return the 4x4 matrix; ``quaternion`` is x, y, z, w of any length but zero."""
    pose = np.eye(4)
    pose[:3, :3] = quaternion_matrix(quaternion)
    pose[:3, 3] = translation
    return pose
