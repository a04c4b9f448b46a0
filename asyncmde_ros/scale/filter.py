"""One scale over time: what many fits say together, and no jump without evidence."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from asyncmde_ros.scale.fit import Fit
from asyncmde_ros.scale.history import Relation
from asyncmde_ros.scale.observations import Array

GATES = {1: 10.8, 2: 13.8}
"""Chi-squared that one fit in a thousand exceeds, by degrees of freedom."""

EVIDENCE = 3
"""Fits in a row, each in agreement with the one before, that make the filter believe what it
did not expect."""

REFUSALS = 5
"""Fits in a row that the filter refuses, in agreement or not, after which it is the filter that
is wrong."""

FIRST_SCALE = 1.0
"""Standard deviation of ``a`` before anything was measured, in units of the first fit's."""

FIRST_SHIFT = 2.0
"""Standard deviation of ``b`` before anything was measured, in units of ``a`` times the map's
median: in rendered rooms, seen by Depth Anything V2 Small, it is 1 to 4 of them."""


EPSILON = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Wander:
    """How far scale and shift may wander: ``per_s`` in a second, ``at_refresh`` with each one.

    Standard deviations; a random walk's variance grows with time.  In units of ``a``, and of
    ``a`` times the map's median.  The defaults are what exact fits do on rendered clips: 2.6 % and
    1.3 % from one frame to the next at 30 Hz; 28 % and 9 % at a refresh, of which 6 %
    and 5 % are left where it is known how both maps relate (median deviations; twice that is
    assumed, as one in four goes farther).
    """

    scale_per_s: float = 0.15
    shift_per_s: float = 0.1
    scale_at_refresh: float = 0.3
    shift_at_refresh: float = 0.1
    scale_if_related: float = 0.12
    shift_if_related: float = 0.1


WANDER = Wander()


class ScaleFilter:
    """A Kalman filter of the state x = (a, b), which is constant but for :class:`Wander`.

    Prediction: P += Q.  A fit z with covariance R of both values: K = P (P + R)^-1,
    x += K (z - x), P = (I - K) P (I - K)^T + K R K^T.  A degenerate fit is one equation,
    a r + b at the mean r of its points.  It moves ``a`` alone, as if ``b`` were right (a consider
    filter; Schmidt, 1966): the shift is held, and P says how little is known at other distances.
    A fit whose squared Mahalanobis distance exceeds its gate is not believed, until EVIDENCE of
    them agree among themselves, or it is one of REFUSALS in a row; the filter then starts anew
    from the last.  Fits that are doubted go over to another map's values as the state does.
    Errors that observations share over time, as a wrong tilt of the camera, are parameters of
    the same consider filter: with L what a unit of each adds to a fit, z = x + L p + noise, where
    p has variance 1 and is never estimated.  P is of (x, p), so that what many fits have wrong in
    common stays in it.
    ``a`` never becomes negative.  (Kalman filter and Joseph's form: Bar-Shalom, Li and
    Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, chapter 5.)
    """

    def __init__(self, wander: Wander = WANDER) -> None:
        self._wander = wander
        self._state: Array | None = None
        self._covariance = np.zeros((2, 2))
        """Of a, b and the shared errors."""
        self._errors: tuple[tuple[str, int], ...] = ()
        self._doubted: list[Fit] = []
        self._refused = 0

    @property
    def state(self) -> tuple[float, float] | None:
        """(a, b), None before the first fit."""
        return None if self._state is None else (float(self._state[0]), float(self._state[1]))

    @property
    def covariance(self) -> Array:
        """Of (a, b), (2, 2)."""
        return self._covariance[:2, :2].copy()

    def predict(self, elapsed_s: float, typical: float) -> None:
        """Let time pass; ``typical`` is the map's median value."""
        wander = self._wander
        root = max(elapsed_s, 0.0) ** 0.5
        self._loosen(root * wander.scale_per_s, root * wander.shift_per_s, typical)

    def refresh(self, relation: Relation | None, typical: float) -> None:
        """Go over to the values of another map, which may have another scale.

        With r_old = g r_new + o known, a r_old + b is (a g) r_new + (a o + b): x becomes J x and
        P becomes J P J^T, with J = [[g, 0], [o, 1]].  What grew since the old map's keyframe, as
        the camera came near, is not told from a smaller scale: a may be wrong by that factor.
        """
        wander = self._wander
        if relation is None:
            self._loosen(wander.scale_at_refresh, wander.shift_at_refresh, typical)
            return
        if self._state is not None:
            change = np.eye(len(self._covariance))
            change[:2, :2] = _change(relation)
            self._state = change[:2, :2] @ self._state
            self._covariance = change @ self._covariance @ change.T
        scale = math.hypot(wander.scale_if_related, math.log(relation.gain))
        self._doubted = [_carried(fit, relation, _noise(
            fit.a * relation.gain, scale, wander.shift_if_related, typical))
            for fit in self._doubted]
        self._loosen(scale, wander.shift_if_related, typical)

    def _loosen(self, scale: float, shift: float, typical: float) -> None:
        if self._state is not None:
            self._covariance[:2, :2] += _noise(self._state[0], scale, shift, typical)

    def update(self, fit: Fit, typical: float) -> bool:
        """Take in a fit; return whether it was believed."""
        fit = self._with_all_errors(fit)
        if self._state is None:
            self._start(fit, typical)
            return True
        if _agrees(fit, self._state, self._covariance):
            self._believe()
            self._blend(fit, self._state)
            return True
        if self._doubted and not _alike(self._with_all_errors(self._doubted[-1]), fit):
            self._doubted.clear()
        self._doubted.append(fit)
        self._refused += 1
        if len(self._doubted) < EVIDENCE and self._refused < REFUSALS:
            return False
        self._believe()
        self._start(fit, typical)
        return True

    def _believe(self) -> None:
        self._doubted.clear()
        self._refused = 0

    def _with_all_errors(self, fit: Fit) -> Fit:
        """Take note of errors that are new; return the fit with a column for each one known."""
        new = [error for error in fit.errors if error not in self._errors]
        if new:
            self._errors += tuple(new)
            known = len(self._covariance)
            grown = np.eye(2 + len(self._errors))
            grown[:known, :known] = self._covariance
            self._covariance = grown
        common = np.zeros((2, len(self._errors)))
        common[:, [self._errors.index(error) for error in fit.errors]] = fit.common
        return replace(fit, common=common, errors=self._errors)

    def _start(self, fit: Fit, typical: float) -> None:
        """Begin with no shift, about, and blend in the fit."""
        level = abs(fit.a * typical)
        shift = fit.b if fit.degenerate else 0.0
        self._covariance = np.diag([(FIRST_SCALE * fit.a) ** 2, (FIRST_SHIFT * level) ** 2,
                                    *np.ones(len(self._errors))])
        self._state = np.array([fit.a, shift])
        self._blend(fit, self._state)

    def _blend(self, fit: Fit, known: Array) -> None:
        equation = _equation(fit, known)
        before, observed = self._covariance, equation.observed
        # As if what is not estimated were certain; what it is not stays in the covariance.
        estimated = 1 if fit.degenerate else 2
        certain = before.copy()
        if fit.degenerate:
            certain[1], certain[:, 1] = 0, 0
        gain = np.zeros((len(before), len(observed)))
        gain[:estimated] = (certain @ observed.T)[:estimated] @ _inverse(
            observed @ certain @ observed.T + equation.noise)
        state = known + gain[:2] @ equation.innovation
        if state[0] <= 0:
            return
        rest = np.eye(len(before)) - gain @ observed
        self._state = state
        self._covariance = rest @ before @ rest.T + gain @ equation.noise @ gain.T


