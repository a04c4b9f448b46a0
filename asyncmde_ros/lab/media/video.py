"""Video files by PyAV, which is FFmpeg: to stamped RGB frames, and from frames to mp4."""

import logging
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import MediaError, in_words
from asyncmde_ros.files import commit, temporary_beside
from asyncmde_ros.images.codec import MAX_PIXELS, RGB
from asyncmde_ros.images.picture import fit, within
from asyncmde_ros.lab.media.frames import ASSUMED_RATE_HZ, MAX_RATE_HZ, FrameSource, VideoFrame
from asyncmde_ros.model.geometry import Size

INSTALL = 'pip install "av>=17,<19"'
try:
    import av
    from av.container import OutputContainer
    from av.stream import Disposition
    from av.video.reformatter import ColorRange, Colorspace
except ImportError as error:
    raise MediaError(f'videos need PyAV: {INSTALL}') from error
if int(av.__version__.partition('.')[0]) < 17:  # as Ubuntu 24.04's, which ignores colour spaces
    raise MediaError(f'videos need PyAV 17 or later, and this is {av.__version__}: {INSTALL}')

LOG = logging.getLogger(__name__)

Packet: TypeAlias = 'av.Packet[av.VideoStream]'

RATE_SAMPLE = 20  # packets whose stamps tell the rate
RATE_TOLERANCE = 0.1
"""A container's rate is believed where its stamps give the same but for so much: stamps in
milliseconds are coarse."""

END_TOLERANCE = 0.05
"""Of the duration promised may be missing at the end: sound often outlasts the pictures."""

END_PERIODS = 3
"""So many periods may be missing as well, in short files."""

SOUND_S = 1.0
"""By so much more, where the duration is not of the pictures alone."""

SAME_NS = 1000
"""Stamps no further apart are the same, but for rounding."""

PENDING = 256
"""Packets that are remembered until their frame comes; no decoder holds back more."""

NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image

COLOUR_SPACES = {0, 1, 2, 4, 5, 6, 7, 9}
"""H.273's matrix coefficients that FFmpeg's scaler knows."""

UNSPECIFIED = 2
"""What others are taken for; FFmpeg takes it for BT.601."""

TICKS_PER_S = 60_000
"""Of the time base of what is written: whole for the usual rates, and small enough for MPEG-4,
whose fractions have 16 bits."""

ENCODERS = {'libx264': {'preset': 'ultrafast'}, 'mpeg4': {'b': '8M'}}
"""The first one that there is: browsers and phones play H.264, FFmpeg always has MPEG-4.  The
cores have better things to do than to save disk."""

RATES_HZ = (1, 240)
"""What an encoder is told of the rate, for its size, lies in between."""

MOST_WRITTEN: Size = (2160, 3840)
"""Rows and columns of what is written; larger frames are shrunk: few decoders take more."""

BT709 = 1


