"""The soak: its bounds find growth and let noise pass, and a short one of the real node holds."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import shared_memory
from support.repository import ROOT

from asyncmde_ros.cli import soak as soak_command
from asyncmde_ros.lab.bench.statistics import Summary
from asyncmde_ros.lab.soak import samples
from asyncmde_ros.lab.soak.bounds import (
    EXIT_S,
    FD_GROWTH,
    Incident,
    SoakEvidence,
    decide,
    growth,
)
from asyncmde_ros.lab.soak.ledger import KEPT_S, Ledger
from asyncmde_ros.lab.soak.picture import draw
from asyncmde_ros.lab.soak.samples import Sample
from asyncmde_ros.lab.soak.schedule import CALM_S, FAULT_S, SIZES, VARIANTS, Kind, plans
from asyncmde_ros.lab.soak.summary import table

MINUTES = 1.0
TIMEOUT_S = 600
"""For loading and one minute; every wait inside has a limit of its own."""

TIMED = {'latency, p99 [ms]', 'end by SIGINT'}
"""Bounds that other work on the machine may break; each has a test of its own with given times."""

QUEUE_MS = 10_000.0
"""A queue that grows by a third of the camera's images is twice as long after a minute."""

SIZE = '126x168'
RSS_MIB = 600.0


def sample(seconds: float, fault: str = '', rss_mib: float = RSS_MIB, threads: int = 20,
           fds: int = 25) -> Sample:
    times = Summary(30, 40.0, 30.0, 40.0, 50.0, 60.0, 70.0)
    return Sample(seconds, fault, rss_mib, threads, fds, 0, 0, times, None, None)


def slow(seconds: float, p99_ms: float | None) -> Sample:
    taken = sample(seconds)
    assert taken.latency_ms is not None
    return replace(taken, latency_ms=None if p99_ms is None else replace(
        taken.latency_ms, p99=p99_ms))


def series(rss_mib: Callable[[float], float], minutes: float = 3.0) -> list[Sample]:
    return [sample(float(second), rss_mib=rss_mib(second)) for second in range(int(60 * minutes))]


def healthy(**changes: object) -> SoakEvidence:
    incidents = [Incident(kind, 'any', 10.0, 0.2) for kind in Kind]
    return replace(SoakEvidence(series(lambda _: RSS_MIB), incidents, 0, 0, 0, 0, 0, '', 0, 0.4),
                   **changes)


def broken(evidence: SoakEvidence) -> list[str]:
    return [bound.name for bound in decide(evidence) if not bound.held]


def test_a_healthy_run_holds_every_bound() -> None:
    assert broken(healthy()) == []


@pytest.mark.parametrize('changes, name', [
    ({'foreign': 1}, 'depth with a stamp that no image had'),
    ({'of_bad': 1}, 'depth with the stamp of a bad image'),
    ({'internal_drops': 1}, 'images lost through a fault of ours'),
    ({'slow_failures': 1}, 'refreshes that failed'),
    ({'tracebacks': 1}, 'tracebacks in the log'),
    ({'death': 'ended with status -11'}, 'the node lives to the end'),
    ({'exit_status': 1}, 'end by SIGINT'),
    ({'exit_status': None, 'exit_s': None}, 'end by SIGINT'),
    ({'exit_s': 10 * EXIT_S}, 'end by SIGINT'),
    ({'interrupted': True}, 'not interrupted'),
    ({'samples': []}, 'resident memory [MiB]')])
def test_each_bound_can_break(changes: dict[str, object], name: str) -> None:
    assert name in broken(healthy(**changes))


@pytest.mark.parametrize('incident', [Incident(Kind.CLOCK, 'back', 5.0, None),
                                      Incident(Kind.PARAMETERS, 'x=1', 5.0, 0.1, 'refused')])
def test_one_fault_without_recovery_or_with_a_complaint_breaks_the_run(incident: Incident
                                                                       ) -> None:
    evidence = healthy()
    evidence = replace(evidence, incidents=[*evidence.incidents, incident])
    assert broken(evidence) == ['faults not recovered from']
    text = table(decide(evidence), evidence.incidents)
    assert 'BROKEN' in text and incident.variant in text


