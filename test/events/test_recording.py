"""Recordings of every kind, written here, and files that are none."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from support import events as encode
from support.events import ARRAY, PACKET, Event, listed

from asyncmde_ros.errors import MediaError
from asyncmde_ros.events.packets import LATE_NS
from asyncmde_ros.events.recording import Recording, open_recording
from asyncmde_ros.events.window import Windows

SIZE = (480, 640)
EVENTS = [Event(x, y, t, p) for x, y, t, p in (
    (0, 0, 1000, 1), (639, 479, 1000, 0), (5, 7, 1400, 1), (6, 7, 30_000, 0))]


def read(recording: Recording) -> list[Event]:
    with recording:
        return [event for events in recording.packets() for event in listed(events)]


def hdf5(path: Path, events: list[Event] = EVENTS, group: str = 'events', offset: int | None = 0,
         **options: object) -> Path:
    with h5py.File(path, 'w') as file:
        for name in 'xytp':
            values = np.array([getattr(event, name) for event in events], np.uint32)
            file.create_dataset(f'{group}/{name}', data=values, **options)
        if offset is not None:
            file['t_offset'] = offset
    return path


@pytest.mark.parametrize('lines', [
    ('evt 3.0', 'geometry 640x480'),
    ('Date 2024-05-06 07:08:09', 'evt 3.0', 'format EVT3;height=480;width=640', 'end'),
    ('evt 3.0', 'plugin_name hal_plugin_gen31_fx3')])
def test_a_raw_file_tells_format_and_size(tmp_path: Path, lines: tuple[str, ...]) -> None:
    path = encode.raw_file(tmp_path / 'a.raw', encode.evt3(EVENTS), *lines)
    recording = open_recording(path)
    assert recording.size == SIZE
    assert read(recording) == EVENTS
    assert not recording.faults


def test_a_raw_file_of_evt2(tmp_path: Path) -> None:
    path = encode.raw_file(tmp_path / 'a.RAW', encode.evt2(EVENTS), 'format EVT2')
    assert read(open_recording(path, SIZE)) == EVENTS


@pytest.mark.proves('event-recording')
def test_a_raw_file_that_ends_within_a_word_is_read_to_there(tmp_path: Path) -> None:
    path = encode.raw_file(tmp_path / 'a.raw', encode.evt3(EVENTS)[:-1], 'evt 3.0')
    assert read(open_recording(path, SIZE)) == EVENTS[:-1]


@pytest.mark.proves('event-recording')
@pytest.mark.parametrize(('data', 'words'), [
    (b'', 'tells no format'), (b'\x00' * 100, 'tells no format'),
    (b'% evt 2.1\n% geometry 640x480\n', 'tells EVT 2.1; EVT 2.0 and EVT 3.0 can be read'),
    (b'% evt 3.0\n', 'does not tell the size of the sensor'),
    (b'% evt 3.0\n% geometry 0x480\n', 'sides are 1 to')])
def test_raw_files_that_cannot_be_read_say_why(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / 'a.raw').write_bytes(data)
    with pytest.raises(MediaError, match=words):
        open_recording(tmp_path / 'a.raw')


@pytest.mark.proves('event-impossible')
def test_what_cannot_be_true_is_counted(tmp_path: Path) -> None:
    late, again = EVENTS[-1].t - 5, EVENTS[-1].t + LATE_NS // 1000 + 500_000
    events = [*EVENTS, Event(640, 3, again, 1), Event(1, 1, again + 9, 1)]
    path = encode.raw_file(tmp_path / 'a.raw', encode.evt2(events), 'evt 2.0')
    recording = open_recording(path, SIZE)
    assert read(recording) == [*EVENTS, events[-1]]
    assert recording.faults == {'outside': 1}
    messages = [encode.packet(SIZE, 'mono', encode.mono([Event(1, 1, t, 1)]))
                for t in (EVENTS[-1].t, late, 10**6, 5)]
    recording = open_recording(encode.bag(tmp_path / 'bag', *(
        ('/events', PACKET, message) for message in messages)))
    assert [event.t for event in read(recording)] == [EVENTS[-1].t, 10**6, 5]
    assert recording.faults == {'late': 1, 'restarts': 1}


def test_an_hdf5_file_as_dsec_has_it(tmp_path: Path) -> None:
    recording = open_recording(hdf5(tmp_path / 'events.h5', offset=2 * 10**12, chunks=(2,),
                                    compression='gzip'))
    assert recording.size == SIZE
    assert read(recording) == [event._replace(t=event.t + 2 * 10**12) for event in EVENTS]


def test_events_of_another_group_and_a_sensor_that_is_named(tmp_path: Path) -> None:
    path = hdf5(tmp_path / 'm3ed.hdf5', group='prophesee/left', offset=None)
    assert read(open_recording(path, (720, 1280))) == EVENTS


def test_an_hdf5_file_without_events_is_read(tmp_path: Path) -> None:
    recording = open_recording(hdf5(tmp_path / 'a.h5', events=[]))
    assert read(recording) == []


@pytest.mark.proves('event-recording')
def test_hdf5_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    path = tmp_path / 'a.h5'
    path.write_bytes(b'no such thing')
    with pytest.raises(MediaError, match='cannot be read as HDF5'):
        open_recording(path)
    with h5py.File(path, 'w') as file:
        file['events/x'] = np.arange(3)
    with pytest.raises(MediaError, match='no group has arrays x, y, t and p'):
        open_recording(path)
    for name in 'ytp':
        with h5py.File(path, 'a') as file:
            file[f'events/{name}'] = np.arange(2)
    with pytest.raises(MediaError, match='not of one length'):
        open_recording(path)
    with pytest.raises(MediaError, match='name it'):
        open_recording(hdf5(path, [Event(5000, 1, 1, 1)]))


def test_an_aedat4_file(tmp_path: Path) -> None:
    dv = pytest.importorskip('dv_processing', reason='left out: needs dv-processing')
    path = tmp_path / 'a.aedat4'
    config = dv.io.MonoCameraWriter.EventOnlyConfig('DAVIS346', (640, 480))
    writer = dv.io.MonoCameraWriter(str(path), config)
    store = dv.EventStore()
    for event in EVENTS:
        store.push_back(event.t, event.x, event.y, bool(event.p))
    writer.writeEvents(store)
    del writer
    recording = open_recording(path)
    assert recording.size == SIZE
    assert read(recording) == EVENTS
    path.write_bytes(b'no such thing')
    with pytest.raises(MediaError, match='cannot be read as AEDAT4'):
        open_recording(path)


@pytest.mark.parametrize(('encoding', 'encoded'), [
    ('evt3', encode.evt3), ('libcaer', encode.libcaer), ('libcaer_cmp', encode.libcaer_cmp),
    ('mono', encode.mono)])
def test_a_bag_of_packets(tmp_path: Path, encoding: str, encoded: object) -> None:
    halves = EVENTS[:2], EVENTS[2:]
    path = encode.bag(tmp_path / 'bag', *(
        ('/sensor/events', PACKET, encode.packet(SIZE, encoding, encoded(half)))
        for half in halves))
    recording = open_recording(path)
    assert recording.size == SIZE
    assert read(recording) == EVENTS


def test_a_bag_of_event_arrays_and_the_topic_of_several(tmp_path: Path) -> None:
    path = encode.bag(tmp_path / 'bag', ('/a', ARRAY, encode.array(SIZE, EVENTS)),
                      ('/b', PACKET, encode.packet(SIZE, 'mono', b'')))
    assert read(open_recording(path, topic='/a')) == EVENTS
    assert read(open_recording(path, topic='/b')) == []
    with pytest.raises(MediaError, match=r'several topics with events.*/a, /b'):
        open_recording(path)
    with pytest.raises(MediaError, match='has no events on /c'):
        open_recording(path, topic='/c')


@pytest.mark.proves('event-recording')
def test_damaged_messages_are_left_out(tmp_path: Path) -> None:
    good = encode.packet(SIZE, 'mono', encode.mono(EVENTS))
    data = bytes(encode.TYPES.serialize_cdr(good, PACKET))
    other = encode.packet((10, 10), 'mono', b'')
    path = encode.bag(tmp_path / 'bag', *(('/e', PACKET, message) for message in (
        data[:40], data, data[:-4], b'\x00\x00' + data[2:], b'', other)))
    recording = open_recording(path)
    assert read(recording) == EVENTS
    assert recording.faults == {'damaged': 5}


def test_a_bag_without_events_says_so(tmp_path: Path) -> None:
    kind = 'std_msgs/msg/String'
    path = encode.bag(tmp_path / 'bag', ('/words', kind, encode.TYPES.types[kind]('hello')))
    with pytest.raises(MediaError, match='has no events: none of its topics'):
        open_recording(path)


def test_an_encoding_that_is_not_known_is_named(tmp_path: Path) -> None:
    path = encode.bag(tmp_path / 'bag', ('/e', PACKET, encode.packet(SIZE, 'evt9', b'123')))
    with pytest.raises(MediaError, match="encoded as 'evt9'"):
        read(open_recording(path))


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    (tmp_path / 'a.mp4').write_bytes(b'')
    with pytest.raises(MediaError, match=r'no recording of events: expected a Prophesee \.raw'):
        open_recording(tmp_path / 'a.mp4')
    with pytest.raises(MediaError, match='does not exist'):
        open_recording(tmp_path / 'b.raw')


def test_a_recording_by_windows(tmp_path: Path) -> None:
    path = encode.raw_file(tmp_path / 'a.raw', encode.evt2(EVENTS), 'evt 2.0')
    with open_recording(path, SIZE) as recording:
        found = list(recording.windows(Windows(SIZE, duration_ns=20_000_000)))
    assert [len(window.events) for window in found] == [3, 1]


@pytest.mark.proves('event-package')
@pytest.mark.parametrize(('name', 'module', 'needed'), [
    ('a.h5', 'h5py', 'hdf5_file'), ('a.aedat4', 'dv_processing', 'aedat_file')])
def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            name: str, module: str, needed: str) -> None:
    (tmp_path / name).write_bytes(b'')
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f'asyncmde_ros.events.{needed}', raising=False)
    with pytest.raises(MediaError, match='need.*: pip install "'):
        open_recording(tmp_path / name)


def test_dsecs_own_compression_is_undone(tmp_path: Path) -> None:
    plugin = pytest.importorskip('hdf5plugin', reason='left out: needs hdf5plugin')
    path = hdf5(tmp_path / 'events.h5', chunks=(2,), **plugin.Blosc(cname='zstd'))
    assert read(open_recording(path)) == EVENTS
