"""Tables mark what is best and mix nothing; the report is whole, strict and needs no network."""

import csv
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.evaluation import report
from asyncmde_ros.lab.evaluation.glossary import COLUMN_OF, COLUMNS
from asyncmde_ros.lab.evaluation.plots import SheetFrame, contact_sheet
from asyncmde_ros.lab.evaluation.record import FrameSeries, LagScores, Record
from asyncmde_ros.lab.evaluation.table import format_table, tables

FRAMES = 12
META = {'command': 'asyncmde eval kitchen --out out', 'commit': 'abc1234', 'date': '2026-01-01',
        'hardware': 'two cores', 'versions': {'numpy': '2.0'}, 'sizes': [252, 336]}
SECTIONS = ('Results', "AbsRel over the teacher's", 'Error against lag', 'Error frame by frame',
            'Depth over time', 'Contact sheets', 'Glossary')


def record(sequence: str = 'kitchen', row: str = 'async', schedule: str = 'fixed:4',
           alignment: str = 'frame', absrel: float | None = 0.1, **more: Any) -> Record:
    """Return a record with AbsRel alone, and lags and frames that go with it."""
    interval = int(schedule.partition(':')[2] or 1)
    lags: list[int | None] = [frame % interval for frame in range(FRAMES)]
    return Record(**{
        'sequence': sequence, 'row': row, 'schedule': schedule, 'alignment': alignment,
        'frames': FRAMES, 'reference': 'truth', 'absrel': absrel,
        'per_lag': [LagScores(lag, lags.count(lag), absrel, None, None)
                    for lag in range(interval)],
        'per_frame': FrameSeries([absrel] * FRAMES, lags), **more})


def both_alignments(sequence: str = 'kitchen') -> list[Record]:
    return [record(sequence, row, schedule, alignment, absrel)
            for alignment in ('frame', 'sequence')
            for row, schedule, absrel in (('teacher', 'every', 0.1), ('hold', 'fixed:4', 0.15),
                                          ('async', 'fixed:4', 0.11))]


def samples(rng: np.random.Generator) -> list[SheetFrame]:
    """Two frames; the second lacks all that may be missing."""
    depth = rng.uniform(1, 5, (12, 16)).astype(np.float32)
    depth[0], depth[1], depth[2] = 0, np.nan, np.inf
    full = SheetFrame(3, 3, rng.integers(0, 256, (24, 32, 3), np.uint8), depth, depth, depth,
                      rng.uniform(0, 1, (6, 8)).astype(np.float32))
    return [full, replace(full, frame=4, lag=None, truth=None, trust=None)]


def write(out: Path, records: list[Record], rng: np.random.Generator,
          sequence: str = 'kitchen') -> str:
    """Write a report with pictures of every kind; return its page."""
    strip = rng.uniform(0.2, 1, (FRAMES, 12)).astype(np.float32)
    strip[2] = np.nan
    report.write(out, records, META, {sequence: samples(rng)},
                 {(sequence, 'teacher'): strip, (sequence, 'async'): strip})
    return (out / report.PAGE).read_text(encoding='utf-8')


def cells(table: str, *names: str) -> list[str]:
    """Return the cells of the first line that starts with ``names``."""
    return next(line.split()[len(names):] for line in table.splitlines()
                if line.split()[:len(names)] == list(names))


def test_the_best_of_a_sequence_and_schedule_is_marked() -> None:
    table = format_table([
        record(row='hold', absrel=0.2, delta1=0.8), record(row='async', absrel=0.1, delta1=0.9),
        record(row='hold', schedule='fixed:9', absrel=0.4, delta1=0.7),
        record(row='async', schedule='fixed:9', absrel=0.3, delta1=0.6)])
    assert cells(table, 'kitchen', 'fixed:4', 'hold') == ['12', '0.2000', '0.800']
    assert cells(table, 'kitchen', 'fixed:4', 'async') == ['12', '0.1000*', '0.900*']
    assert cells(table, 'kitchen', 'fixed:9', 'hold') == ['12', '0.4000', '0.700*']
    assert cells(table, 'kitchen', 'fixed:9', 'async') == ['12', '0.3000*', '0.600']


def test_values_that_print_alike_are_equally_good_and_a_lone_one_is_not_best() -> None:
    table = format_table([record(row='hold', absrel=0.10001), record(absrel=0.1),
                          record('tartanair', absrel=0.2)])
    assert table.count('0.1000*') == 2
    assert '0.2000*' not in table


