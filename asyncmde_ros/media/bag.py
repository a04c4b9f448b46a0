"""Camera images from a recorded ROS 2 bag, read without ROS."""

import logging
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from asyncmde_ros.errors import ImageError, MediaError, in_words
from asyncmde_ros.media.codec import RGB, Stream, decode_compressed, decode_image
from asyncmde_ros.media.sources import FrameSource, VideoFrame

try:
    from rosbags.interfaces import Connection
    from rosbags.rosbag2 import Reader
    from rosbags.typesys import Stores, get_typestore
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
except ImportError as error:
    raise MediaError('reading bags needs rosbags: pip install "rosbags>=0.11.7"') from error

LOG = logging.getLogger(__name__)

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
_TYPE_NAMES = {
    IMAGE: IMAGE,
    COMPRESSED_IMAGE: COMPRESSED_IMAGE,
    'sensor_msgs/Image': IMAGE,  # as recorded before 2020
    'sensor_msgs/CompressedImage': COMPRESSED_IMAGE,
}

STORAGE_SUFFIXES = ('.mcap', '.db3')
RATE_SAMPLE = 20  # messages whose stamps tell the rate
MAX_MESSAGE_BYTES = 2**29  # above codec.MAX_PIXELS of any encoding
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'

# The image messages have been the same in every ROS 2 release, so the definitions in the bag,
# which old recorders left out or spelt differently, are not needed.
_TYPES = get_typestore(Stores.ROS2_JAZZY)


class BagSource(FrameSource):
    """The frames of one image topic; ``open_bag`` has the contract.

    ``dropped`` counts the images that could not be decoded, by ImageError's reason.
    """

    def __init__(self, path: Path, topic: str | None) -> None:
        self.dropped: Counter[str] = Counter()
        self._path = path
        with self._damage_named():
            self._reader = Reader(_storage(path))
            self._reader.open()
        try:
            with self._damage_named():
                self._connections = self._choose(topic)
                self.length = sum(connection.msgcount for connection in self._connections)
                self.rate_hz = self._estimate_rate()
        except MediaError:
            self.close()
            raise

    def __iter__(self) -> Iterator[VideoFrame]:
        delivered = False
        topic = self._connections[0].topic
        stream = Stream(topic)
        with self._damage_named():
            for kind, received_ns, raw in self._messages():
                try:
                    message = _deserialize(raw, kind)
                    image = _decode(message, kind, stream)
                except ImageError as error:
                    if error.reason == 'encoding':  # so are all others of this topic
                        raise MediaError(f'{self._path}: {topic}: {error}') from error
                    if error.reason not in self.dropped:
                        LOG.warning('%s: %s: image dropped: %s', self._path, topic, error)
                    self.dropped[error.reason] += 1
                    continue
                delivered = True
                yield VideoFrame(_stamp_ns(message, received_ns), image)
        if not delivered:
            raise MediaError(f'{self._path}: {topic}: none of its images can be decoded')

    def close(self) -> None:
        if self._reader.is_open:
            self._reader.close()

    def _messages(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield (type name, time of recording in ns, serialised message)."""
        for connection, received_ns, raw in self._reader.messages(self._connections):
            yield _TYPE_NAMES[connection.msgtype], received_ns, raw

    def _choose(self, topic: str | None) -> Sequence[Connection]:
        """Return the connections of ``topic``, or of the one topic that has images."""
        images = [connection for connection in self._reader.connections
                  if connection.msgtype in _TYPE_NAMES and connection.msgcount]
        topics = {connection.topic: f'{connection.topic} ({connection.msgtype})'
                  for connection in images}
        if not topics:
            raise MediaError(f'{self._path} has no images: none of its '
                             f'{len(self._reader.connections)} topics is an image topic with '
                             'messages')
        if topic is None and len(topics) > 1:
            raise MediaError(f'{self._path} has several image topics, name one: '
                             f'{", ".join(topics.values())}')
        chosen = topic if topic is not None else next(iter(topics))
        if chosen not in topics:
            raise MediaError(f'{self._path} has no images on {chosen}; its image topics: '
                             f'{", ".join(topics.values())}')
        return [connection for connection in images if connection.topic == chosen]

    def _estimate_rate(self) -> float | None:
        """Return the rate in Hz by the median interval of the first stamps."""
        stamps = [stamp for stamp in map(_try_stamp_ns, islice(self._messages(), RATE_SAMPLE))
                  if stamp is not None]
        intervals = [later - earlier for earlier, later in pairwise(stamps)]
        typical_ns = statistics.median(intervals) if intervals else 0
        return 1e9 / typical_ns if typical_ns > 0 else None

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Turn whatever rosbags raises on a damaged bag into a MediaError.

        Besides its own errors those are struct's, sqlite's, zstd's and plain assertions.
        """
        try:
            yield
        except MediaError:
            raise
        except Exception as error:
            raise MediaError(f'{self._path} cannot be read as a ROS 2 bag: '
                             f'{in_words(error)}') from error


def _storage(path: Path) -> Path:
    """Return what to open: a folder with metadata, or a storage file."""
    if not path.exists():
        raise MediaError(f'{path} does not exist')
    if path.is_dir():
        if (path / 'metadata.yaml').exists():
            return path
        # A recorder that was killed leaves a folder without metadata.
        files = sorted(file for file in path.iterdir() if file.suffix in STORAGE_SUFFIXES)
        if len(files) != 1:
            raise MediaError(f'{path} has no metadata.yaml and {len(files)} bag files: name one '
                             f'{" or ".join(STORAGE_SUFFIXES)} file, or run "ros2 bag reindex"')
        return files[0]
    if path.suffix not in STORAGE_SUFFIXES:
        raise MediaError(f'{path} is no ROS 2 bag: expected its folder or a '
                         f'{" or ".join(STORAGE_SUFFIXES)} file')
    return path


def _deserialize(raw: bytes, kind: str) -> Any:
    """Return the message in ``raw``.  Raises ImageError, reason ``data``."""
    try:
        return _TYPES.deserialize_cdr(_inflate(raw), kind)
    except Exception as error:  # rosbags raises whatever its generated parser trips over
        raise ImageError('data', f'message cannot be deserialised: {error}') from error


def _inflate(raw: bytes) -> bytes:
    """Undo zstd compression by message, which only the (perhaps missing) metadata announces.

    It cannot be mistaken: CDR begins with a zero byte.
    """
    if bytes(raw[:len(_ZSTD_MAGIC)]) != _ZSTD_MAGIC:
        return raw
    decompressor = zstd.ZstdDecompressor()
    inflated = decompressor.decompress(raw, max_length=MAX_MESSAGE_BYTES)
    if not decompressor.eof:
        raise ValueError(f'zstd data is truncated or holds over {MAX_MESSAGE_BYTES} bytes')
    return inflated


def _decode(message: Any, kind: str, stream: Stream) -> RGB:
    decode = decode_image if kind == IMAGE else decode_compressed
    return decode(message, stream)


def _stamp_ns(message: Any, received_ns: int) -> int:
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec or received_ns


def _try_stamp_ns(record: tuple[str, int, bytes]) -> int | None:
    kind, received_ns, raw = record
    try:
        return _stamp_ns(_deserialize(raw, kind), received_ns)
    except ImageError:
        return None
