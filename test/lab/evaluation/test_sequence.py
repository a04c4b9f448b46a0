"""Folders, TUM recordings and videos give frames, truth and poses, or say what is wrong."""

import pytest

pytest.importorskip('av', reason='left out: needs av')

import json
import os
from pathlib import Path

import cv2
import numpy as np
from support.videos import encode, png_bomb

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.evaluation import sequence
from asyncmde_ros.lab.evaluation.sequence import PinholeIntrinsics, open_sequence
from asyncmde_ros.lab.media.video import VideoWriter

FRAMES = 3
JPEG_TOLERANCE = 3
META = {'name': 'room', 'frames': FRAMES, 'fps': 15, 'intrinsics_rgb': [30, 31, 8, 6],
        'max_depth_m': 10}


def pose(x_m: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = x_m
    return matrix


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_meta(folder: Path, **changes: object) -> None:
    (folder / 'meta.json').write_text(json.dumps(META | changes))


def write_poses(folder: Path, poses: list[np.ndarray]) -> None:
    lines = [' '.join(map(str, matrix.ravel())) for matrix in poses]
    (folder / 'poses.txt').write_text('\n'.join(['# camera-to-world', *lines]))


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """Return a folder in the project's format: frame i is 50 i grey, i + 1 metres deep."""
    folder = tmp_path / 'room_folder'
    for index in range(FRAMES):
        write_image(folder / f'rgb/{index:06d}.jpg', np.full((12, 16, 3), 50 * index, np.uint8))
        depth = np.full((6, 8), 1000 * (index + 1), np.uint16)
        depth[0, 0] = 0
        write_image(folder / f'depth/{index:06d}.png', depth)
    write_meta(folder)
    write_poses(folder, [pose(index) for index in range(FRAMES)])
    return folder


def test_a_folder_gives_images_truth_and_poses(room: Path) -> None:
    frames = open_sequence(room)
    assert (frames.name, frames.length, frames.rate_hz, frames.max_depth_m) == ('room', 3, 15, 10)
    assert frames.calibration == PinholeIntrinsics(30, 31, 8, 6)
    assert frames.has_depth and frames.has_poses
    image, depth = frames.rgb(2), frames.depth(2)
    assert image.shape == (12, 16, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - 100).max() <= JPEG_TOLERANCE
    assert depth is not None and depth.dtype == np.float32
    assert depth[0, 0] == 0 and (depth.ravel()[1:] == 3).all()
    np.testing.assert_array_equal(frames.pose(2), pose(2))


def test_images_are_rgb(room: Path) -> None:
    write_image(room / 'rgb/000000.jpg', np.full((12, 16, 3), (0, 0, 255), np.uint8))  # BGR red
    assert open_sequence(room).rgb(0)[5, 5, 0] > 200 > 50 > open_sequence(room).rgb(0)[5, 5, 2]


def test_only_the_first_frames_are_taken(room: Path) -> None:
    frames = open_sequence(room, 2)
    assert frames.length == 2
    with pytest.raises(IndexError):
        frames.rgb(2)
    assert open_sequence(room, 99).length == FRAMES
    with pytest.raises(ValueError, match='max_frames'):
        open_sequence(room, 0)


def test_poses_rate_and_calibration_may_be_unknown(room: Path) -> None:
    (room / 'poses.txt').unlink()
    write_meta(room, fps=None, intrinsics_rgb=None)
    frames = open_sequence(room)
    assert frames.rate_hz is None and frames.calibration is None
    assert not frames.has_poses and frames.pose(0) is None


@pytest.mark.parametrize('changes, words', [
    ({'frames': 4}, 'holds 3 .jpg files, but meta.json says 4'),
    ({'frames': None}, 'frames is None'),
    ({'frames': 2.5}, 'not a whole number'),
    ({'max_depth_m': 'far'}, "max_depth_m is 'far'"),
    ({'max_depth_m': -1}, 'max_depth_m is -1'),
    ({'fps': 0}, 'fps is 0'),
    ({'intrinsics_rgb': [1, 2, 3]}, 'intrinsics_rgb'),
    ({'intrinsics_rgb': [0, 2, 3, 4]}, 'intrinsics_rgb'),
])
def test_a_meta_that_makes_no_sense(room: Path, changes: dict[str, object], words: str) -> None:
    write_meta(room, **changes)
    with pytest.raises(MediaError, match=words):
        open_sequence(room)


@pytest.mark.parametrize('text', ['{', '[]', '\x80'])
def test_a_meta_that_is_no_object(room: Path, text: str) -> None:
    (room / 'meta.json').write_text(text, encoding='latin-1')
    with pytest.raises(MediaError, match=r'meta\.json'):
        open_sequence(room)


def test_missing_and_misnamed_images(room: Path) -> None:
    (room / 'depth/000001.png').rename(room / 'depth/000007.png')
    with pytest.raises(MediaError, match=r'000001\.png is missing'):
        open_sequence(room)
    (room / 'depth/000007.png').unlink()
    with pytest.raises(MediaError, match=r'holds 2 \.png files'):
        open_sequence(room)


def test_unreadable_images(room: Path) -> None:
    frames = open_sequence(room)
    for path in (room / 'depth/000001.png', room / 'rgb/000001.jpg'):
        path.write_bytes(b'no image')
    with pytest.raises(MediaError, match=r'000001\.png is not an image'):
        frames.depth(1)
    with pytest.raises(MediaError, match=r'000001\.jpg is not an image'):
        frames.rgb(1)
    write_image(room / 'depth/000001.png', np.zeros((6, 8), np.uint8))
    with pytest.raises(MediaError, match='16-bit'):
        frames.depth(1)


@pytest.mark.parametrize('poses, words', [
    ([pose(0)] * 2, 'holds 2 poses'),
    ([pose(0), pose(0), 2 * pose(0)], 'line 4: not a camera-to-world'),
    ([pose(0), np.diag([1, 1, -1, 1]), pose(0)], 'line 3: not a camera-to-world'),
    ([pose(0), np.eye(3), pose(0)], 'line 3: 9 numbers'),
    ([pose(0), pose(np.inf), pose(0)], 'line 3: a number is not finite'),
])
def test_poses_that_make_no_sense(room: Path, poses: list[np.ndarray], words: str) -> None:
    write_poses(room, poses)
    with pytest.raises(MediaError, match=words):
        open_sequence(room)


def test_what_is_no_sequence(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match='does not exist'):
        open_sequence(tmp_path / 'nothing')
    with pytest.raises(MediaError, match='expected a video file, or a folder'):
        open_sequence(tmp_path)
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(MediaError, match=r'text\.mp4'):
        open_sequence(tmp_path / 'text.mp4')


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Return a TUM recording at 30 Hz whose second image has no depth, the third no pose."""
    folder = tmp_path / 'rgbd_dataset_freiburg1_desk'
    colour, depth, truth = (['# stamp and the rest'] for _ in range(3))
    for index in range(4):
        stamp_s = 1305031102.175304 + index / 30
        write_image(folder / f'rgb/{index}.png', np.full((6, 8, 3), 60 * index, np.uint8))
        colour.append(f'{stamp_s:.6f} rgb/{index}.png')
        if index != 1:
            write_image(folder / f'depth/{index}.png', np.full((6, 8), 5000 * index, np.uint16))
            depth.append(f'{stamp_s + 0.012:.6f} depth/{index}.png')
        if index != 2:
            # A turn of 90 degrees about the optical axis, in a quaternion of length 2.
            truth.append(f'{stamp_s - 0.004:.4f} {index} 0 0 0 0 {2 ** .5} {2 ** .5}')
    for name, lines in (('rgb', colour), ('depth', depth), ('groundtruth', truth)):
        (folder / f'{name}.txt').write_text('\n'.join(lines) + '\n')
    return folder


def test_a_tum_recording_is_associated_by_its_stamps(desk: Path) -> None:
    frames = open_sequence(desk)
    assert frames.length == 3
    assert [int(frames.rgb(index)[0, 0, 0]) for index in range(3)] == [0, 120, 180]
    assert [float(frames.depth(index)[0, 0]) for index in range(3)] == [0, 2, 3]
    assert frames.pose(1) is None
    expected = [[0, -1, 0, 3], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(frames.pose(2), expected, atol=1e-12)
    assert frames.rate_hz == pytest.approx(30, rel=1e-3)
    assert frames.calibration == PinholeIntrinsics(517.3, 516.5, 318.6, 255.3)
    assert frames.has_depth and frames.has_poses


def test_a_tum_recording_without_trajectory_or_known_camera(desk: Path) -> None:
    (desk / 'groundtruth.txt').unlink()
    frames = open_sequence(desk.rename(desk.parent / 'own_recording'), 2)
    assert frames.length == 2 and frames.name == 'own_recording'
    assert not frames.has_poses and frames.pose(0) is None and frames.calibration is None


def test_a_rotation_from_a_quaternion(rng: np.random.Generator) -> None:
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = 0.7
    rotation = sequence.pose_of(np.zeros(3), np.append(np.sin(angle / 2) * axis,
                                                       np.cos(angle / 2)))[:3, :3]
    np.testing.assert_allclose(rotation, cv2.Rodrigues(angle * axis)[0], atol=1e-12)


def test_stamps_pair_closest_first_and_once() -> None:
    first, second = np.array([0.0, 0.010, 1.0, 2.0]), np.array([0.008, 0.025, 1.05, 2.001])
    # 0.000 loses 0.008 to 0.010 and is too far from 0.025; 1.0 is 50 ms from its neighbour.
    assert sequence.associate(first, second) == [(1, 0), (3, 3)]
    assert sequence.associate(first, np.array([])) == []


@pytest.mark.parametrize('file, line, words', [
    ('rgb.txt', 'soon rgb/0.png', r'rgb\.txt, line 6: not a stamp'),
    ('rgb.txt', '1305031103.5', r'rgb\.txt, line 6: not a stamp'),
    ('rgb.txt', 'nan rgb/0.png', 'stamp is not finite'),
    ('depth.txt', '1305031103.5 depth/9.png', r'9\.png is missing'),
    ('groundtruth.txt', '1 2 3', 'line 5: not "stamp tx'),
    ('groundtruth.txt', '1 2 3 4 0 0 0 0', 'line 5: not "stamp tx'),
    ('groundtruth.txt', '1 2 3 4 0 0 0 one', 'line 5: could not convert'),
])
def test_a_malformed_tum_line(desk: Path, file: str, line: str, words: str) -> None:
    with (desk / file).open('a') as stream:
        stream.write(line)
    with pytest.raises(MediaError, match=words):
        open_sequence(desk)


def test_a_tum_recording_in_which_nothing_belongs_together(desk: Path) -> None:
    (desk / 'depth.txt').write_text('12.5 depth/0.png\n')
    with pytest.raises(MediaError, match='within 20 ms'):
        open_sequence(desk)
    (desk / 'depth.txt').unlink()
    with pytest.raises(MediaError, match=r'depth\.txt cannot be read'):
        open_sequence(desk)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / 'clip.mp4'
    with VideoWriter(path, 20) as writer:
        for index in range(6):
            writer.write(np.full((48, 64, 3), 40 * index, np.uint8))
    return path


def test_a_video_has_frames_and_no_truth(video: Path) -> None:
    frames = open_sequence(video, 5)
    assert (frames.name, frames.length, frames.rate_hz) == ('clip', 5, 20)
    assert frames.rgb(4).mean() > frames.rgb(0).mean() + 100  # in any order
    assert frames.depth(0) is None and frames.pose(0) is None and frames.calibration is None
    assert not frames.has_depth and not frames.has_poses


def test_a_video_beyond_the_memory_is_refused(video: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, 'MAX_VIDEO_BYTES', 3 * 48 * 64 * 3)
    with pytest.raises(MediaError, match='at most 3 frames'):
        open_sequence(video)
    assert open_sequence(video, 3).length == 3


@pytest.mark.proves('film-odd')
def test_a_video_that_changes_its_size_is_refused_or_cut(tmp_path: Path) -> None:
    path = tmp_path / 'resized.ts'
    parts = [encode(tmp_path / f'{rows}.ts', [np.full((rows, 64, 3), 90, np.uint8)] * 6,
                    'mpeg2video') for rows in (48, 64)]
    path.write_bytes(b''.join(part.read_bytes() for part in parts))
    with pytest.raises(MediaError, match=r'resized\.ts changes its size after [56] frames'):
        open_sequence(path)
    assert open_sequence(path, 5).length == 5


def test_a_name_that_is_no_utf8_becomes_one_that_is(video: Path, room: Path) -> None:
    write_meta(room, name='')
    for path in (video, room):
        renamed = path.rename(path.with_name(os.fsdecode(b'caf\xe9')))
        assert open_sequence(renamed).name == 'caf\\xe9'
        renamed.rename(path)


@pytest.mark.proves('picture-damaged')
def test_pictures_that_claim_to_be_huge_are_refused(room: Path) -> None:
    frames = open_sequence(room)
    for path, read in ((room / 'rgb/000001.jpg', frames.rgb),
                       (room / 'depth/000001.png', frames.depth)):
        path.write_bytes(png_bomb())
        with pytest.raises(MediaError, match=f'{path.name} claims to have 100000 x 100000'):
            read(1)


def test_a_calibration_scales_with_its_image() -> None:
    assert (PinholeIntrinsics(600, 500, 320, 240).scaled((480, 640), (240, 160))
            == PinholeIntrinsics(150, 250, 80, 120))


@pytest.mark.parametrize('name, frames, rate_hz, poses', [
    ('kitchen', 180, 30, True), ('tartanair', 150, None, True),
    ('mujoco_dynamic', 120, 30, False)])
def test_the_shared_sequences(shared: Path, name: str, frames: int, rate_hz: float | None,
                              poses: bool) -> None:
    opened = open_sequence(shared / 'data/eval' / name)
    assert (opened.name, opened.length, opened.rate_hz, opened.has_poses) == (name, frames,
                                                                              rate_hz, poses)
    depth = opened.depth(frames - 1)
    assert opened.rgb(frames - 1).shape == (480, 640, 3)
    assert depth is not None and depth.shape == (240, 320) and 0.2 < np.median(depth) < 20
