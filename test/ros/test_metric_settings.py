"""Which sources may be named, and how."""

import pytest

from asyncmde_ros.pipeline.declaration import declarations, read
from asyncmde_ros.ros.metric_settings import MetricSettings

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


def test_silence_has_a_limit_or_none() -> None:
    assert MetricSettings(max_silence_s=2).too_old(2.1)
    assert not MetricSettings(max_silence_s=2).too_old(2)
    assert not MetricSettings(max_silence_s=0).too_old(1e9)
