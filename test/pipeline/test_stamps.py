"""Jumps between frames, and how old they make a memory."""

import logging

import pytest

from asyncmde_ros.pipeline.feature_cache import Keyframe
from asyncmde_ros.pipeline.stamps import MAX_GAP_NS, SENTENCES, Capture, Jump, MemoryAge, jump
from asyncmde_ros.pipeline.upright import Rotation

SECOND = 10**9
BEFORE = Capture(50 * SECOND, (480, 640), Rotation.NONE)


@pytest.mark.parametrize(('before', 'now', 'expected'), [
    (None, BEFORE, None),
    (BEFORE, BEFORE, None),
    (BEFORE, BEFORE._replace(stamp_ns=BEFORE.stamp_ns + 1), None),
    (BEFORE, BEFORE._replace(stamp_ns=BEFORE.stamp_ns - 1), Jump.BACK_IN_TIME),
    (BEFORE, BEFORE._replace(stamp_ns=0), Jump.BACK_IN_TIME),
    (BEFORE, BEFORE._replace(stamp_ns=BEFORE.stamp_ns + MAX_GAP_NS), None),
    (BEFORE, BEFORE._replace(stamp_ns=BEFORE.stamp_ns + MAX_GAP_NS + 1), Jump.PAUSED),
    (BEFORE, BEFORE._replace(image=(640, 480)), Jump.RESIZED),
    (BEFORE, BEFORE._replace(rotation=Rotation.HALF), Jump.TURNED),
    (BEFORE, Capture(0, (240, 320), Rotation.HALF), Jump.BACK_IN_TIME)])
def test_a_frame_that_does_not_go_on_from_the_one_before_says_why(
        before: Capture | None, now: Capture, expected: Jump | None) -> None:
    assert jump(before, now) is expected


def test_every_jump_has_its_sentence() -> None:
    assert set(SENTENCES) == set(Jump)


def keyframe(generation: int, stamp_s: float = 0.0) -> Keyframe:
    return Keyframe(1, round(stamp_s * SECOND), 0, generation, 10.0)


@pytest.mark.parametrize(('steps', 'age_s'), [
    # Frames as (stamp, clock) [s] after the keyframe of stamp 10 s came into use at clock 0.
    ([(10.5, 0.0)], 0.5),
    ([(10.5, 99.0)], 0.5),
    ([(10.5, 0.0), (12.0, 99.0)], 2.0),
    ([(10.5, 0.0), (10.5, 0.2)], 0.5),
    ([(10.5, 0.0), (10.5, 7.0)], 7.0),
    ([(10.5, 0.0), (10.5, 7.0), (11.0, 8.0)], 1.0)])
def test_a_memory_ages_by_the_stamps_or_where_they_stand_still_by_the_clock(
        steps: list[tuple[float, float]], age_s: float) -> None:
    now_s = 0.0
    age = MemoryAge(lambda: now_s)
    age.used(keyframe(1, 10.0))
    for stamp_s, now_s in steps:  # noqa: B007, the clock reads it
        age.saw(round(stamp_s * SECOND))
    assert age.seconds(keyframe(1, 10.0)) == pytest.approx(age_s)


def test_the_clock_counts_from_when_the_keyframe_came_into_use() -> None:
    now_s = 0.0
    age = MemoryAge(lambda: now_s)
    for _ in range(2):
        age.saw(SECOND)
    age.used(keyframe(1))
    now_s = 5.0
    age.used(keyframe(1))
    assert age.seconds(keyframe(1)) == 5.0
    assert age.seconds(keyframe(2)) == 1.0, 'not in use yet'
    age.used(keyframe(2))
    assert age.seconds(keyframe(2)) == 1.0
    now_s = 15.0
    assert age.seconds(keyframe(2)) == 10.0
    age.forget()
    age.used(keyframe(2))
    assert age.seconds(keyframe(2)) == 1.0, 'of other engines, which count anew'


def test_stamps_that_stand_still_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    age = MemoryAge(lambda: 0.0)
    with caplog.at_level(logging.WARNING):
        for stamp_ns in (1, 1, 2, 2):
            age.saw(stamp_ns)
    assert len(caplog.records) == 1 and 'do not advance' in caplog.text
