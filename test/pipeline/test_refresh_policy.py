"""Which size a refresh has and when it is due."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.pipeline import refresh_policy
from asyncmde_ros.pipeline.refresh_policy import RefreshPolicy

SMALL, LARGE = (252, 336), (336, 448)
PERIOD_NS = 33_333_333


def told(policy: RefreshPolicy, change: float, frames: int = 90, start: int = 0) -> RefreshPolicy:
    """Show frames whose picture changes by ``change`` each."""
    for index in range(start, start + frames):
        policy.saw(1_000_000_000 + index * PERIOD_NS)
        policy.judged(1.0, change)
    return policy


def policy(small_ms: float = 146, large_ms: float = 300) -> RefreshPolicy:
    found = RefreshPolicy()
    found.took(SMALL, small_ms)
    found.took(LARGE, large_ms)
    return found


def test_where_little_changes_the_larger_image_is_worth_its_time() -> None:
    assert told(policy(), 1e-4).choose((SMALL, LARGE)) == LARGE
    assert told(policy(), 0.12).choose((SMALL, LARGE)) == SMALL


def test_a_machine_fast_enough_takes_the_larger_one_in_motion_too() -> None:
    assert told(policy(10, 20), 0.12).choose((SMALL, LARGE)) == LARGE


def test_a_single_size_is_the_choice() -> None:
    assert told(policy(), 0.05).choose((LARGE,)) == LARGE


def test_what_refreshes_take_is_learned() -> None:
    found = told(policy(), 0.12)
    assert found.choose((SMALL, LARGE)) == SMALL
    for _ in range(30):
        found.took(LARGE, 25)
    assert found.choose((SMALL, LARGE)) == LARGE


def test_where_nothing_changes_it_waits_and_elsewhere_it_does_not() -> None:
    assert told(policy(), 0).interval_s() == refresh_policy.LONGEST_INTERVAL_S
    assert told(policy(), 0.05).interval_s() < 0.033
    found = told(policy(), 0)
    told(found, 0.05, frames=1, start=90)
    assert found.interval_s() < 0.033, 'motion that begins is answered at once'


def test_before_anything_was_judged_the_smaller_one_is_there_first() -> None:
    found = policy()
    for index in range(30):
        found.saw(index * PERIOD_NS)
    assert found.choose((SMALL, LARGE)) == SMALL
    assert told(found, 0).choose((SMALL, LARGE)) == LARGE


def test_a_memory_that_was_dropped_is_followed_by_the_smaller_one() -> None:
    found = told(policy(10, 20), 0)
    assert found.choose((SMALL, LARGE)) == LARGE
    found.forget()
    assert found.choose((SMALL, LARGE)) == SMALL
    assert told(found, 0).choose((SMALL, LARGE)) == LARGE, 'what refreshes take is still known'


@given(stamps=st.lists(st.integers(-10**18, 10**18), max_size=20),
       change=st.floats(0, 1.5))
def test_stamps_that_jump_or_stand_still_do_no_harm(stamps: list[int], change: float) -> None:
    found = policy()
    for stamp_ns in stamps:
        found.saw(stamp_ns)
        found.judged(0.98, change)
    assert found.choose((SMALL, LARGE)) in (SMALL, LARGE)
    assert 0 <= found.interval_s() <= refresh_policy.LONGEST_INTERVAL_S


def test_sizes_do_not_alternate_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(policy(), 1e-4)
    assert found.choose((SMALL, LARGE)) == LARGE
    monkeypatch.setattr(refresh_policy, 'GAIN', 1 + refresh_policy.HYSTERESIS / 2)
    assert found.choose((SMALL, LARGE)) == LARGE
    monkeypatch.setattr(refresh_policy, 'GAIN', 1 + 2 * refresh_policy.HYSTERESIS)
    assert found.choose((SMALL, LARGE)) == SMALL


def test_a_better_size_need_not_wait() -> None:
    found = told(policy(), 0)
    assert found.interval_after_s(SMALL, found.choose((SMALL, LARGE))) == 0
    assert found.interval_after_s(LARGE, LARGE) == refresh_policy.LONGEST_INTERVAL_S


def test_what_is_not_trusted_is_looked_at_at_once() -> None:
    found = told(policy(), 0)
    found.judged(0.9, 0)
    assert found.interval_s() == 0
    found.judged(0.999, 0)
    assert found.interval_s() == refresh_policy.LONGEST_INTERVAL_S