def _change(relation: Relation) -> Array:
    return np.array([[relation.gain, 0.0], [relation.offset, 1.0]])


def _carried(fit: Fit, relation: Relation, noise: Array) -> Fit:
    """Return a fit in another map's values, less sure by the ``noise`` (2, 2)."""
    change = _change(relation)
    a, b = change @ (fit.a, fit.b)
    return replace(fit, a=float(a), b=float(b), common=change @ fit.common,
                   covariance=change @ fit.covariance @ change.T + noise,
                   centre=(fit.centre - relation.offset) / relation.gain)


def _noise(a: float, scale: float, shift: float, typical: float) -> Array:
    """Return the covariance (2, 2) of what a scale wanders, by shares of it."""
    return np.diag((abs(a) * np.array([scale, shift * abs(typical)])) ** 2)


class _Equation(NamedTuple):
    """``innovation`` (m,) = ``observed`` (m, 2 + k) (x - state, p) + noise.

    ``noise`` (m, m) is its covariance.
    """

    innovation: Array
    observed: Array
    noise: Array


def _equation(fit: Fit, state: Array) -> _Equation:
    """Return what a fit says of a state: two equations, or one for what lies at one distance."""
    both = np.array([fit.a, fit.b]) - state
    observed = np.concatenate([np.eye(2), fit.common], axis=1)
    if not fit.degenerate:
        return _Equation(both, observed, fit.covariance)
    at = np.array([[fit.centre, 1.0]])
    return _Equation(at @ both, at @ observed, fit.covariance[:1, :1] * fit.centre ** 2)


def _agrees(fit: Fit, state: Array, covariance: Array) -> bool:
    innovation, observed, noise = _equation(fit, state)
    expected = observed @ covariance @ observed.T + noise
    return bool(innovation @ _inverse(expected) @ innovation <= GATES[len(innovation)])


def _alike(one: Fit, other: Fit) -> bool:
    # What one has wrong, as a state, has the sign of what it takes away.
    mixing = np.concatenate([-one.common, np.eye(one.common.shape[1])])
    covariance = mixing @ mixing.T
    covariance[:2, :2] += one.covariance
    return (one.degenerate == other.degenerate
            and _agrees(other, np.array([one.a, one.b]), covariance))


def _inverse(matrix: Array) -> Array:
    """Return the inverse of a covariance (1, 1) or (2, 2), in a tenth of LAPACK's time.

    Of the correlation, as a and b may differ by any factor.
    """
    if len(matrix) == 1:
        return 1 / matrix
    first, second = math.sqrt(matrix[0, 0]), math.sqrt(matrix[1, 1])
    correlation = float(matrix[0, 1]) / (first * second)
    rest = max(1 - correlation * correlation, EPSILON)
    across = -correlation / (first * second * rest)
    return np.array([[1 / (first * first * rest), across], [across, 1 / (second * second * rest)]])
