"""Downloads against a real server on this machine: resumed, verified, from a mirror or a cache."""

import errno
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from support.folders import names
from support.weight_samples import TINY, isolate, pinned, tiny_checkpoint, transformers_file

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.weights import huggingface
from asyncmde_ros.weights.huggingface import download
from asyncmde_ros.weights.registry import HuggingFace
from asyncmde_ros.weights.storage import CacheError

CONTENT = np.random.default_rng(0).bytes(3 << 20)
PINNED = pinned('model.safetensors', CONTENT)
MODEL = save(transformers_file(tiny_checkpoint(), TINY.depth))
SOURCE = HuggingFace('example/tiny-hf', 'a' * 40, pinned('model.safetensors', MODEL),
                     reproduces_canonical=False)
RESOLVED = f'/example/tiny-hf/resolve/{"a" * 40}/model.safetensors'
"""The path of the file on every server that speaks as Hugging Face does."""
MOST_REQUESTS = 60
"""Five connections, each with the ten redirects that urllib follows."""
fetch = partial(download, pinned=PINNED)


@dataclass
class Behaviour:
    """What the server does: the longest answer it completes, and which rules it breaks.

    ``length`` is what it claims instead of the true length; ``location`` sends every path but
    its own there.
    """

    content: bytes = CONTENT
    break_after: int | None = None
    ignores_range: bool = False
    sends_length: bool = True
    status: int | None = None
    location: str | None = None
    length: str | None = None
    endless: bool = False
    ranges: list[str | None] = field(default_factory=list)
    """The Range header of every request so far."""
    paths: list[str] = field(default_factory=list)
    """What was asked for so far."""


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_HEAD(self) -> None:
        """What Hugging Face says of a file: the library asks before it downloads."""
        self.send_response(200)
        self.send_header('X-Repo-Commit', SOURCE.revision)
        self.send_header('ETag', f'"{SOURCE.sha256}"')
        self.send_header('Content-Length', str(len(self.behaviour.content)))
        self.end_headers()

    def do_GET(self) -> None:
        behaviour = self.behaviour
        behaviour.paths.append(self.path)
        wanted = self.headers['Range']
        behaviour.ranges.append(wanted)
        if behaviour.status is not None and self.path != '/moved':
            self.send_response(behaviour.status)
            if behaviour.location is not None:
                self.send_header('Location', behaviour.location)
            self.end_headers()
            return
        start = 0
        total = len(behaviour.content)
        if wanted is None or behaviour.ignores_range:
            self.send_response(200)
        else:
            start = int(wanted.removeprefix('bytes=').removesuffix('-'))
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{total - 1}/{total}')
        if behaviour.sends_length:
            self.send_header('Content-Length', behaviour.length or str(total - start))
        self.end_headers()
        with suppress(ConnectionError):  # the client hangs up on an answer of no use
            while behaviour.endless:
                self.wfile.write(behaviour.content)
            self.wfile.write(behaviour.content[start:][:behaviour.break_after])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Server:
    url: str
    handler: type[Handler]

    def behave(self, **changes: object) -> Behaviour:
        self.handler.behaviour = Behaviour(**changes)
        return self.handler.behaviour


@pytest.fixture(scope='module')
def server() -> Iterator[Server]:
    handler = type('OwnHandler', (Handler,), {})
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        yield Server(f'http://127.0.0.1:{httpd.server_port}/file', handler)
        httpd.shutdown()
        thread.join()


