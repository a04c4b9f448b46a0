"""Which sources may be named, and how."""

from dataclasses import replace

import pytest

from asyncmde_ros.pipeline.declaration import declarations, read
from asyncmde_ros.ros.metric_settings import Encoding, MetricSettings

DECLARED = declarations(MetricSettings)


@pytest.mark.parametrize(('value', 'sources'), [
    ('none', ()), ('', ()), ('points', ('points',)), ('points, scan', ('points', 'scan')),
    (['range', 'points', 'range'], ('range', 'points')), ([], ()), (['points,scan'],
                                                                    ('points', 'scan'))])
def test_sources_are_a_text_or_a_list(value: object, sources: tuple[str, ...]) -> None:
    assert DECLARED['sources'].read(value) == sources


@pytest.mark.parametrize('value', ['sonar', 'points,none', 'fixed,scan', 'points,', 3, True,
                                   [1, 2], ['points', 'x'], None])
def test_what_is_no_source_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        DECLARED['sources'].read(value)


@pytest.mark.parametrize('value', [[1.0], [-1.0, 0.0], [1.0, 2.0, 3.0], ['a', 'b'], 2.0])
def test_what_is_no_relation_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        DECLARED['fixed'].read(value)


def test_the_defaults_are_no_metres() -> None:
    plain = {declared.name: declared.default for declared in DECLARED.values()}
    assert read(MetricSettings, plain.__getitem__) == MetricSettings()
    assert MetricSettings().sources == () and MetricSettings().largest_m == float('inf')


@pytest.mark.parametrize('change', [
    {'sources': ('scan',)}, {'odometry_frame': 'odom'}, {'ground_height_m': 1.0},
    {'ground_tilt_rad': 0.1}, {'ground_frame': 'floor'}, {'odometry_drift': 0.1}])
def test_what_is_listened_to_begins_anew_with_what_concerns_it(change: dict) -> None:
    before = MetricSettings(sources=('points',))
    assert not replace(before, **change).listens_as(before)
    assert replace(before, stride=4, encoding=Encoding.MILLIMETRES, max_range_m=3.0,
                   max_silence_s=1.0, color=True).listens_as(before)


def test_silence_has_a_limit_or_none() -> None:
    assert MetricSettings(max_silence_s=2).too_old(2.1)
    assert not MetricSettings(max_silence_s=2).too_old(2)
    assert not MetricSettings(max_silence_s=0).too_old(1e9)
