"""The filter beside the textbook's equations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.scale.filter import FIRST_SCALE, FIRST_SHIFT, ScaleFilter
from asyncmde_ros.scale.fit import Fit

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
    fits = [some_fit(a, 0.05, sigmas, correlation),
            some_fit(a + error * sigmas[0], 0.05 - error * sigmas[1], sigmas, correlation)]
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
    assert filtered.covariance == pytest.approx(known, rel=1e-5, abs=1e-12 * known[0, 0])
