"""iniVation's AEDAT4 files, by their own library."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from asyncmde_ros.errors import MediaError, in_words
from asyncmde_ros.events.recording import Recording
from asyncmde_ros.events.words import NS_PER_US, Raw

try:
    import dv_processing
except ImportError as error:
    raise MediaError('AEDAT4 files need dv-processing: pip install "asyncmde_ros[events]"'
                     ) from error


class AedatFile(Recording):
    """The events of a file's event stream."""

    def __init__(self, path: Path) -> None:
        """Raise MediaError for a file that is none, and for one without events."""
        self._path = path
        try:
            self._file = dv_processing.io.MonoCameraRecording(str(path))
            available = self._file.isEventStreamAvailable()
            cols, rows = self._file.getEventResolution() if available else (0, 0)
        except Exception as error:  # the library's own are RuntimeError and others
            raise MediaError(f'{path} cannot be read as AEDAT4: {in_words(error)}') from error
        if not available:
            raise MediaError(f'{path} has no events: its streams are '
                             f'{", ".join(self._file.getStreamNames())}')
        super().__init__((rows, cols))

    def close(self) -> None:
        del self._file

    def _read(self) -> Iterator[Raw]:
        try:
            while (store := self._file.getNextEventBatch()) is not None:
                if store.size():
                    where = store.coordinates()
                    yield Raw(where[:, 0], where[:, 1],
                              store.timestamps().astype(np.int64) * NS_PER_US,
                              store.polarities() != 0)
        except Exception as error:
            raise MediaError(f'{self._path} breaks off: {in_words(error)}') from error