class VideoSource(FrameSource):
    """The frames of a video file; ``open_video`` has the contract."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MediaError(f'{path} is not a file')
        self.dropped: Counter[str] = Counter()
        self._path = path
        self._delivered = 0
        self._ended_s: float | None = None
        self._broken = False
        self._rotation: int | None = None
        self._matrix: npt.NDArray[np.int32] | None = None
        try:
            # "file:", or a name with a colon in it would be an address.
            self._container = av.open(f'file:{path}', 'r', metadata_errors='replace')
        except (av.FFmpegError, OSError, ValueError) as error:
            raise MediaError(f'{path} cannot be read: is it a video, and is it complete? '
                             f'({_reason(error)})') from error
        try:
            self._stream = self._choose()
            self._is_avi = self._container.format.name == 'avi'
            self._time_base = self._stream.time_base or Fraction(1, av.time_base)
            packets = self._packets()
            sample = list(islice(packets, RATE_SAMPLE))
            self._estimate_rate(sample)
            self._frames: Iterator[VideoFrame] = self._decode(chain(sample, packets))
            self._first = next(self._frames, None)
            if self._first is None:
                raise MediaError(f'{path} has no frame that can be decoded '
                                 f'({self._stream.codec_context.name}): is it complete?')
        except BaseException:
            self._container.close()
            raise

    def __iter__(self) -> Iterator[VideoFrame]:
        while (frame := self._first or next(self._frames, None)) is not None:
            self._first = None
            yield frame

    def close(self) -> None:
        self._first, self._frames = None, iter(())
        self._container.close()
        left_out = self.dropped.total()
        if left_out:
            LOG.warning('%s: %d of %d frames could not be decoded and were left out', self._path,
                        left_out, left_out + self._delivered)

    def _choose(self) -> av.VideoStream:
        """Return the first stream of moving pictures that can be decoded; a cover is none."""
        moving = [stream for stream in self._container.streams.video
                  if not stream.disposition & NO_VIDEO]
        if not moving:
            raise MediaError(f'{self._path} is no video: it has no moving pictures')
        stream = next((stream for stream in moving if stream.codec_context is not None), None)
        if stream is None:
            raise MediaError(f'{self._path} cannot be decoded: this FFmpeg has no decoder for its '
                             'codec. Convert it: ffmpeg -i FILE -c:v libx264 video.mp4')
        if stream.width * stream.height > MAX_PIXELS:
            raise MediaError(f'{self._path} has pictures of {stream.width} x {stream.height}; at '
                             f'most {MAX_PIXELS} pixels are decoded')
        # One frame in, one frame out: with threads by frame PyAV loses some at an error.
        stream.thread_type = 'SLICE'
        stream.codec_context.options = {'max_pixels': str(MAX_PIXELS)}
        return stream

    def _estimate_rate(self, sample: Sequence[Packet]) -> None:
        """Set ``rate_hz``, ``length`` and how far the stamps are believed."""
        claims = (self._stream.average_rate, self._stream.guessed_rate)
        claimed = next((float(rate) for rate in claims if rate and rate <= MAX_RATE_HZ), None)
        seen = _rate(sample, self._time_base)
        self._believed = seen is None or seen <= MAX_RATE_HZ
        if not self._believed:
            LOG.warning('%s: its stamps say %.0f Hz, which cannot be: played at %g Hz', self._path,
                        seen, ASSUMED_RATE_HZ)
            claimed = None
        elif seen is not None and (
                claimed is None or abs(claimed / seen - 1) > RATE_TOLERANCE):
            claimed = seen
        self.rate_hz = claimed
        self._period_ns = round(1e9 / (claimed or ASSUMED_RATE_HZ))
        promised_s = self._promised_s()
        lengths = self._stream.frames, round((promised_s or 0) * (claimed or 0))
        self.length = min(filter(None, lengths), default=None)  # some frames are never shown

    def _promised_s(self) -> float | None:
        """Return the duration that the file tells, in seconds."""
        if self._is_avi and self._stream.frames and self.rate_hz:
            return self._stream.frames / self.rate_hz  # its duration is reckoned from its size
        if self._stream.duration:
            return float(self._stream.duration * self._time_base)
        tag = self._stream.metadata.get('DURATION', '')  # Matroska's, of one stream
        with suppress(ValueError):
            hours, minutes, seconds = tag.split(':')
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        return self._container.duration / av.time_base if self._container.duration else None

    def _packets(self) -> Iterator[Packet]:
        """Yield what holds data, to the end of the file or to where it cannot be read on."""
        first: int | None = None
        try:
            for packet in self._container.demux(self._stream):
                stamp = _stamp(packet)
                if stamp is not None:
                    first = stamp if first is None else first
                    end = stamp + (packet.duration or 0) - first
                    self._ended_s = max(self._ended_s or 0.0, float(end * self._time_base))
                if packet.size:
                    yield packet
        except (av.FFmpegError, OSError) as error:
            LOG.warning('%s: breaks off: %s', self._path, _reason(error))
            self._broken = True

    def _decode(self, packets: Iterator[Packet]) -> Iterator[VideoFrame]:
        """Yield what was decoded whole, stamped."""
        last_ns = -self._period_ns
        first: int | None = None
        for frame in self._whole(packets):
            image = self._to_rgb(frame)
            if image is None:
                continue
            # AVI stores no times of presentation, and those that PyAV has FFmpeg make up are
            # out of order where frames were.
            stamp = frame.dts if self._is_avi or frame.pts is None else frame.pts
            stamp_ns = last_ns
            if stamp is not None and self._believed:
                first = stamp if first is None else first
                stamp_ns = round((stamp - first) * self._time_base * 10**9)
            last_ns = (stamp_ns if stamp_ns > last_ns + SAME_NS
                       else last_ns + self._period_ns)
            self._delivered += 1
            yield VideoFrame(last_ns, image)
        self._check_end()

    def _whole(self, packets: Iterator[Packet]) -> Iterator[av.VideoFrame]:
        """Yield what was decoded whole.

        What rests on a damaged frame is as wrong as that one, and nothing tells so: it is left
        out as well, up to the next keyframe.
        """
        pending: dict[int | None, int] = {}  # the numbers of packets, by their stamps
        damaged: int | None = None
        for number, packet in enumerate(chain(packets, [None])):
            if packet is not None:
                pending[packet.pts] = number
                if len(pending) > PENDING:
                    del pending[next(iter(pending))]
            frames: list[av.VideoFrame] = []
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.EOFError:
                pass
            except (av.FFmpegError, ValueError) as error:
                self._drop('damaged', _reason(error))
                damaged = number if damaged is None else damaged
            for frame in frames:
                order = pending.pop(frame.pts, number)
                if frame.is_corrupt:
                    self._drop('damaged', 'it is damaged')
                    damaged = order if damaged is None else min(order, damaged)
                elif damaged is None or order < damaged:
                    yield frame
                elif frame.key_frame:
                    damaged = None
                    yield frame
                else:
                    self._drop('reference', 'it rests on a damaged one')

    def _to_rgb(self, frame: av.VideoFrame) -> RGB | None:
        if frame.colorspace not in COLOUR_SPACES:
            frame.colorspace = UNSPECIFIED
        try:
            rgb = np.asarray(frame.to_ndarray(format='rgb24'), np.uint8)
        except (av.FFmpegError, ValueError) as error:
            self._drop('format', f'{frame.format.name} cannot be converted: {_reason(error)}')
            return None
        if frame.rotation != self._rotation:
            # Asked for seldom: what has been asked for its side data waits for the collector.
            self._rotation = frame.rotation
            matrix: Any = frame.side_data.get('DISPLAYMATRIX')
            self._matrix = None if matrix is None else np.frombuffer(bytes(matrix), np.int32)
        return rgb if self._matrix is None else _upright(rgb, self._matrix)

    def _drop(self, reason: str, text: str) -> None:
        if reason not in self.dropped:
            LOG.warning('%s: frame left out: %s', self._path, text)
        self.dropped[reason] += 1

    def _check_end(self) -> None:
        """Say so where the file ends before its time."""
        promised_s, ended_s = self._promised_s(), self._ended_s
        if self._broken or promised_s is None or ended_s is None or not self._believed:
            return
        slack_s = max(END_TOLERANCE * promised_s, END_PERIODS * self._period_ns / 1e9)
        if not self._stream.duration and len(self._container.streams) > 1:
            slack_s += SOUND_S
        if ended_s < promised_s - slack_s:
            LOG.warning('%s: breaks off after %.1f of %.1f s', self._path, ended_s, promised_s)


class VideoWriter:
    """An mp4 file of RGB frames, a context manager; the first frame fixes the size.

    Larger ones than MOST_WRITTEN are shrunk, and an odd last row or column is cut off, which the
    format asks for.  What stood under the name stays until the file is closed, and complete,
    after however many frames; without any it stays altogether.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        """``rate_hz`` is that of frames for which no time is given."""
        self._path = path
        self._rate_hz = rate_hz
        self._first: Size | None = None
        self._size: Size = (0, 0)
        self._warned = False
        self._last = -1
        self._next_s = 0.0
        self._container: OutputContainer | None = None

    def write(self, rgb: RGB, at_s: float | None = None) -> None:
        """Append (H, W, 3) uint8 RGB, shown ``at_s`` after the start, or a period after the last.

        Of another size than the first one's it is fitted into that, with a warning.  Times rise,
        or are made to.  Raises MediaError where the file cannot be written.
        """
        at_s = self._next_s if at_s is None else at_s
        self._next_s = at_s + 1 / self._rate_hz
        with self._faults_named():
            if self._container is None:
                self._container = self._open(rgb.shape[:2])
            frame = av.VideoFrame.from_ndarray(self._sized(rgb), 'rgb24').reformat(
                format='yuv420p', dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG)
            frame.pts = self._last = max(self._last + 1, round(at_s * TICKS_PER_S))
            frame.time_base = Fraction(1, TICKS_PER_S)
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Complete the file and give it its name.  Raises MediaError."""
        if self._container is not None:
            with self._faults_named():
                self._container.mux(self._stream.encode(None))
                self._container.close()
                with self._temporary.open('rb+') as file:
                    commit(file, self._path)
                self._container = None

    def __enter__(self) -> 'VideoWriter':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def _open(self, size: Size) -> OutputContainer:
        rows, cols = within(size, MOST_WRITTEN)
        self._first, self._size = size, (max(2, rows - rows % 2), max(2, cols - cols % 2))
        self._temporary = temporary_beside(self._path)
        container = av.open(f'file:{self._temporary}', 'w', format='mp4')
        encoder = next(name for name in ENCODERS if name in av.codecs_available)
        rate = Fraction(min(max(self._rate_hz, RATES_HZ[0]), RATES_HZ[1])).limit_denominator(1001)
        stream = cast(av.VideoStream, container.add_stream(encoder, rate, ENCODERS[encoder]))
        stream.height, stream.width = self._size
        stream.pix_fmt = 'yuv420p'
        stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        stream.codec_context.colorspace = BT709
        stream.codec_context.color_range = ColorRange.MPEG
        self._stream = stream
        return container

    def _sized(self, rgb: RGB) -> RGB:
        rows, cols = self._size
        if rgb.shape[:2] != self._first:
            if not self._warned:
                self._warned = True
                LOG.warning('%s: frames of another size are fitted into the first one\'s',
                            self._path)
            return fit(rgb, self._size)
        if rows > rgb.shape[0] - 2 and cols > rgb.shape[1] - 2:
            return np.ascontiguousarray(rgb[:rows, :cols])
        return np.asarray(cv2.resize(rgb, (cols, rows), interpolation=cv2.INTER_AREA), np.uint8)

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        """Turn what goes wrong into a MediaError, and leave nothing half-written."""
        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            if self._container is not None:
                with suppress(av.FFmpegError, OSError):
                    self._container.close()
                self._container = None
                self._temporary.unlink(missing_ok=True)
            raise MediaError(f'{self._path} cannot be written: {_reason(error)}') from error


def _reason(error: BaseException) -> str:
    """Return what happened, without the file's name, which FFmpeg's errors append."""
    return getattr(error, 'strerror', None) or in_words(error)


def _stamp(packet: Packet) -> int | None:
    return packet.pts if packet.pts is not None else packet.dts


def _rate(packets: Sequence[Packet], time_base: Fraction) -> float | None:
    """Return the rate in Hz that stamps tell, whatever the container claims; None if none.

    Packets come in the order of decoding, so that the last ones leave gaps.
    """
    stamps = sorted({stamp for stamp in map(_stamp, packets) if stamp is not None})
    intervals = [later - earlier for earlier, later in pairwise(stamps)]
    if not intervals:
        return None
    typical = statistics.median(intervals)
    return 1 / float(statistics.fmean(step for step in intervals if step < 2 * typical)
                     * time_base)


def _upright(rgb: RGB, matrix: npt.NDArray[np.int32]) -> RGB:
    """Turn and mirror a stored picture as its display matrix says, to the nearest right angle.

    The matrix takes (x, y, 1) as a row: x' = a x + c y, y' = b x + d y (ISO/IEC 14496-12, 8.3.2).
    """
    a, b, _, c, d = matrix[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        rgb, a, d = rgb.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(rgb[::-1 if d < 0 else 1, ::-1 if a < 0 else 1])