@pytest.mark.parametrize('missing', [None, math.nan, math.inf])
def test_what_was_not_measured_is_a_dash_and_never_the_best(missing: float | None) -> None:
    table = format_table([record(row='hold', absrel=missing), record(absrel=0.1)], ['absrel'])
    assert cells(table, 'kitchen', 'fixed:4', 'hold') == ['-']
    assert cells(table, 'kitchen', 'fixed:4', 'async') == ['0.1000']


def test_a_column_without_good_values_marks_none() -> None:
    table = format_table([record(row='hold', coverage=0.5), record(), record(row='moved',
                                                                             coverage=0.9)],
                         ['coverage'])
    assert '0.900' in table and '*' not in table.partition('\n')[2]


def test_the_best_edge_is_as_steep_as_the_truth_not_steeper() -> None:
    table = format_table([record(row='hold', edge_sharpness=1.4), record(edge_sharpness=0.9)],
                         ['edge_sharpness'])
    assert '0.900*' in table and '1.400*' not in table


def test_alignments_stand_in_blocks_of_their_own() -> None:
    table = format_table([record(row='hold', absrel=0.2), record(absrel=0.1),
                          record(row='hold', alignment='sequence', absrel=0.3),
                          record(alignment='sequence', absrel=0.4)])
    of_frame, of_sequence = table.split('\n\n')
    assert of_frame.startswith('frame: ') and of_sequence.startswith('sequence: ')
    assert '0.1000*' in of_frame and '0.3000' not in of_frame
    assert '0.3000*' in of_sequence and '0.1000' not in of_sequence


def test_rows_that_are_compared_stand_together_whatever_their_order() -> None:
    table = format_table([record(row='hold'), record('tartanair', row='hold'),
                          record(row='hold', schedule='fixed:9'), record()], ['absrel'])
    starts = [line.split()[:3] for line in table.splitlines()[3:]]
    assert starts == [['kitchen', 'fixed:4', 'hold'], ['kitchen', 'fixed:4', 'async'],
                      ['kitchen', 'fixed:9', 'hold'], ['tartanair', 'fixed:4', 'hold']]


def test_columns_are_aligned() -> None:
    lines = format_table([record(absrel=0.1, rmse=12.5), record(row='hold', absrel=3.25)],
                         ['absrel', 'rmse']).splitlines()
    assert lines[1:] == [
        'sequence  schedule  row    AbsRel     RMSE',
        '--------  --------  -----  -------  -------',
        'kitchen   fixed:4   async  0.1000*  12.500',
        'kitchen   fixed:4   hold   3.2500        -']


def test_columns_without_a_value_are_left_out_unless_asked_for() -> None:
    assert 'TAE' not in format_table([record()])
    assert 'TAE' in format_table([record()], ['tae'])


def test_an_unknown_column_and_no_records() -> None:
    with pytest.raises(ValueError, match='no column speed; there are frames'):
        format_table([record()], ['speed'])
    assert format_table([]) == 'no results'


def test_ratios_to_the_teacher_and_their_mean() -> None:
    records = [record('kitchen', 'teacher', 'every', absrel=0.1),
               record('tartanair', 'teacher', 'every', absrel=0.2),
               record('kitchen', absrel=0.11), record('tartanair', absrel=0.26)]
    ratios = ratios_of(records)
    assert list(ratios.index) == [('fixed:4', 'async')]
    assert list(ratios.columns) == ['kitchen', 'tartanair', 'mean']
    assert list(ratios.iloc[0]) == pytest.approx([1.1, 1.3, 1.2])
    assert cells(format_table(records), 'fixed:4', 'async') == ['1.100', '1.300', '1.200']


def ratios_of(records: list[Record]) -> Any:
    table, = tables(records)
    return table.ratios()


def test_a_mean_over_fewer_sequences_than_the_others_have_is_none() -> None:
    ratios = ratios_of([record('kitchen', 'teacher', 'every'),
                        record('tartanair', 'teacher', 'every'), record('kitchen', absrel=0.11)])
    assert list(ratios.iloc[0]) == pytest.approx([1.1, math.nan, math.nan], nan_ok=True)


def test_ratios_keep_the_order_of_schedules_and_rows() -> None:
    ratios = ratios_of([record(row='teacher', schedule='every'), record(row='hold'), record(),
                        record(schedule='fixed:2', absrel=None)])
    assert list(ratios.index) == [('fixed:4', 'hold'), ('fixed:4', 'async'), ('fixed:2', 'async')]


