"""The line that times lie on."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')
pytest.importorskip('openvino', reason='left out: needs openvino')
pytest.importorskip('onnxscript', reason='left out: needs onnxscript')

from asyncmde_ros.events.speed import fit_line, measure


def test_a_straight_line_is_found() -> None:
    line = fit_line((1, 64, 256, 1024), [0.3 + 0.005 * count for count in (1, 64, 256, 1024)])
    assert (line.start_ms, line.each_us, line.r2) == pytest.approx((0.3, 5.0, 1.0))


def test_what_is_no_line_says_so() -> None:
    assert fit_line((1, 2, 3, 4), [1, 4, 4, 1]).r2 == pytest.approx(0)


def test_what_is_measured_takes_turns_after_a_first_one_that_does_not_count() -> None:
    calls: list[str] = []
    found = measure({name: lambda name=name: calls.append(name) for name in 'ab'}, rounds=2)
    assert calls == ['a', 'b'] * 3
    assert set(found) == {'a', 'b'}
    assert all(value >= 0 for value in found.values())
