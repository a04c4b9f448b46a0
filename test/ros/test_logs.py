"""The core's log messages, as the node's."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import logging
from collections.abc import Iterator

from asyncmde_ros.ros import logs
from asyncmde_ros.ros.logs import BURST, CORE, forward_logs


class Target:
    """Stands for a ROS logger."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __getattr__(self, level: str):  # type: ignore[no-untyped-def]
        return lambda text: self.lines.append((level, text))


@pytest.fixture
def target() -> Iterator[Target]:
    core = logging.getLogger(CORE)
    before = core.handlers, core.level, core.propagate
    target = Target()
    forward_logs(target)  # type: ignore[arg-type]
    yield target
    core.handlers, core.propagate = before[0], before[2]
    core.setLevel(before[1])


def test_levels_are_kept(target: Target) -> None:
    logger = logging.getLogger(f'{CORE}.pipeline.somewhere')
    for level in ('debug', 'info', 'warning', 'error'):
        getattr(logger, level)('%s is said', level)
    assert target.lines == [(level, f'{level} is said')
                            for level in ('debug', 'info', 'warning', 'error')]


@pytest.mark.proves('every-frame')
def test_what_comes_with_every_frame_is_said_a_few_times_then_once_a_second(
        target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(logs.time, 'monotonic', lambda: now[0])
    logger = logging.getLogger(f'{CORE}.pipeline.somewhere')
    for frame in range(300):
        now[0] += 1 / 30
        logger.info('frame %d is odd', frame)
        if frame == 200:
            logger.info('another line of the program is not held up')
    said = [text for _, text in target.lines]
    assert said[:BURST] == [f'frame {frame} is odd' for frame in range(BURST)]
    assert len(said) - 1 == pytest.approx(BURST + 10, abs=1)
    assert 'another line of the program is not held up' in said