def test_a_kind_of_fault_that_never_came_is_no_success() -> None:
    evidence = healthy()
    assert broken(replace(evidence, incidents=evidence.incidents[1:])) == [
        'kinds of fault left out']


# Growth

@pytest.mark.parametrize('rss_mib', [
    lambda second: RSS_MIB + second,                         # 1 MiB/s: one VGA image a second
    lambda second: RSS_MIB + 60 * (second // 30),            # in steps
    lambda second: RSS_MIB + second + random.Random(second).uniform(-40, 40)],
    ids=['steadily', 'in steps', 'amid noise'])
def test_growth_is_found(rss_mib: Callable[[float], float]) -> None:
    assert broken(healthy(samples=series(rss_mib))) == ['resident memory [MiB]']


@pytest.mark.parametrize('rss_mib', [
    lambda second: RSS_MIB + random.Random(second).uniform(-60, 60),
    lambda second: RSS_MIB + 400 * (second % 20 == 7),       # engines that are built anew
    lambda second: RSS_MIB + 8 * min(second, 40),            # warming up
    lambda second: RSS_MIB + 20 * (second > 120),            # an arena more
    lambda second: RSS_MIB - second],
    ids=['noise', 'peaks', 'warming up', 'one small step', 'shrinking'])
def test_noise_is_no_growth(rss_mib: Callable[[float], float]) -> None:
    assert broken(healthy(samples=series(rss_mib))) == []


def test_latency_that_grows_is_found_and_noise_is_not() -> None:
    queueing = [slow(float(second), 60.0 + 3.3 * second) for second in range(180)]
    assert broken(healthy(samples=queueing)) == ['latency, p99 [ms]']
    never_answered = [slow(float(second), None if second > 100 else 60.0) for second in range(180)]
    assert broken(healthy(samples=never_answered)) == ['latency, p99 [ms]']
    noise = [slow(float(second), 300.0 if second % 3 == 0 else None if second % 7 == 0 else 60.0)
             for second in range(180)]
    assert broken(healthy(samples=noise)) == []


def test_a_file_left_open_for_each_subscriber_is_found() -> None:
    leaking = [sample(float(second), fds=25 + second // 15) for second in range(180)]
    assert broken(healthy(samples=leaking)) == ['open files']
    busy = [sample(float(second), fds=25 + FD_GROWTH * (second % 3)) for second in range(180)]
    assert broken(healthy(samples=busy)) == []


def test_a_thread_left_for_each_build_is_found() -> None:
    leaking = [sample(float(second), threads=20 + second // 20) for second in range(180)]
    assert broken(healthy(samples=leaking)) == ['threads']


def test_what_is_sampled_during_a_fault_counts_only_where_nothing_else_is_there() -> None:
    half = [sample(float(second), 'resolution' if second % 2 else '',
                   RSS_MIB + 500 * (second % 2) * (second > 100)) for second in range(180)]
    assert broken(healthy(samples=half)) == []
    never_calm = [replace(taken, fault='burst', rss_mib=RSS_MIB + taken.seconds)
                  for taken in half]
    assert broken(healthy(samples=never_calm)) == ['resident memory [MiB]']


@given(st.lists(st.floats(0, 1e6), max_size=40))
def test_growth_never_fails(times: list[float]) -> None:
    found = growth([sample(seconds) for seconds in sorted(times)], lambda taken: taken.rss_mib)
    assert not (found.before and found.after) or found.before == found.after == RSS_MIB


# The ledger

def test_depth_is_matched_with_its_image() -> None:
    ledger = Ledger()
    ledger.show(10, 1.0, good=True)
    ledger.show(20, 1.1, good=False)
    ledger.answer(10, 1.25)
    ledger.answer(20, 1.25)
    ledger.answer(30, 1.25)
    assert (ledger.shown, ledger.answered, ledger.of_bad, ledger.foreign) == (1, 1, 1, 1)
    assert ledger.take_latencies() == [pytest.approx(250.0)] and ledger.take_latencies() == []


def test_only_images_shown_since_the_mark_are_fresh() -> None:
    ledger = Ledger()
    ledger.show(10, 1.0, good=True)
    ledger.mark()
    ledger.answer(10, 1.1)
    assert ledger.fresh == 0
    ledger.show(11, 1.2, good=True)
    ledger.answer(11, 1.3)
    assert ledger.fresh == 1


def test_the_ledger_forgets() -> None:
    ledger = Ledger()
    for second in range(1000):
        ledger.show(second, float(second), good=True)
        ledger.show(0, float(second), good=True)  # a clock that stands still
    assert len(ledger) <= KEPT_S + 2
    ledger.answer(1, 1000.0)
    assert ledger.foreign == 1
    ledger.answer(0, 1000.0)
    assert ledger.answered == 1


# The schedule

def test_a_seed_is_a_schedule() -> None:
    first, again, other = (list(itertools.islice(plans(seed), 50)) for seed in (1, 1, 2))
    assert first == again != other


def test_sizes_come_first_then_every_kind_in_each_round_and_every_variant_in_its_turn() -> None:
    seen = list(itertools.islice(plans(5), len(SIZES) + len(Kind) * 40))
    assert [plan.variant for plan in seen[:len(SIZES)]] == list(SIZES)
    rest = seen[len(SIZES):]
    for start in range(0, len(rest), len(Kind)):
        assert {plan.kind for plan in rest[start:start + len(Kind)]} == set(Kind)
    for kind, variants in VARIANTS.items():
        drawn = [plan.variant for plan in rest if plan.kind is kind]
        assert set(drawn[:len(variants)]) == set(variants)
    for plan in seen:
        assert CALM_S[0] <= plan.calm_s <= CALM_S[1] and FAULT_S[0] <= plan.fault_s <= FAULT_S[1]


def test_a_process_is_sampled_and_one_that_is_gone_is_not() -> None:
    taken = samples.take(os.getpid(), 1.0, 'burst', Ledger(), {samples.DROPPED: '3'})
    assert taken is not None and taken.rss_mib > 10 and taken.threads >= 1 and taken.fds >= 3
    assert (taken.fault, taken.dropped, taken.warped) == ('burst', 3, 0)
    gone = subprocess.Popen([sys.executable, '-c', ''])
    gone.wait()
    assert samples.take(gone.pid, 1.0, '', Ledger(), {}) is None


# The report

def test_the_picture_shows_a_run_and_an_empty_one() -> None:
    pytest.importorskip('matplotlib', reason='left out: matplotlib is not installed')
    incidents = [Incident(Kind.CLOCK, 'back', 60.0, 0.3), Incident(Kind.PAUSE, '1 s', 90.0, None)]
    png = draw(healthy().samples, incidents)
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[0] > 500 and image.std() > 10
    assert png != draw(healthy().samples, incidents[:1]), 'what did not recover is to be seen'
    assert draw([], [])


def test_a_report_is_json_with_a_line_an_item() -> None:
    report = {'meta': {'a': [1, 2]}, 'samples': [{'x': 1 / 3, 'y': None}, {'x': 2.0, 'y': 1}],
              'log_tail': ['one "word"', 'two'], 'none': []}
    text = soak_command.json_lines(report).decode()
    assert json.loads(text) == report | {'samples': [{'x': 0.33, 'y': None}, {'x': 2.0, 'y': 1}]}
    assert '{"x": 0.33, "y": null},\n' in text


@pytest.mark.parametrize('minutes, period_s', [(1, 1.0), (10, 1.0), (60, 6.0), (600, 60.0)])
def test_a_long_run_is_sampled_less_often(minutes: float, period_s: float) -> None:
    assert samples.period_s(60 * minutes) == period_s


def test_the_committed_hour_held_every_bound_and_is_what_the_page_tells() -> None:
    docs = ROOT / 'docs'
    report = json.loads((docs / 'results' / 'soak.json').read_text(encoding='utf-8'))
    assert report['meta']['options']['minutes'] >= 60
    assert all(bound['held'] for bound in report['bounds'])
    assert {fault['kind'] for fault in report['faults']} == {kind.value for kind in Kind}
    page = (docs / 'reliability.md').read_text(encoding='utf-8')
    assert f'{len(report["faults"])} faults' in page
    for bound in report['bounds'][:4]:
        before, after = bound['seen'].split(' to ')
        assert f'| {before} | {after} |' in page, bound['name']


# The real thing

@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.skipif(find_spec('rclpy') is None, reason='left out: needs ROS 2')
def test_a_minute_of_faults_holds_every_bound(tmp_path: Path, foundation_path: Path) -> None:
    report = tmp_path / 'soak.json'
    done = subprocess.run(
        [sys.executable, '-m', 'asyncmde_ros.cli', 'soak', '--minutes', str(MINUTES),
         '--report', str(report), '--seed', '3', '--size', SIZE],
        capture_output=True, text=True, timeout=TIMEOUT_S)
    written = json.loads(report.read_text(encoding='utf-8'))
    bounds = {bound['name']: bound for bound in written['bounds']}
    failed = {name for name, bound in bounds.items() if not bound['held']}
    assert failed <= TIMED, done.stdout + done.stderr
    assert done.returncode == (1 if failed else 0)
    assert bounds['end by SIGINT']['seen'].startswith('status 0,')
    seconds = [sample['seconds'] for sample in written['samples']]
    late = [sample['latency_ms']['p50'] for sample in written['samples']
            if sample['latency_ms'] and sample['seconds'] > seconds[-1] - MINUTES * 60 / 4]
    assert np.median(late) < QUEUE_MS
    assert {fault['kind'] for fault in written['faults']} == {kind.value for kind in Kind}
    assert written['samples'][-1]['seconds'] >= 60 * MINUTES
    assert written['samples'][-1]['answered'] > 0
    assert written['meta']['options'] == {'minutes': MINUTES, 'seed': 3, 'size': SIZE}


@contextmanager
def started(report: Path, log: Path) -> Iterator['subprocess.Popen[bytes]']:
    """Give the block a long soak whose node has answered."""
    with log.open('wb') as output:
        soak = subprocess.Popen(
            [sys.executable, '-m', 'asyncmde_ros.cli', 'soak', '--minutes', '9', '--report',
             str(report), '--size', SIZE], stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while 'soak' not in log.read_text():  # the bar, once the node has answered
            assert soak.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield soak
    finally:
        soak.kill()
        soak.wait()


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.skipif(find_spec('rclpy') is None, reason='left out: needs ROS 2')
def test_a_node_that_dies_breaks_the_run(tmp_path: Path, foundation_path: Path) -> None:
    report, log = tmp_path / 'soak.json', tmp_path / 'log'
    with started(report, log) as soak:
        (node,) = Path(f'/proc/{soak.pid}/task/{soak.pid}/children').read_text().split()
        left = shared_memory.segments(int(node))
        os.kill(int(node), signal.SIGKILL)
        assert soak.wait(TIMEOUT_S) == 1
    shared_memory.remove(left)
    assert 'BROKEN  the node lives to the end' in log.read_text()
    bounds = {bound['name']: bound for bound in json.loads(report.read_text())['bounds']}
    assert bounds['the node lives to the end']['seen'] == 'ended with status -9'
    assert not bounds['end by SIGINT']['held']


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.skipif(find_spec('rclpy') is None, reason='left out: needs ROS 2')
def test_ctrl_c_ends_the_run_and_leaves_a_report(tmp_path: Path, foundation_path: Path) -> None:
    report, log = tmp_path / 'soak.json', tmp_path / 'log'
    with started(report, log) as soak:
        soak.send_signal(signal.SIGINT)
        assert soak.wait(TIMEOUT_S) == 1
    assert 'BROKEN  not interrupted' in log.read_text()
    bounds = {bound['name']: bound for bound in json.loads(report.read_text())['bounds']}
    assert bounds['the node lives to the end']['held']
    assert bounds['end by SIGINT']['seen'].startswith('status 0,')


def test_a_report_that_cannot_be_written_is_one_line_at_once(tmp_path: Path,
                                                             foundation_path: Path) -> None:
    pytest.importorskip('rclpy', reason='left out: needs ROS 2')
    (tmp_path / 'file').write_text('')
    done = subprocess.run(
        [sys.executable, '-m', 'asyncmde_ros.cli', 'soak', '--minutes', '1', '--report',
         str(tmp_path / 'file' / 'soak.json')], capture_output=True, text=True,
        timeout=TIMEOUT_S)
    assert done.returncode == 1 and 'cannot write to' in done.stderr
    assert 'Traceback' not in done.stderr
