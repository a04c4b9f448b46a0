"""The filter beside the textbook's equations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.scale.filter import FIRST_SCALE, FIRST_SHIFT, ScaleFilter
from asyncmde_ros.scale.fit import Fit
from asyncmde_ros.scale.history import Relation

TYPICAL = 5.0


def some_fit(a: float, b: float, sigmas: tuple[float, float], correlation: float) -> Fit:
    root = np.diag(sigmas)
    covariance = root @ np.array([[1, correlation], [correlation, 1]]) @ root
    return Fit(a, b, covariance, np.ones(9, bool), 0.1, False, TYPICAL, np.zeros((2, 0)))


@settings(max_examples=30, deadline=None)
@given(unit=st.sampled_from([1e-6, 1.0, 1e6]), correlation=st.floats(-0.999, 0.999),
       error=st.floats(-0.5, 0.5))
def test_two_fits_are_blended_by_kalmans_equations(unit: float, correlation: float,
                                                   error: float) -> None:
    """Whatever the map's unit, which is that of a."""
    a, sigmas = 0.04 * unit, (0.01 * unit, 0.05)
    # The second one errs as the correlation has it: anything else is doubted the more the closer
    # that is to one.
    fits = [some_fit(a, 0.05, sigmas, correlation),
            some_fit(a + error * sigmas[0], 0.05 + math.copysign(error, correlation * error)
                     * sigmas[1], sigmas, correlation)]
    level = a * TYPICAL / unit
    state = np.array([a, 0.0])
    known = np.diag([(FIRST_SCALE * a) ** 2, (FIRST_SHIFT * level) ** 2])
    filtered = ScaleFilter()
    for fit in fits:
        assert filtered.update(fit, TYPICAL / unit)
        gain = known @ np.linalg.inv(known + fit.covariance)
        state = state + gain @ ((fit.a, fit.b) - state)
        known = (np.eye(2) - gain) @ known
    assert filtered.state == pytest.approx(tuple(state), rel=1e-6, abs=1e-9)
    sigma = np.sqrt(np.diag(known))
    # In units of the deviations: a correlation near 0 is a difference of larger numbers.
    assert filtered.covariance / np.outer(sigma, sigma) == pytest.approx(
        known / np.outer(sigma, sigma), rel=1e-5, abs=1e-6)


def doubtful(share: float) -> Fit:
    return some_fit(0.04 * share, 0.05 * share, (4e-4, 5e-4), 0.0)


@pytest.mark.proves('scale-wrong-points')
def test_fits_that_agree_across_a_refresh_are_believed() -> None:
    """Three in a row, of which the last two are in another map's values."""
    filtered = ScaleFilter()
    for _ in range(9):
        assert filtered.update(doubtful(1), TYPICAL)
    assert not filtered.update(doubtful(2), TYPICAL)
    filtered.refresh(Relation(0.95, 0.1), TYPICAL)
    a, b = 0.95 * 0.08, 0.1 + 0.1 * 0.08
    late = [some_fit(a, b, (4e-4, 5e-4), 0.0) for _ in range(2)]
    assert [filtered.update(fit, TYPICAL) for fit in late] == [False, True]
    assert filtered.state == pytest.approx((a, b), rel=0.05)


@pytest.mark.proves('scale-wrong-points')
def test_a_filter_that_refuses_everything_is_wrong_itself() -> None:
    """Fits that do not agree among themselves either: the fifth is taken."""
    filtered = ScaleFilter()
    for _ in range(9):
        filtered.update(doubtful(1), TYPICAL)
    shares = [3.0, 2.0, 4.0, 2.5, 3.5]
    assert [filtered.update(doubtful(share), TYPICAL) for share in shares] == [
        False, False, False, False, True]
    assert filtered.state == pytest.approx((0.14, 0.175), rel=0.02)
    assert filtered.update(doubtful(3.5), TYPICAL)
    assert not filtered.update(doubtful(1), TYPICAL), 'and counts from the start again'


def test_a_change_of_scale_may_be_what_the_camera_approached() -> None:
    """By as much as the scale went over to another it may be wrong, in either direction."""
    spread = []
    for gain in (1.0, 0.7, 1 / 0.7):
        filtered = ScaleFilter()
        filtered.update(doubtful(1), TYPICAL)
        filtered.refresh(Relation(gain, 0.0), TYPICAL)
        assert filtered.state is not None
        spread.append(np.sqrt(filtered.covariance[0, 0]) / filtered.state[0])
    assert spread[0] < 0.13
    assert spread[1:] == pytest.approx([np.hypot(spread[0], np.log(0.7))] * 2)
