"""HDF5 files with arrays x, y, t and p in one group, as DSEC and M3ED have them."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from asyncmde_ros.errors import MediaError, in_words
from asyncmde_ros.events.recording import CHUNK_EVENTS, Recording
from asyncmde_ros.events.words import NS_PER_US, Raw
from asyncmde_ros.model.geometry import Size

try:
    import h5py
except ImportError as error:
    raise MediaError('HDF5 files need h5py: pip install "asyncmde_ros[events]"') from error
if find_spec('hdf5plugin') is not None:
    import hdf5plugin  # noqa: F401  registers its filters, Blosc among them, which DSEC uses

COLUMNS = ('x', 'y', 't', 'p')
OFFSET = 't_offset'
"""Microseconds that DSEC has left out of its times."""

COMMON: tuple[Size, ...] = ((180, 240), (260, 346), (480, 640), (720, 1280))
"""Sensors; the smallest that has room for every event, where nobody tells the size."""


class Hdf5File(Recording):
    """Events with times in microseconds: of /events (DSEC), or of the first group that has any."""

    def __init__(self, path: Path, size: Size | None) -> None:
        """``size`` None: the smallest of COMMON that holds all events."""
        self._path = path
        with self._faults_named():
            self._file = h5py.File(path, 'r')
        try:
            with self._faults_named():
                self._group = self._found()
                self._count = self._group['t'].shape[0]
                super().__init__(size or self._smallest())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._file.close()

    def _found(self) -> Any:
        groups = [self._file]
        self._file.visititems(lambda _, item: groups.append(item)
                              if isinstance(item, h5py.Group) else None)
        for group in groups:
            columns = [group.get(name) for name in COLUMNS]
            if all(isinstance(column, h5py.Dataset) for column in columns):
                shapes = {column.shape for column in columns}
                if len(shapes) > 1 or len(columns[0].shape) != 1:
                    raise MediaError(f'{self._path}: x, y, t and p of {group.name} are not of one '
                                     'length')
                if any(column.dtype.kind not in 'biu' for column in columns):
                    raise MediaError(f'{self._path}: x, y, t and p of {group.name} are not all '
                                     'whole numbers')
                return group
        raise MediaError(f'{self._path} has no events: no group has arrays x, y, t and p')

    def _smallest(self) -> Size:
        largest = [max((int(self._group[name][part].max(initial=0)) for part in self._parts()),
                       default=0) for name in ('y', 'x')]
        for size in COMMON:
            if largest[0] < size[0] and largest[1] < size[1]:
                return size
        raise MediaError(f'{self._path}: there are events at {largest[1]}, {largest[0]}, and '
                         'nothing tells the size of the sensor: name it (--sensor 1280x720)')

    def _parts(self) -> Iterator[slice]:
        for begin in range(0, self._count, CHUNK_EVENTS):
            yield slice(begin, begin + CHUNK_EVENTS)

    def _read(self) -> Iterator[Raw]:
        with self._faults_named():
            offset = int(self._file[OFFSET][()]) if OFFSET in self._file else 0
            for part in self._parts():
                x, y, t, p = (self._group[name][part] for name in COLUMNS)
                yield Raw(x, y, (t.astype(np.int64) + offset) * NS_PER_US, p > 0)

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            yield
        except MediaError:
            raise
        except Exception as error:  # h5py raises whatever the library beneath it tells
            words = in_words(error)
            if 'filter' in words or 'plugin' in words:
                words += ' (what it is compressed with may need: pip install hdf5plugin)'
            raise MediaError(f'{self._path} cannot be read as HDF5: {words}') from error
