"""Fetch one pinned file over HTTPS: resumable, verified, all or nothing."""

import hashlib
import http.client
import logging
import urllib.error
import urllib.request
from collections.abc import Collection
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from tqdm import tqdm

from asyncmde_ros.errors import WeightsError, in_words
from asyncmde_ros.files import commit
from asyncmde_ros.weights.registry import Pinned
from asyncmde_ros.weights.storage import CHUNK, writing_to

logger = logging.getLogger(__name__)

SCHEMES = ('https',)
TIMEOUT_S = 30.0
"""Longest wait for a connection, and for the next bytes on it."""
MAX_CONNECTIONS = 5
"""A connection that breaks off is resumed, this many times at most in all."""


def part_path(target: Path) -> Path:
    """Return where an unfinished download of ``target`` lies."""
    return target.with_name(f'{target.name}.part')


class PartialFile:
    """The bytes at :func:`part_path` that have come so far, and their running sha256."""

    def __init__(self, target: Path) -> None:
        """Open what an earlier run left, or begin; CacheError where that is not possible."""
        self._target = target
        self._path = part_path(target)
        self._hash = hashlib.sha256()
        self.size = 0
        with writing_to(target.parent):
            self._stream = self._path.open('a+b')
            self._stream.seek(0)
            while chunk := self._stream.read(CHUNK):
                self._count(chunk)
        self.resumed = self.size > 0

    def __enter__(self) -> 'PartialFile':
        return self

    def __exit__(self, *_: object) -> None:
        with writing_to(self._path.parent):
            self._stream.close()
            if self.size == 0:
                self._path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def append(self, chunk: bytes) -> None:
        with writing_to(self._path.parent):
            self._stream.write(chunk)
            self._stream.flush()  # a full disk shows here, not when the file is closed
        self._count(chunk)

    def restart(self) -> None:
        """Forget every byte; a file that stays empty is deleted on exit."""
        with writing_to(self._path.parent):
            self._stream.truncate(0)
        self._hash = hashlib.sha256()
        self.size = 0
        self.resumed = False

    def commit(self) -> None:
        """Give the file its final name."""
        with writing_to(self._path.parent):
            commit(self._stream, self._target)

    def _count(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self.size += len(chunk)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not out of the allowed schemes."""

    def __init__(self, schemes: Collection[str]) -> None:
        self._schemes = schemes

    def redirect_request(self, *args: Any) -> urllib.request.Request | None:
        _check_scheme(args[-1], self._schemes)
        return super().redirect_request(*args)


def download(url: str, target: Path, pinned: Pinned, progress: bool = True,
             schemes: Collection[str] = SCHEMES) -> None:
    """Bring ``target`` into being with exactly the bytes that ``pinned`` promises.

    An interrupted download stays as ``<target>.part`` and is resumed by the next call.  The
    caller holds the lock of ``target``.  ``progress`` shows a bar on a terminal; ``schemes`` are
    the URL schemes allowed, for redirects as well.  Raises CacheError where the file cannot be
    written, and WeightsError where the server cannot be reached or sends something else, which
    is deleted.
    """
    _check_scheme(url, schemes)
    opener = urllib.request.build_opener(_Redirects(schemes))
    with PartialFile(target) as partial:
        if partial.size > pinned.size:
            partial.restart()
        _receive(opener, url, pinned, partial, progress)
        if partial.sha256 != pinned.sha256 and partial.resumed:
            logger.warning('what an earlier download of %s left is of no use; starting over',
                           pinned.name)
            partial.restart()
            _receive(opener, url, pinned, partial, progress)
        if partial.sha256 != pinned.sha256:
            found = partial.sha256
            partial.restart()
            raise WeightsError(f'{url} sent other bytes than expected: sha256 {found} instead of '
                               f'{pinned.sha256}')
        partial.commit()


def _check_scheme(url: str, schemes: Collection[str]) -> None:
    if urlsplit(url).scheme not in schemes:
        raise WeightsError(f'refusing {url}: only {", ".join(schemes)} is allowed')


def _receive(opener: urllib.request.OpenerDirector, url: str, pinned: Pinned,
             partial: PartialFile, progress: bool) -> None:
    """Fill ``partial`` up to the pinned size, over as many connections as it takes."""
    reason = 'the server closed the connection'
    with tqdm(total=pinned.size, initial=partial.size, desc=pinned.name, unit='B',
              unit_scale=True, unit_divisor=1024, disable=None if progress else True) as bar:
        for _ in range(MAX_CONNECTIONS):
            if partial.size == pinned.size:
                return
            try:
                _read_one_response(opener, url, pinned, partial, bar)
            except (urllib.error.URLError, ValueError) as error:
                # ValueError: a redirect to no address, or a length that is no number
                raise WeightsError(f'{url}: {error}') from error
            except (OSError, http.client.HTTPException) as error:
                reason = in_words(error)
    if partial.size < pinned.size:
        raise WeightsError(f'{url}: {reason} after {partial.size} of {pinned.size} bytes; the '
                           'next attempt resumes there')


def _read_one_response(opener: urllib.request.OpenerDirector, url: str, pinned: Pinned,
                       partial: PartialFile, bar: 'tqdm[NoReturn]') -> None:
    # A compressed answer would have neither the length nor the ranges of the file.
    request = urllib.request.Request(url, headers={'Accept-Encoding': 'identity',
                                                   'User-Agent': 'asyncmde'})
    if partial.size:
        request.add_header('Range', f'bytes={partial.size}-')
    with opener.open(request, timeout=TIMEOUT_S) as response:
        if not _continues(response, partial.size):
            partial.restart()
            bar.initial = 0
            bar.reset()
        length = response.headers['Content-Length']
        if length is not None and partial.size + int(length) != pinned.size:
            raise WeightsError(f'{url} offers {partial.size + int(length)} bytes instead of '
                               f'{pinned.size}')
        while chunk := response.read(min(CHUNK, pinned.size - partial.size)):
            partial.append(chunk)
            bar.update(len(chunk))


def _continues(response: http.client.HTTPResponse, offset: int) -> bool:
    """Tell whether a response goes on at ``offset``; a server may ignore the Range asked for."""
    if offset == 0:
        return True
    content_range = response.headers.get('Content-Range', '')
    return (response.status == HTTPStatus.PARTIAL_CONTENT
            and content_range.startswith(f'bytes {offset}-'))
