"""Camera images from a recorded ROS 2 bag, read without ROS."""

import logging
import statistics
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from asyncmde_ros.errors import ImageError, MediaError, in_words
from asyncmde_ros.images.codec import RGB, Stream, decode_compressed, decode_image
from asyncmde_ros.lab.media.frames import FrameSource, VideoFrame
from asyncmde_ros.lab.media.pace import PlaybackClock, clock_of, typical_interval_ns

try:
    from rosbags.typesys import Stores, get_typestore

    from asyncmde_ros.lab.media.bag_files import BagFiles, zstd
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

SAMPLE = 20  # images whose stamps tell the rate, and whether to go by them
MOST_LOOKED_AT = 10 * SAMPLE  # messages, for a sample
GIVE_UP_AFTER = 30
"""Images of one encoding that is not supported, and no other: then all of them have it."""

MAX_MESSAGE_BYTES = 2**29  # above codec.MAX_PIXELS of any encoding
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'

# The image messages have been the same in every ROS 2 release, so the definitions in the bag,
# which old recorders left out or spelt differently, are not needed.
_TYPES = get_typestore(Stores.ROS2_JAZZY)


class BagSource(FrameSource):
    """The frames of one image topic; ``open_bag`` has the contract.

    ``dropped`` counts the images that could not be decoded, by ImageError's reason, and under
    ``chunk`` damaged pieces of an MCAP.
    """

    def __init__(self, path: Path, topic: str | None) -> None:
        self.dropped: Counter[str] = Counter()
        self._path = path
        if not path.exists():
            raise MediaError(f'{path} does not exist')
        with self._damage_named():
            self._files = BagFiles(path)
        try:
            with self._damage_named():
                self._topic = self._choose(topic)
                self.length = sum(count for (name, kind), count in self._files.counts.items()
                                  if name == self._topic and kind in _TYPE_NAMES)
                self._clock, self.rate_hz, self._lag_ns = self._look_at_stamps()
        except MediaError:
            self.close()
            raise

    def __iter__(self) -> Iterator[VideoFrame]:
        for note in self._files.notes:
            LOG.warning('%s', note)
        if self._clock is not PlaybackClock.HEADERS:
            LOG.warning('%s: %s: the images\' stamps %s: the times of recording are used instead',
                        self._path, self._topic, self._clock.value)
        delivered = 0
        refused: Counter[str] = Counter()
        stream = Stream(self._topic)
        with self._damage_named():
            for kind, received_ns, raw in self._messages():
                try:
                    message = _deserialize(raw, kind)
                    image = _decode(message, kind, stream)
                except ImageError as error:
                    self._drop(error)
                    if not delivered:
                        refused[str(error)] += 1
                        if error.reason == 'encoding' and len(message.data) and (
                                refused[str(error)] == GIVE_UP_AFTER):
                            break
                    continue
                delivered += 1
                yield VideoFrame(self._stamp_ns(message, received_ns), image)
        if not delivered:
            reason = refused.most_common(1)[0][0] if refused else 'there is no message left'
            raise MediaError(f'{self._path}: {self._topic}: none of its images can be decoded: '
                             f'{reason}')
        left_out = self.dropped.total()
        if left_out:
            LOG.warning('%s: %s: %d of %d images could not be decoded and were left out',
                        self._path, self._topic, left_out, left_out + delivered)
        if self._files.damaged:
            self.dropped['chunk'] = self._files.damaged

    def close(self) -> None:
        self._files.close()

    def _drop(self, error: ImageError) -> None:
        if error.reason not in self.dropped:
            LOG.warning('%s: %s: image dropped: %s', self._path, self._topic, error)
        self.dropped[error.reason] += 1

    def _messages(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield (type name, time of recording in ns, serialised message)."""
        for kind, received_ns, raw in self._files.messages(self._topic):
            if kind in _TYPE_NAMES:
                yield _TYPE_NAMES[kind], received_ns, raw

    def _choose(self, topic: str | None) -> str:
        """Return ``topic``, or the one topic that has images, once it is sure that it has."""
        counts = self._files.counts
        topics = {name: f'{name} ({kind})' for name, kind in counts if kind in _TYPE_NAMES}
        if not topics:
            raise MediaError(f'{self._path} has no images: none of its '
                             f'{len({name for name, _ in counts})} topics with messages is an '
                             'image topic')
        if topic is None and len(topics) > 1:
            raise MediaError(f'{self._path} has several image topics, name one: '
                             f'{", ".join(topics.values())}')
        chosen = topic if topic is not None else next(iter(topics))
        if chosen not in topics:
            raise MediaError(f'{self._path} has no images on {chosen}; its image topics: '
                             f'{", ".join(topics.values())}')
        return chosen

    def _look_at_stamps(self) -> tuple[PlaybackClock, float | None, int]:
        """Return whose times to go by, the rate in Hz that they tell, and the recorder's lag.

        The lag, in ns, is against the headers' clock, which may be a simulation's.
        """
        times = list(islice(self._times(), SAMPLE))
        clock = clock_of(times)
        lags_ns = [received_ns - stamp_ns for stamp_ns, received_ns in times if stamp_ns]
        by_headers = clock is PlaybackClock.HEADERS
        lag_ns = statistics.median_low(lags_ns) if by_headers and lags_ns else 0
        own = [stamp_ns if by_headers and stamp_ns else received_ns - lag_ns
               for stamp_ns, received_ns in times]
        typical_ns = typical_interval_ns(own)
        return clock, 1e9 / typical_ns if typical_ns > 0 else None, lag_ns

    def _times(self) -> Iterator[tuple[int, int]]:
        """Yield (header's stamp, time of recording) in ns of the first messages with a picture."""
        for kind, received_ns, raw in islice(self._messages(), MOST_LOOKED_AT):
            try:
                message = _deserialize(raw, kind)
            except ImageError:
                continue
            if len(message.data):  # some drivers begin with empty messages
                yield _header_ns(message), received_ns

    def _stamp_ns(self, message: Any, received_ns: int) -> int:
        stamp_ns = _header_ns(message) if self._clock is PlaybackClock.HEADERS else 0
        return stamp_ns or max(0, received_ns - self._lag_ns)

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Turn whatever is raised on a damaged bag into a MediaError.

        Besides rosbags' own errors those are struct's, sqlite's, zstd's and plain assertions.
        """
        try:
            yield
        except MediaError:
            raise
        except Exception as error:
            raise MediaError(f'{self._path} cannot be read as a ROS 2 bag: '
                             f'{in_words(error)}') from error


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


def _header_ns(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec * 10**9 + stamp.nanosec)