def test_a_whole_file_arrives(server: Server, tmp_path: Path) -> None:
    behaviour = server.behave()
    fetch(server.url, tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == CONTENT
    assert behaviour.ranges == [None]
    assert names(tmp_path) == ['file']


@pytest.mark.proves('download-breaks')
def test_a_connection_that_breaks_off_is_resumed(server: Server, tmp_path: Path) -> None:
    behaviour = server.behave(break_after=1_000_000)
    fetch(server.url, tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == CONTENT
    assert behaviour.ranges == [None, *(f'bytes={n}000000-' for n in (1, 2, 3))]


@pytest.mark.proves('download-breaks')
def test_the_next_call_resumes_where_this_one_failed(
        server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface, 'MAX_CONNECTIONS', 1)
    server.behave(break_after=1_000_000)
    with pytest.raises(WeightsError, match=rf'after 1000000 of {len(CONTENT)} bytes'):
        fetch(server.url, tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == CONTENT[:1_000_000]
    behaviour = server.behave()
    fetch(server.url, tmp_path / 'file')
    assert behaviour.ranges == ['bytes=1000000-']
    assert (tmp_path / 'file').read_bytes() == CONTENT
    assert names(tmp_path) == ['file']


@pytest.mark.proves('download-breaks')
@settings(max_examples=40, deadline=None)
@given(left=st.integers(0, len(CONTENT) + 10), damaged=st.booleans(),
       ignores_range=st.booleans(), sends_length=st.booleans())
def test_whatever_was_left_the_right_file_arrives(
        server: Server, tmp_path_factory, left: int, damaged: bool, ignores_range: bool,
        sends_length: bool) -> None:
    server.behave(ignores_range=ignores_range, sends_length=sends_length)
    target = tmp_path_factory.mktemp('download') / 'file'
    remains = bytearray((CONTENT + bytes(10))[:left])
    if damaged and left:
        remains[left // 2] ^= 1
    target.write_bytes(remains)
    fetch(server.url, target)
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == ['file']


def test_the_bar_counts_every_byte_once(server: Server, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    server.behave(ignores_range=True)
    (tmp_path / 'file').write_bytes(CONTENT[:1_000_000])
    fetch(server.url, tmp_path / 'file')
    last = capsys.readouterr().err.strip().rpartition('\r')[2]
    assert re.match(r'model\.safetensors: 100%.* 3\.00M/3\.00M \[.*B/s\]', last), last


@pytest.mark.proves('download-other')
def test_wrong_bytes_are_rejected_and_nothing_stays(server: Server, tmp_path: Path) -> None:
    behaviour = server.behave(content=bytes(len(CONTENT)))
    with pytest.raises(WeightsError, match='other bytes than expected'):
        fetch(server.url, tmp_path / 'file')
    assert len(behaviour.ranges) == 1
    assert names(tmp_path) == []


@pytest.mark.proves('download-other')
@pytest.mark.parametrize('content', [b'<html>sign in</html>', CONTENT + b'more'])
def test_a_file_of_another_length_is_not_even_read(
        server: Server, tmp_path: Path, content: bytes) -> None:
    server.behave(content=content)
    with pytest.raises(WeightsError, match=f'offers {len(content)} bytes instead of'):
        fetch(server.url, tmp_path / 'file')
    assert names(tmp_path) == []


@pytest.mark.proves('download-other')
def test_a_short_answer_without_length_is_no_file(server: Server, tmp_path: Path) -> None:
    server.behave(content=b'<html>sign in</html>', sends_length=False, ignores_range=True)
    with pytest.raises(WeightsError, match='after 20 of'):
        fetch(server.url, tmp_path / 'file')
    assert (tmp_path / 'file').stat().st_size == 20, 'more of it may come'


def test_an_error_of_the_server_is_passed_on(server: Server, tmp_path: Path) -> None:
    server.behave(status=404)
    with pytest.raises(WeightsError, match='HTTP Error 404'):
        fetch(server.url, tmp_path / 'file')
    assert names(tmp_path) == []


@pytest.mark.proves('no-network')
def test_no_server_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match='Connection refused'):
        fetch('http://127.0.0.1:1/file', tmp_path / 'file')
    assert names(tmp_path) == []


@pytest.mark.proves('redirect')
@pytest.mark.parametrize('scheme', ['ftp', 'file'])
def test_nothing_but_http_is_asked(server: Server, tmp_path: Path, scheme: str) -> None:
    behaviour = server.behave()
    with pytest.raises(WeightsError, match='only https or http is allowed'):
        fetch(server.url.replace('http', scheme, 1), tmp_path / 'file')
    assert behaviour.ranges == []
    assert names(tmp_path) == []


@pytest.mark.proves('redirect')
def test_a_redirect_may_not_leave_http(server: Server, tmp_path: Path) -> None:
    server.behave(status=302, location='ftp://127.0.0.1/file')
    with pytest.raises(WeightsError, match='only https or http is allowed'):
        fetch(server.url, tmp_path / 'file')


@pytest.mark.proves('redirect')
@pytest.mark.parametrize(('before', 'after'), [('https', 'https'), ('http', 'https'),
                                               ('https', 'http')])
def test_a_redirect_may_not_leave_tls(before: str, after: str) -> None:
    def follow() -> urllib.request.Request | None:
        return huggingface.SecureRedirects().redirect_request(
            urllib.request.Request(f'{before}://example.org/a'), None, 302, 'Found', {},
            f'{after}://example.org/b')
    if (before, after) == ('https', 'http'):
        with pytest.raises(WeightsError, match='refusing http://example.org/b'):
            follow()
    else:
        request = follow()
        assert request is not None and request.full_url == f'{after}://example.org/b'


@pytest.mark.proves('redirect')
def test_another_host_is_believed_by_its_bytes_alone(server: Server, tmp_path: Path) -> None:
    """As Hugging Face sends everybody to a host for large files."""
    elsewhere = server.url.replace('127.0.0.1', 'localhost').replace('/file', '/moved')
    server.behave(status=302, location=elsewhere)
    fetch(server.url, tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == CONTENT
    server.behave(status=302, location=elsewhere, content=bytes(len(CONTENT)))
    with pytest.raises(WeightsError, match='other bytes than expected'):
        fetch(server.url, tmp_path / 'other')
    assert names(tmp_path) == ['file']


@pytest.mark.proves('redirect')
@pytest.mark.parametrize('location', ['http://[', 'http://', f'http://{"a" * 70}/', '/file',
                                      'http://127.0.0.1:none/'],
                         ids=['bracket', 'nothing', 'long label', 'loop', 'port'])
def test_a_redirect_to_nowhere_is_one_clear_error(server: Server, tmp_path: Path, location: str
                                                  ) -> None:
    behaviour = server.behave(status=302, location=location)
    with pytest.raises(WeightsError):
        fetch(server.url, tmp_path / 'file')
    assert len(behaviour.ranges) <= MOST_REQUESTS
    assert names(tmp_path) == []


@pytest.mark.proves('download-other')
@pytest.mark.parametrize('length', ['many', '-5', '1e9', '99999999999999999999'])
def test_a_length_that_is_none_is_one_clear_error(server: Server, tmp_path: Path, length: str
                                                  ) -> None:
    server.behave(length=length)
    with pytest.raises(WeightsError):
        fetch(server.url, tmp_path / 'file')
    assert names(tmp_path) == []


@pytest.mark.proves('download-endless')
def test_an_answer_without_end_is_read_to_the_length_expected(server: Server, tmp_path: Path
                                                              ) -> None:
    server.behave(endless=True, sends_length=False)
    fetch(server.url, tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == CONTENT, 'which it began with'
    server.behave(endless=True, sends_length=False, content=bytes(1000))
    with pytest.raises(WeightsError, match='other bytes than expected'):
        fetch(server.url, tmp_path / 'other')
    assert names(tmp_path) == ['file']


@pytest.mark.parametrize(('code', 'message'), [
    (errno.ENOSPC, 'no space left in .*XDG_CACHE_HOME'),
    (errno.EROFS, r'cannot write to .* \(Read-only file system\).*XDG_CACHE_HOME')])
def test_a_disk_that_refuses_is_told_from_a_network_that_does(
        server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str
        ) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, 'Read-only file system')
    monkeypatch.setattr(Path, 'open', refuse)
    server.behave()
    with pytest.raises(CacheError, match=message):
        fetch(server.url, tmp_path / 'file')


@pytest.mark.proves('disk-full')
def test_a_full_disk_in_the_middle_is_a_cache_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / 'file').symlink_to('/dev/full')
    server.behave()
    with pytest.raises(CacheError, match='no space left'):
        fetch(server.url, tmp_path / 'file')


# The settings of Hugging Face's own library.

@pytest.fixture
def hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The server as a mirror that has MODEL; returns the library's cache, which is empty."""
    isolate(monkeypatch, tmp_path / 'cache')
    monkeypatch.setenv('HF_ENDPOINT', server.url.removesuffix('/file') + '/')
    server.behave(content=MODEL)
    return tmp_path / 'cache' / 'huggingface' / 'hub'


def test_a_mirror_is_asked_as_the_hub_is(server: Server, hub: Path, tmp_path: Path) -> None:
    tensors = huggingface.obtain(SOURCE, tmp_path / 'part')
    assert tensors.keys() == tiny_checkpoint().keys()
    assert server.handler.behaviour.paths == [RESOLVED]
    assert (tmp_path / 'part').read_bytes() == MODEL, 'the caller may fail to keep the tensors'
    huggingface.obtain(SOURCE, tmp_path / 'part')
    assert server.handler.behaviour.paths == [RESOLVED]


@pytest.mark.parametrize('endpoint', ['http://[', 'http://', 'mirror.example.org', '/mirror'])
def test_a_mirror_that_is_no_address_is_one_clear_error(
        hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv('HF_ENDPOINT', endpoint)
    with pytest.raises(WeightsError, match=endpoint.rstrip('/').replace('[', r'\[')):
        huggingface.obtain(SOURCE, tmp_path / 'part')
    assert not (tmp_path / 'part').exists()


@pytest.mark.parametrize('value', ['1', 'yes', 'True'])
def test_offline_nobody_is_asked_and_the_place_is_named(
        server: Server, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
        ) -> None:
    monkeypatch.setenv('HF_HUB_OFFLINE', value)
    place = hub / 'models--example--tiny-hf' / 'blobs' / SOURCE.sha256
    with pytest.raises(WeightsError, match=f'HF_HUB_OFFLINE is set and {place} is not there'):
        huggingface.obtain(SOURCE, tmp_path / 'part')
    place.parent.mkdir(parents=True)
    place.write_bytes(MODEL)
    tensors = huggingface.obtain(SOURCE, tmp_path / 'part')
    assert tensors.keys() == tiny_checkpoint().keys()
    assert server.handler.behaviour.paths == [] and not (tmp_path / 'part').exists()


def test_a_damaged_file_in_the_librarys_cache_is_left_aside(
        server: Server, hub: Path, tmp_path: Path) -> None:
    place = huggingface.cached_path(SOURCE)
    place.parent.mkdir(parents=True)
    place.write_bytes(MODEL[:-1])
    huggingface.obtain(SOURCE, tmp_path / 'part')
    assert server.handler.behaviour.paths == [RESOLVED]


@pytest.mark.parametrize('variable', ['HF_HUB_CACHE', 'HF_HOME', 'XDG_CACHE_HOME'])
def test_what_the_library_has_fetched_is_not_downloaded_again(
        server: Server, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
        ) -> None:
    """With the real library: that the cache lies where it says, and that mirrors are so asked."""
    pytest.importorskip('huggingface_hub', reason='left out: needs huggingface_hub')
    monkeypatch.setenv(variable, str(tmp_path / 'elsewhere'))
    program = ('from huggingface_hub import hf_hub_download; '
               f'hf_hub_download("{SOURCE.repo}", "model.safetensors", '
               f'revision="{SOURCE.revision}")')
    subprocess.run([sys.executable, '-c', program], check=True, capture_output=True, timeout=120,
                   env=os.environ | {'HF_HUB_DISABLE_TELEMETRY': '1'})
    assert RESOLVED in server.handler.behaviour.paths
    server.handler.behaviour.paths.clear()
    huggingface.obtain(SOURCE, tmp_path / 'part')
    assert server.handler.behaviour.paths == []
