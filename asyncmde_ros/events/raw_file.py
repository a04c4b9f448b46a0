"""Prophesee's RAW files: lines of text, then EVT 2.0 or EVT 3.0 words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asyncmde_ros.errors import MediaError
from asyncmde_ros.events.evt import Decoder, Evt2, Evt3
from asyncmde_ros.events.recording import CHUNK_EVENTS, Recording
from asyncmde_ros.events.words import Raw
from asyncmde_ros.model.geometry import Size

MARK = b'% '
END = b'% end'
MOST_HEADER_BYTES = 1 << 16

DECODERS: dict[str, tuple[type[Evt2] | type[Evt3], int]] = {'2.0': (Evt2, 4), '3.0': (Evt3, 2)}
"""With the bytes of a word."""

SENSORS = {'gen31': (480, 640), 'gen3': (480, 640), 'gen41': (720, 1280), 'gen4': (720, 1280),
           'imx636': (720, 1280), 'genx320': (320, 320)}
"""By what a plugin's name has in it, for headers of 2020 that tell no size."""


class RawFile(Recording):
    """The events of a RAW file; triggers and whatever else is in it are passed over."""

    def __init__(self, path: Path, size: Size | None) -> None:
        """Read the header.  ``size`` goes before what that tells."""
        self._path = path
        with self._faults_named(), path.open('rb') as file:
            self._begins, header = _header(file.read(MOST_HEADER_BYTES))
        version = _version(header)
        if version not in DECODERS:
            found = 'tells no format' if version is None else f'tells EVT {version}'
            raise MediaError(f'{path}: its header {found}; EVT 2.0 and EVT 3.0 can be read')
        kind, self._word_bytes = DECODERS[version]
        self._decoder: Decoder = kind()
        size = size or _size(header)
        if size is None:
            raise MediaError(f'{path}: its header does not tell the size of the sensor: name it '
                             '(--sensor 1280x720)')
        super().__init__(size)

    def close(self) -> None:
        """Nothing is open but while it is read."""

    def _read(self) -> Iterator[Raw]:
        with self._faults_named(), self._path.open('rb') as file:
            file.seek(self._begins)
            while data := file.read(CHUNK_EVENTS * self._word_bytes):
                yield self._decoder.decode(data)

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MediaError(f'{self._path} cannot be read: {error.strerror}') from error


def _header(data: bytes) -> tuple[int, dict[str, str]]:
    """Return where the words begin, and what the lines before them tell, by their first word."""
    told: dict[str, str] = {}
    at = 0
    while data.startswith(MARK, at):
        end = data.find(b'\n', at)
        if end < 0:
            break
        line = data[at:end].strip()
        at = end + 1
        if line == END:
            break
        key, _, value = line[len(MARK):].decode('utf-8', 'replace').partition(' ')
        told[key] = value.strip()
    return at, told


def _version(header: dict[str, str]) -> str | None:
    """Return the version of EVT: of '% evt 3.0', or of '% format EVT3;height=720;width=1280'."""
    if 'evt' in header:
        return header['evt']
    found = re.match(r'EVT(\d)(\d?)\b', header.get('format', ''))
    return f'{found[1]}.{found[2] or 0}' if found else None


def _size(header: dict[str, str]) -> Size | None:
    options = dict(part.split('=', 1) for part in header.get('format', '').split(';')
                   if '=' in part)
    sides = options.get('height', ''), options.get('width', '')
    if not all(side.isdecimal() for side in sides):
        cols, _, rows = header.get('geometry', '').partition('x')
        sides = rows, cols
    if all(side.isdecimal() for side in sides):
        return int(sides[0]), int(sides[1])
    plugin = header.get('plugin_name', '')
    return next((size for name, size in SENSORS.items() if name in plugin), None)
