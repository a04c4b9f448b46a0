"""What a recording of events is, whatever file it is in, and how one is opened."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from asyncmde_ros.errors import MediaError
from asyncmde_ros.events.packets import Events, Sieve
from asyncmde_ros.events.window import Window, Windows
from asyncmde_ros.events.words import Raw
from asyncmde_ros.model.geometry import Size

CHUNK_EVENTS = 1 << 18
"""That are read at a time, about: a third of a second of a busy sensor."""

HDF5_SUFFIXES = ('.h5', '.hdf5', '.hdf')
RAW_SUFFIX, AEDAT_SUFFIX = '.raw', '.aedat4'
KINDS = ('a Prophesee .raw file (EVT 2.0 or 3.0), an HDF5 file as DSEC has (.h5, .hdf5), an '
         '.aedat4 file, or a ROS 2 bag (its folder, .mcap, .db3)')


class Recording(ABC):
    """A single pass over a sensor's events; a context manager.

    ``size`` is the sensor's (rows, cols).  ``faults`` counts what was left out or was not as it
    should be, as :class:`Sieve` has it, and damaged pieces of the file as ``damaged``.
    """

    def __init__(self, size: Size) -> None:
        """Raise MediaError for a size that no sensor has."""
        try:
            self._sieve = Sieve(size)
        except ValueError as error:
            raise MediaError(str(error)) from error
        self.size = size

    @property
    def faults(self) -> Counter[str]:
        return self._sieve.faults

    def packets(self) -> Iterator[Events]:
        """Yield the events in the order of time, some at a time, none of them empty.

        Only where ``faults`` counts a restart a packet begins before the one before it ends.
        Raises MediaError where the file breaks off in a way that cannot be told from another kind
        of file.
        """
        for raw in self._read():
            events = self._sieve.sift(*raw)
            if len(events):
                yield events

    def windows(self, windows: Windows) -> Iterator[Window]:
        """Yield the events by windows, the last one shorter."""
        for events in self.packets():
            yield from windows.push(events)
        yield from windows.finish()

    @abstractmethod
    def _read(self) -> Iterator[Raw]:
        """Yield events as the file has them."""

    @abstractmethod
    def close(self) -> None:
        """Release the file."""

    def __enter__(self) -> 'Recording':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()


def open_recording(path: Path, size: Size | None = None, topic: str | None = None) -> Recording:
    """Open a recording of events, of one of KINDS.

    ``size`` is the sensor's (rows, cols), for files that do not tell it; ``topic`` names the one
    to read of a bag that has several with events.  Raises MediaError for what is missing, is of
    another kind or needs a package that is not installed, which it names.
    """
    if not path.exists():
        raise MediaError(f'{path} does not exist')
    suffix = path.suffix.lower()
    if path.is_file() and suffix == RAW_SUFFIX:
        from asyncmde_ros.events.raw_file import RawFile
        return RawFile(path, size)
    if path.is_file() and suffix in HDF5_SUFFIXES:
        from asyncmde_ros.events.hdf5_file import Hdf5File
        return Hdf5File(path, size)
    if path.is_file() and suffix == AEDAT_SUFFIX:
        from asyncmde_ros.events.aedat_file import AedatFile
        return AedatFile(path)
    if path.is_dir() or {'.mcap', '.db3'} & set(path.suffixes):
        from asyncmde_ros.events.bag import EventBag
        return EventBag(path, topic)
    raise MediaError(f'{path} is no recording of events: expected {KINDS}')
