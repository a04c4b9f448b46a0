"""Metres, or NaN."""

import numpy as np
import pytest

from asyncmde_ros.scale.metric import metric, millimetres


def test_metres_are_the_inverse_of_the_line() -> None:
    relative = np.array([[10, 1, 0], [-1, -6, np.nan]], np.float32)
    depth = metric(relative, 0.1, 0.5)
    assert depth.dtype == np.float32
    assert depth == pytest.approx(np.array([[1 / 1.5, 1 / 0.6, 2], [2.5, np.nan, np.nan]]),
                                  nan_ok=True)


def test_the_horizon_and_beyond_are_unknown() -> None:
    depth = metric(np.array([[5.0, 4.0, 3.0]], np.float32), 1.0, -4.0)
    assert depth[0, 0] == 1 and np.isnan(depth[0, 1:]).all(), 'no infinity, nothing negative'


def test_what_is_infinite_is_not_at_the_camera() -> None:
    assert np.isnan(metric(np.array([[np.inf, -np.inf]], np.float32), 1.0, 0.0, np.eye(2))).all()


def test_a_largest_range_is_kept() -> None:
    depth = metric(np.array([[1.0, 0.1, 0.05]], np.float32), 1.0, 0.0, largest_m=10.5)
    assert depth == pytest.approx(np.array([[1, 10, np.nan]]), nan_ok=True)
    assert np.isnan(metric(np.array([[1e30, 1]], np.float32), 1.0, 0.0, largest_m=0)).all()


def test_what_the_covariance_does_not_tell_is_unknown() -> None:
    """A scale that is known at a relative depth of 4 alone, as of one range."""
    a, b, sigma = 0.1, 0.0, 0.1
    covariance = sigma ** 2 * np.array([[1 / 16, -1 / 4], [-1 / 4, 1]])
    depth = metric(np.array([[4.0, 3.0, 1.0, 16.0]], np.float32), a, b, covariance)
    assert depth == pytest.approx(np.array([[2.5, 1 / 0.3, np.nan, 1 / 1.6]]), nan_ok=True)


def test_millimetres() -> None:
    depth = np.array([1.2345, 65.535, 65.6, np.nan, np.inf, -1, 0.0001], np.float32)
    found = millimetres(depth)
    assert found.dtype == np.uint16
    assert found.tolist() == [1234, 65535, 0, 0, 0, 0, 0]