@pytest.mark.parametrize('of_teacher', [0.0, None, math.nan])
def test_a_teacher_without_an_error_gives_no_ratio(of_teacher: float | None) -> None:
    assert ratios_of([record(row='teacher', schedule='every', absrel=of_teacher),
                      record()]).empty


def test_a_sequence_may_be_called_mean() -> None:
    records = [record('mean', 'teacher', 'every', absrel=0.1), record('mean', absrel=0.2)]
    assert cells(format_table(records), 'fixed:4', 'async') == ['2.000', '2.000']


def test_results_are_a_list_of_records_in_strict_json(
        tmp_path: Path, rng: np.random.Generator) -> None:
    odd = record(absrel=math.nan, rmse=math.inf, delta1=np.float32(0.5), frames=np.int64(12))
    odd.per_frame.absrel[3] = -math.inf
    write(tmp_path, [odd, record()], rng)
    first, second = json.loads((tmp_path / 'results.json').read_text(), parse_constant=pytest.fail)
    assert first['absrel'] is None and first['rmse'] is None
    assert first['delta1'] == 0.5 and first['frames'] == 12
    assert first['per_frame']['absrel'] == [None] * FRAMES
    assert Record.from_json(second) == record()


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
def test_anything_becomes_json_that_reads_back_the_same(value: Any) -> None:
    clean = report.strict(value)
    assert json.loads(json.dumps(clean, allow_nan=False)) == clean


def test_arrays_and_paths_become_json() -> None:
    assert report.strict({'a': np.array([1, np.nan]), 1: (Path('x'),)}) == {
        'a': [1, None], '1': ['x']}


def test_meta_is_written_as_given(tmp_path: Path, rng: np.random.Generator) -> None:
    write(tmp_path, [record()], rng)
    assert json.loads((tmp_path / 'meta.json').read_text()) == META


def test_csv_has_a_line_for_each_record(tmp_path: Path, rng: np.random.Generator) -> None:
    odd = record('a,"b"', rmse=math.nan, reference='teacher')
    write(tmp_path, [odd, record(absrel=0.25)], rng)
    with (tmp_path / 'results.csv').open(newline='') as stream:
        reader = csv.DictReader(stream)
        first, second = reader
    assert reader.fieldnames == ['sequence', 'row', 'schedule', 'alignment', *COLUMN_OF,
                                 'reference', 'gap_recovery_fast', 'scale']
    assert (first['sequence'], first['rmse'], first['reference']) == ('a,"b"', '', 'teacher')
    assert (second['absrel'], second['gap_recovery_fast']) == ('0.25', '')


def test_csv_has_a_line_for_each_frame(tmp_path: Path, rng: np.random.Generator) -> None:
    one = record(per_frame=FrameSeries([0.1, None], [None, 1]))
    write(tmp_path, [one, record(per_frame=FrameSeries([], []))], rng)
    assert (tmp_path / 'per_frame.csv').read_text().splitlines() == [
        'sequence,row,schedule,alignment,frame,lag,absrel,scale',
        'kitchen,async,fixed:4,frame,0,,0.1,', 'kitchen,async,fixed:4,frame,1,1,,']


class Page(HTMLParser):
    """What a browser would see: headings, words, tags that are open, and what is loaded."""

    VOID = ('meta', 'img')

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.words = ''
        self.tags: set[str] = set()
        self.loaded: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [value or '' for name, value in attrs
                        if name in ('src', 'srcset', 'href', 'data', 'poster', 'style')]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == 'h2':
            self.headings.append(data)
        self.words += data


def test_the_page_has_every_section_and_every_picture(
        tmp_path: Path, rng: np.random.Generator) -> None:
    page = Page(write(tmp_path, both_alignments(), rng))
    assert tuple(page.headings) == SECTIONS
    for word in ('abc1234', 'two cores', META['command'], 'versions.numpy', '252, 336'):
        assert word in page.words
    for column in COLUMNS:
        assert column.meaning in page.words
    # Lag and frames for each alignment, the teacher's own frames for each, a strip, a sheet.
    files = sorted(tmp_path.glob('*.png'))
    assert [path.name for path in files] == [
        'frames_frame_every.png', 'frames_frame_fixed-4.png', 'frames_sequence_every.png',
        'frames_sequence_fixed-4.png', 'lag_frame_fixed-4.png',
        'lag_sequence_fixed-4.png', 'samples_kitchen.png', 'strip_kitchen.png']
    assert all(cv2.imread(str(path)).std() > 1 for path in files)
    assert sum(item.startswith('data:image/png;base64,') for item in page.loaded) == len(files)


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path, rng: np.random.Generator) -> None:
    text = write(tmp_path, both_alignments(), rng)
    page = Page(text)
    assert all(item.startswith(('data:image/png;base64,', '#')) for item in page.loaded)
    assert not page.tags & {'script', 'link', 'iframe', 'object', 'embed', 'base'}
    assert not re.search(r'https?:|url\(|@import', text)
    assert 'prefers-color-scheme: dark' in text


