"""Bags of both storages, whole or damaged, with and without their metadata."""

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from asyncmde_ros.errors import MediaError
from asyncmde_ros.media.sources import open_bag

pytest.importorskip('rosbags', reason='left out: needs rosbags')

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer  # noqa: E402
from rosbags.typesys import Stores, get_typestore  # noqa: E402

TYPES = get_typestore(Stores.ROS2_JAZZY)
MSG = TYPES.types
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 50_000_000
TRANSPORT_NS = 3_000_000  # from capture to recorder
STORAGES = {StoragePlugin.SQLITE3: '.db3', StoragePlugin.MCAP: '.mcap'}
LENGTH = 5
DAMAGE_STEP = 97  # bytes between the places tried; a prime, so that all fields are met

Record = tuple[str, str, int, object]  # topic, type, time of recording, message


def header(stamp_ns: int) -> object:
    stamp = MSG['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 10**9))
    return MSG['std_msgs/msg/Header'](stamp, 'camera')


def picture(index: int) -> np.ndarray:
    return np.full((16, 24, 3), (10 * index, 50, 200), np.uint8)


def image(index: int, topic: str = '/camera', stamped: bool = True, **fields: object) -> Record:
    capture_ns = START_NS + index * PERIOD_NS
    values = {'height': 16, 'width': 24, 'encoding': 'rgb8', 'is_bigendian': 0, 'step': 72,
              'data': picture(index).ravel()} | fields
    message = MSG[IMAGE](header(capture_ns if stamped else 0), **values)
    return topic, IMAGE, capture_ns + TRANSPORT_NS, message


def compressed(index: int, topic: str = '/camera/compressed', data: bytes | None = None) -> Record:
    if data is None:
        data = cv2.imencode('.png', picture(index)[..., ::-1])[1].tobytes()
    capture_ns = START_NS + index * PERIOD_NS
    message = MSG[COMPRESSED](header(capture_ns), 'rgb8; png compressed rgb8',
                              np.frombuffer(data, np.uint8))
    return topic, COMPRESSED, capture_ns + TRANSPORT_NS, message


def text(index: int) -> Record:
    return '/words', 'std_msgs/msg/String', START_NS, MSG['std_msgs/msg/String']('hello')


@pytest.fixture(params=STORAGES, ids=lambda plugin: plugin.name.lower())
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a bag of the given records."""
    def write(*records: Record, mode: CompressionMode = CompressionMode.NONE) -> Path:
        path = tmp_path / 'bag'
        writer = Writer(path, version=9, storage_plugin=request.param)
        writer.set_compression(mode, CompressionFormat.ZSTD)
        with writer:
            connections = {(topic, kind): writer.add_connection(topic, kind, typestore=TYPES)
                           for topic, kind in dict.fromkeys(record[:2] for record in records)}
            for topic, kind, received_ns, message in records:
                raw = TYPES.serialize_cdr(message, kind)
                writer.write(connections[topic, kind], received_ns, raw)
        return path
    return write


def storage_file(bag: Path) -> Path:
    return next(file for file in bag.iterdir() if file.suffix in STORAGES.values())


def without_metadata(bag: Path) -> Path:
    (bag / 'metadata.yaml').unlink()
    return bag


def check_frames(path: Path, topic: str | None = None) -> None:
    """Assert that the bag at ``path`` gives the LENGTH pictures."""
    with open_bag(path, topic) as source:
        assert source.length == LENGTH
        assert source.rate_hz == pytest.approx(1e9 / PERIOD_NS)
        frames = list(source)
    assert [frame.stamp_ns for frame in frames] == [START_NS + index * PERIOD_NS
                                                   for index in range(LENGTH)]
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(index))


@pytest.mark.parametrize('make', [image, compressed])
def test_the_only_image_topic_is_found(record: Callable[..., Path],
                                       make: Callable[[int], Record]) -> None:
    bag = record(text(0), *map(make, range(LENGTH)))
    check_frames(bag)
    check_frames(storage_file(bag))
    check_frames(without_metadata(bag))


def test_messages_compressed_one_by_one(record: Callable[..., Path]) -> None:
    bag = record(*map(image, range(LENGTH)), mode=CompressionMode.MESSAGE)
    check_frames(bag)
    check_frames(without_metadata(bag))


def test_reading_leaves_the_folder_as_it_was(record: Callable[..., Path]) -> None:
    bag = record(*map(image, range(LENGTH)))
    before = {file: file.stat().st_mtime_ns for file in bag.iterdir()}
    check_frames(bag)
    check_frames(storage_file(bag))
    assert {file: file.stat().st_mtime_ns for file in bag.iterdir()} == before


def test_a_topic_is_chosen_by_name(record: Callable[..., Path]) -> None:
    bag = record(*map(image, range(LENGTH)), compressed(0), text(0))
    with pytest.raises(MediaError, match=r'name one: /camera .*, /camera/compressed '):
        open_bag(bag, None)
    check_frames(bag, '/camera')
    for other in ('/words', '/nothing'):
        with pytest.raises(MediaError, match=f'no images on {other}; .*/camera/compressed'):
            open_bag(bag, other)


def test_a_bag_without_images_is_named(record: Callable[..., Path]) -> None:
    with pytest.raises(MediaError, match='no images'):
        open_bag(record(text(0)), None)


def test_the_recorders_time_serves_where_headers_have_none(record: Callable[..., Path]) -> None:
    bag = record(*(image(index, stamped=False) for index in range(LENGTH)))
    with open_bag(bag, None) as source:
        assert source.rate_hz == pytest.approx(1e9 / PERIOD_NS)
        assert next(iter(source)).stamp_ns == START_NS + TRANSPORT_NS


def test_a_single_frame_has_no_rate(record: Callable[..., Path]) -> None:
    with open_bag(record(image(0)), None) as source:
        assert (source.rate_hz, source.length) == (None, 1)


def test_damaged_images_are_dropped_and_counted(record: Callable[..., Path],
                                                caplog: pytest.LogCaptureFixture) -> None:
    bag = record(image(0), image(1, step=1), image(2, data=np.zeros(9, np.uint8)),
                 image(3, step=2), image(4))
    with open_bag(bag, None) as source:
        stamps = [frame.stamp_ns for frame in source]
        assert source.dropped == {'step': 2, 'data': 1}
    assert stamps == [START_NS, START_NS + 4 * PERIOD_NS]
    assert len(caplog.records) == 2  # one warning a reason


def test_the_range_of_16_bits_is_that_of_the_whole_bag(record: Callable[..., Path],
                                                       rng: np.random.Generator) -> None:
    first = rng.integers(20000, 21000, (16, 24), np.uint16)
    thermal = [image(index, encoding='16UC1', step=48, data=deep.view(np.uint8).ravel())
               for index, deep in enumerate((first, first + 600, first))]
    with open_bag(record(*thermal), None) as source:
        cold, hot, again = (frame.image.mean() for frame in source)
    assert hot > cold + 60 and abs(again - cold) < 20


@pytest.mark.parametrize('records, reason', [
    ([image(0, encoding='16SC1')], "encoding '16SC1'"),
    ([image(0, encoding='32FC1')], 'looks like a depth image'),
    ([image(0, '/camera/depth/image_raw', encoding='16UC1')], 'colour or infrared topic'),
    ([compressed(0, data=b'broken'), compressed(1, data=b'')], 'none of its images'),
], ids=['encoding', 'depth', 'depth_topic', 'broken'])
def test_a_topic_without_a_decodable_image_is_an_error(
        record: Callable[..., Path], records: list[Record], reason: str) -> None:
    with open_bag(record(*records), None) as source, pytest.raises(MediaError, match=reason):
        list(source)


@pytest.mark.parametrize('name', ['missing', 'empty', 'file.bag', 'empty.mcap', 'empty.db3',
                                  'words.mcap', 'words.db3'])
def test_what_is_no_bag_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == 'empty':
        path.mkdir()
    elif name != 'missing':
        path.write_bytes(b'words' * 200 if 'words' in name else b'')
    with pytest.raises(MediaError, match=name):
        open_bag(path, None)


def test_any_damage_gives_frames_or_a_media_error(record: Callable[..., Path],
                                                  caplog: pytest.LogCaptureFixture) -> None:
    file = storage_file(record(*map(image, range(LENGTH)), text(0)))
    whole = file.read_bytes()
    for position in range(0, len(whole), DAMAGE_STEP):
        flipped = bytearray(whole)
        flipped[position] ^= 0xFF
        for damaged in (bytes(flipped), whole[:position]):
            file.write_bytes(damaged)
            try:
                with open_bag(file, None) as source:
                    for frame in source:
                        assert frame.image.shape[2] == 3
            except MediaError as error:
                assert str(file) in str(error)


def test_a_missing_rosbags_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, 'asyncmde_ros.media.bag', raising=False)
    monkeypatch.setitem(sys.modules, 'rosbags.rosbag2', None)
    with pytest.raises(MediaError, match='pip install "rosbags'):
        open_bag(tmp_path, None)


def test_a_real_bag_with_compressed_messages_and_no_metadata(shared: Path) -> None:
    with open_bag(shared / 'data' / 'bags' / 'real_amber_soccer_goal_12', None) as source:
        assert source.rate_hz == pytest.approx(30, abs=0.1)
        frames = list(source)
    assert [frame.image.shape for frame in frames] == [(480, 640, 3)] * 2
    assert frames[0].image.mean(axis=(0, 1)).argmax() == 1  # a lawn


def test_a_real_bag_of_2019(shared: Path) -> None:
    bag = shared / 'data' / 'bags' / 'real_rosbag2js_sample' / 'sample.db3'
    for topic in ('/image', '/image/compressed'):
        with open_bag(bag, topic) as source:
            assert [frame.image.shape for frame in source] == [(480, 640, 3)]
