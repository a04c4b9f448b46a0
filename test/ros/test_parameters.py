"""The parameter table, the shipped YAML and the README agree."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

from array import array
from typing import Any

import yaml
from support.repository import ROOT

from asyncmde_ros.lab.parameter_reference import reference
from asyncmde_ros.resources import share_directory
from asyncmde_ros.ros.parameters import SPECIFICATIONS, misspelt


def flatten(tree: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= flatten(value, f'{prefix}{name}.') if isinstance(value, dict) else {
            f'{prefix}{name}': value}
    return flat


def test_the_shipped_yaml_lists_every_parameter_with_its_default() -> None:
    text = (share_directory() / 'config' / 'depth.yaml').read_text(encoding='utf-8')
    shipped = flatten(yaml.safe_load(text)['/**']['ros__parameters'])
    assert shipped == {s.name: list(s.default) if isinstance(s.default, tuple) else s.default
                       for s in SPECIFICATIONS}


def test_the_reference_is_of_the_present_declarations() -> None:
    page = ROOT / 'docs' / 'parameters.md'
    assert page.read_text(encoding='utf-8') == reference(), (
        'write it again: python -m asyncmde_ros.lab.parameter_reference > docs/parameters.md')


@pytest.mark.parametrize(('name', 'value', 'right'), [
    ('imu.rotation', [0.0, 0.0, 0.0, 1.0], True), ('imu.rotation', [0.0] * 4, True),
    ('imu.rotation', [0, 0, 0, 1], True), ('imu.rotation', [0, 0, 0, 0], True),
    ('imu.rotation', array('q', [0, 0, 0, 1]), True),
    ('imu.rotation', array('d', [0, 0, 0, 1]), True),
    ('imu.rotation', [0.0] * 3, False), ('imu.rotation', [float('nan'), 0, 0, 0], False),
    ('imu.rotation', [0.0, 0.0, 0.0, float('inf')], False), ('imu.rotation', None, False),
    ('imu.rotation', [True, False, False, False], False), ('imu.rotation', ['x'] * 4, False),
    ('imu.rotation', 'wxyz', False), ('imu.rotation', 1.0, False), ('imu.rotation', [], False),
    ('memory.max_age', True, False), ('memory.max_age', float('nan'), False),
    ('memory.max_age', [1.0], False), ('memory.max_age', None, False),
    ('memory.cut_similarity', -1, True), ('memory.cut_similarity', -1.5, False),
    ('input.rotation', '180', True), ('input.rotation', 270, True),
    ('input.rotation', 'auto', True), ('input.rotation', 45, False),
    ('input.rotation', False, False), ('input.rotation', 'upside down', False),
    ('memory.max_age', 0, True), ('memory.when_too_old', 'shout', False)])
def test_values_are_judged(name: str, value: object, right: bool) -> None:
    specification = next(item for item in SPECIFICATIONS if item.name == name)
    assert (specification.objection(value) is None) is right


@pytest.mark.parametrize(('name', 'meant'), [
    ('memory.max_agee', 'memory.max_age'), ('memory.maxage', 'memory.max_age'),
    ('max_age', 'memory.max_age'), ('slowpath.max_rate', 'slow_path.max_rate'),
    ('backnd', 'backend'), ('engine.director', 'engine.directory'),
    ('use_sim_time', None), ('memory.max_age', None), ('frame_id', None),
    ('qos_overrides./camera/image_raw.subscription.depth', None), ('exposure.auto', None)])
def test_a_misspelt_name_is_recognised_and_a_foreign_one_left_alone(name: str, meant: str | None
                                                                    ) -> None:
    assert misspelt([name]) == ({} if meant is None else {name: meant})


@pytest.mark.parametrize('specification', SPECIFICATIONS, ids=lambda s: s.name)
def test_every_parameter_is_described_and_its_default_is_allowed(specification) -> None:
    assert len(specification.description) > 20
    assert specification.objection(specification.default) is None
    descriptor = specification.descriptor()
    assert descriptor.read_only is not specification.live
    if isinstance(specification.default, (int, float)) and not isinstance(
            specification.default, bool):
        assert descriptor.floating_point_range or descriptor.integer_range