def test_names_are_text_and_never_markup(tmp_path: Path, rng: np.random.Generator) -> None:
    evil = '<script>alert("1")</script>&'
    records = [record(evil, 'teacher', 'every'), record(evil, f'row{evil}', 'fixed:4'),
               record(evil, alignment=evil)]
    page = Page(write(tmp_path, records, rng, evil))
    assert 'script' not in page.tags
    assert evil in page.words and f'row{evil}' in page.words
    assert all(path.parent == tmp_path for path in tmp_path.rglob('*'))


def test_sequences_whose_file_names_would_clash_keep_their_pictures(
        tmp_path: Path, rng: np.random.Generator) -> None:
    shown = samples(rng)
    report.write(tmp_path, [], META, {'a/b': shown[:1], 'a b': shown}, {})
    assert sorted(path.name for path in tmp_path.glob('*.png')) == [
        'samples_a-b.png', 'samples_a-b_2.png']


def test_a_report_of_nothing_but_gaps(tmp_path: Path) -> None:
    empty = record(absrel=None, frames=0, per_lag=[], per_frame=FrameSeries([], []))
    unknown = record(row='hold', absrel=None,
                     per_frame=FrameSeries([None] * FRAMES, [None] * FRAMES))
    nothing = np.full((8, 8), np.nan, np.float32)
    blank = SheetFrame(0, None, np.zeros((8, 8, 3), np.uint8), None, nothing, nothing, None)
    report.write(tmp_path, [empty, unknown], dict.fromkeys(META), {'kitchen': [blank], 'x': []},
                 {('kitchen', 'async'): nothing})
    page = Page((tmp_path / report.PAGE).read_text(encoding='utf-8'))
    assert tuple(page.headings) == SECTIONS
    assert 'Not measured in this run.' in page.words


def test_a_report_of_no_records(tmp_path: Path) -> None:
    report.write(tmp_path / 'new' / 'folder', [], {}, {}, {})
    assert json.loads((tmp_path / 'new/folder/results.json').read_text()) == []
    assert tuple(Page((tmp_path / 'new/folder/report.html').read_text()).headings) == SECTIONS


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ('one', 'two'):
        write(tmp_path / folder, both_alignments(), np.random.default_rng(0))
    for path in (tmp_path / 'one').iterdir():
        assert path.read_bytes() == (tmp_path / 'two' / path.name).read_bytes(), path.name


def test_one_sample_has_one_colour_range() -> None:
    """The same depth has the same colour as truth, teacher's and ours; half of it has not."""
    flat = np.full((24, 32), 2, np.float32)
    flat[:, 16:] = 4
    sample = SheetFrame(0, 0, np.zeros((24, 32, 3), np.uint8), flat, flat, flat, None)
    same = _colors(contact_sheet([sample]))
    other = _colors(contact_sheet([replace(sample, ours=flat * np.float32(1.5))]))
    assert len(other) > len(same)


def _colors(png: bytes) -> set[tuple[int, ...]]:
    """Return the colours that fill tiles: those of at least a thousand pixels."""
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    found, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(map(int, color)) for color in found[counts >= 1000]}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(AsyncMDEError, match='file/results.json cannot be written'):
        report.write(tmp_path / 'file', [], {}, {}, {})


def test_without_matplotlib_the_numbers_are_kept_and_the_error_names_the_extra(
        tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    with pytest.raises(AsyncMDEError, match=r'matplotlib: pip install "\.\[eval\]"'):
        write(tmp_path, both_alignments(), rng)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'meta.json', 'per_frame.csv', 'results.csv', 'results.json']


@pytest.mark.parametrize('library', ['pandas', 'jinja2'])
def test_a_missing_library_of_reports_is_named_with_the_extra(
        library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(AsyncMDEError, match=library + r': pip install "\.\[eval\]"'):
        report.require_libraries()


def test_the_numbers_of_other_commands_need_no_library_of_reports() -> None:
    done = subprocess.run(
        [sys.executable, '-c', 'import sys; from asyncmde_ros.cli.main import build_parser\n'
         'build_parser()\nfrom asyncmde_ros.lab.evaluation import runner\n'
         'assert not {"pandas", "jinja2"} & set(sys.modules)'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
