"""Events from a recorded ROS 2 bag, read without ROS."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asyncmde_ros.errors import MediaError, in_words
from asyncmde_ros.events.recording import Recording
from asyncmde_ros.events.ros_messages import TYPES, MessageDecoder, opened
from asyncmde_ros.events.words import Raw
from asyncmde_ros.model.geometry import Size

try:
    from asyncmde_ros.lab.media.bag_files import BagFiles
except ImportError as error:
    raise MediaError('reading bags needs rosbags: pip install "rosbags>=0.11.7"') from error

LOG = logging.getLogger(__name__)


class EventBag(Recording):
    """The events of one topic; damaged messages are left out with a warning."""

    def __init__(self, path: Path, topic: str | None) -> None:
        """``topic`` may be None where the bag has one with events."""
        self._path = path
        with self._damage_named():
            self._files = BagFiles(path)
        try:
            with self._damage_named():
                self._topic = self._choose(topic)
                size = self._first_size()
        except MediaError:
            self.close()
            raise
        super().__init__(size)
        for note in self._files.notes:
            LOG.warning('%s', note)

    def close(self) -> None:
        self._files.close()

    def _choose(self, topic: str | None) -> str:
        topics = sorted({name for name, kind in self._files.counts if kind in TYPES})
        if not topics:
            raise MediaError(f'{self._path} has no events: none of its topics is of a type that '
                             f'has them: {", ".join(TYPES)}')
        if topic is None and len(topics) > 1:
            raise MediaError(f'{self._path} has several topics with events, name one (--topic): '
                             f'{", ".join(topics)}')
        chosen = topics[0] if topic is None else topic
        if chosen not in topics:
            raise MediaError(f'{self._path} has no events on {chosen}; its topics with events: '
                             f'{", ".join(topics)}')
        return chosen

    def _messages(self) -> Iterator[tuple[str, bytes]]:
        for kind, _, serialised in self._files.messages(self._topic):
            if kind in TYPES:
                yield TYPES[kind], bytes(serialised)

    def _first_size(self) -> Size:
        for kind, serialised in self._messages():
            try:
                return opened(kind, serialised).size
            except ValueError:
                continue
        raise MediaError(f'{self._path}: {self._topic}: none of its messages can be read')

    def _read(self) -> Iterator[Raw]:
        decoder = MessageDecoder()
        with self._damage_named():
            for kind, serialised in self._messages():
                try:
                    message = opened(kind, serialised)
                    if message.size != self.size:
                        raise ValueError(f'is of a sensor of {message.size[1]} x '
                                         f'{message.size[0]} pixels, the others are not')
                except ValueError as error:
                    if not self.faults['damaged']:
                        LOG.warning('%s: %s: message left out: it %s', self._path, self._topic,
                                    error)
                    self.faults['damaged'] += 1
                    continue
                yield decoder.events(message)
        if self._files.damaged:
            self.faults['damaged'] += self._files.damaged

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Turn whatever is raised on a damaged bag into a MediaError."""
        try:
            yield
        except MediaError:
            raise
        except Exception as error:
            raise MediaError(f'{self._path} cannot be read as a ROS 2 bag: '
                             f'{in_words(error)}') from error
