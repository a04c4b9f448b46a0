"""Get foundation weights from Hugging Face: resumed where an earlier run broke off, verified.

The settings of Hugging Face's own library hold: ``HF_ENDPOINT`` names a mirror,
``HF_HUB_OFFLINE=1`` forbids to ask, and a file in that library's cache is not downloaded again.
The library itself would start every interrupted download over (its issue 4196), as well as one
whose connection breaks every few megabytes, and would replace packages of the system's Python.
"""

import http.client
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from tqdm import tqdm

from asyncmde_ros.errors import WeightsError, in_words
from asyncmde_ros.weights.canonical import Tensors
from asyncmde_ros.weights.formats import read_safetensors
from asyncmde_ros.weights.registry import HuggingFace, Pinned
from asyncmde_ros.weights.storage import CHUNK, sha256, writing_to
from asyncmde_ros.weights.transformers_layout import to_original_names

logger = logging.getLogger(__name__)

ENDPOINT = 'https://huggingface.co'
TRUE = ('1', 'ON', 'TRUE', 'YES')
"""What the library takes for yes, in capitals."""
TIMEOUT_S = 30.0
"""Longest wait for a connection, and for the next bytes on it."""
MAX_CONNECTIONS = 5
"""A connection that breaks off is resumed, this many times at most in all."""


def obtain(source: HuggingFace, part: Path) -> Tensors:
    """Return the tensors of the pinned file, under the authors' names and in the file's dtype.

    The file is that in the cache of Hugging Face's library, or is downloaded to ``part``, whose
    lock the caller holds.  ``part`` stays, whole or not, so that another call has no more to
    download than is missing; the caller deletes it.

    Raises CacheError where ``part`` cannot be written, and WeightsError where the file cannot be
    had.
    """
    cached = cached_path(source)
    if cached.is_file() and sha256(cached) == source.sha256:
        logger.info('using %s', cached)
        return to_original_names(read_safetensors(cached))
    if os.environ.get('HF_HUB_OFFLINE', '').upper() in TRUE:
        raise WeightsError(f'HF_HUB_OFFLINE is set and {cached} is not there: unset it')
    endpoint = (os.environ.get('HF_ENDPOINT') or ENDPOINT).rstrip('/')
    download(f'{endpoint}/{source.repo}/resolve/{source.revision}/{source.file.name}', part,
             source.file)
    return to_original_names(read_safetensors(part))


def cached_path(source: HuggingFace) -> Path:
    """Return where the cache of Hugging Face's library has the file, of whichever revision."""
    base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    home = os.environ.get('HF_HOME') or f'{base}/huggingface'
    cache = Path(os.environ.get('HF_HUB_CACHE') or f'{home}/hub').expanduser()
    return cache / f'models--{source.repo.replace("/", "--")}' / 'blobs' / source.sha256


def download(url: str, part: Path, pinned: Pinned) -> None:
    """Fill ``part`` up, from what an earlier call left in it, to the bytes that are ``pinned``.

    A bar shows the progress on a terminal.  Raises CacheError where ``part`` cannot be written,
    and WeightsError where the server cannot be reached, or sends something else, which is deleted.
    """
    _check_scheme(url, ('https', 'http'))
    for resumed in (part.exists(), False):
        _receive(url, part, pinned)
        found = sha256(part)
        if found == pinned.sha256:
            return
        with writing_to(part.parent):
            part.unlink()
        if not resumed:
            break
        logger.warning('what an earlier download of %s left is of no use; starting over',
                       pinned.name)
    raise WeightsError(f'{url} sent other bytes than expected: sha256 {found} instead of '
                       f'{pinned.sha256}')


def _receive(url: str, part: Path, pinned: Pinned) -> None:
    """Fill ``part`` up to the pinned size, over as many connections as it takes."""
    # What the network raises is a WeightsError by then.
    with writing_to(part.parent), part.open('ab') as stream:
        try:
            if stream.tell() > pinned.size:
                _clear(stream)
            _append(url, stream, pinned)
        finally:
            if stream.tell() == 0:
                part.unlink()


def _append(url: str, stream: BinaryIO, pinned: Pinned) -> None:
    opener = urllib.request.build_opener(SecureRedirects)
    reason = 'the server closed the connection'
    with tqdm(total=pinned.size, initial=stream.tell(), desc=pinned.name, unit='B',
              unit_scale=True, unit_divisor=1024, disable=None) as bar:
        for _ in range(MAX_CONNECTIONS):
            if stream.tell() == pinned.size:
                return
            try:
                _read_one_response(opener, url, stream, pinned, bar)
            except (urllib.error.URLError, ValueError) as error:
                # ValueError: a redirect to no address, or a length that is no number
                raise WeightsError(f'{url}: {error}') from error
            except (OSError, http.client.HTTPException) as error:
                reason = in_words(error)
    if stream.tell() < pinned.size:
        raise WeightsError(f'{url}: {reason} after {stream.tell()} of {pinned.size} bytes; the '
                           'next attempt resumes there')


def _read_one_response(opener: urllib.request.OpenerDirector, url: str, stream: BinaryIO,
                       pinned: Pinned, bar: 'tqdm[NoReturn]') -> None:
    # A compressed answer would have neither the length nor the ranges of the file.
    request = urllib.request.Request(url, headers={'Accept-Encoding': 'identity',
                                                   'User-Agent': 'asyncmde'})
    if start := stream.tell():
        request.add_header('Range', f'bytes={start}-')
    with opener.open(request, timeout=TIMEOUT_S) as response:
        content_range = response.headers.get('Content-Range', '')
        if start and not content_range.startswith(f'bytes {start}-'):  # it ignored the Range
            _clear(stream)
            bar.initial = 0
            bar.reset()
        length = response.headers['Content-Length']
        if length is not None and (offered := stream.tell() + int(length)) != pinned.size:
            raise WeightsError(f'{url} offers {offered} bytes instead of {pinned.size}')
        while chunk := response.read(min(CHUNK, pinned.size - stream.tell())):
            with writing_to(Path(stream.name).parent):
                stream.write(chunk)
                stream.flush()  # a full disk shows here, not when the file is closed
            bar.update(len(chunk))


def _clear(stream: BinaryIO) -> None:
    with writing_to(Path(stream.name).parent):
        stream.seek(0)
        stream.truncate()


class SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not out of TLS."""

    def redirect_request(self, request: urllib.request.Request, *args: Any
                         ) -> urllib.request.Request | None:
        _check_scheme(args[-1], ('https', request.type))
        return super().redirect_request(request, *args)


def _check_scheme(url: str, schemes: Collection[str]) -> None:
    if url.partition(':')[0].lower() not in schemes:
        raise WeightsError(f'refusing {url}: only {" or ".join(schemes)} is allowed')
