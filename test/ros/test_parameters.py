"""What is derived from the parameters' declarations agrees with them."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import dataclasses
from array import array
from pathlib import Path
from typing import Any

import yaml
from support.repository import ROOT

from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.lab import parameter_reference
from asyncmde_ros.pipeline.declaration import Declaration, Settable, declarations, read
from asyncmde_ros.pipeline.settings import MotionCompensation, Settings
from asyncmde_ros.pipeline.upright import Rotation
from asyncmde_ros.resources import share_directory
from asyncmde_ros.ros.configuration import BY_NAME, PARAMETERS, Configuration
from asyncmde_ros.ros.parameters import descriptor, misspelt, too_late


def flatten(tree: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= flatten(value, f'{prefix}{name}.') if isinstance(value, dict) else {
            f'{prefix}{name}': value}
    return flat


def test_the_shipped_yaml_lists_every_parameter_with_its_default() -> None:
    text = (share_directory() / 'config' / 'depth.yaml').read_text(encoding='utf-8')
    shipped = flatten(yaml.safe_load(text)['/**']['ros__parameters'])
    assert shipped == {p.name: list(p.default) if isinstance(p.default, tuple) else p.default
                       for p in PARAMETERS}


@pytest.mark.parametrize(('path', 'written', 'option'), [
    ('docs/parameters.md', parameter_reference.page, ''),
    ('config/depth.yaml', parameter_reference.parameter_file, ' --yaml')])
def test_the_files_that_are_written_from_the_declarations_are_up_to_date(
        path: str, written: Any, option: str) -> None:
    assert (ROOT / path).read_text(encoding='utf-8') == written(), (
        f'write it again: {parameter_reference.COMMAND}{option} > {path}')


def test_every_field_of_the_settings_is_a_parameter_and_each_name_is_there_once() -> None:
    for settings in (Settings, Configuration):
        assert set(declarations(settings)) == {f.name for f in dataclasses.fields(settings)}
    assert len(BY_NAME) == len(PARAMETERS)
    groups = [p.group for p in PARAMETERS]
    assert len(set(groups)) == sum(a != b for a, b in zip(groups, ['-', *groups], strict=False))


def test_the_defaults_that_users_read_are_those_of_the_code() -> None:
    def default(name: str) -> object:
        return BY_NAME[name].default
    assert read(Settings, default) == Settings()
    asked = read(Configuration, default)
    assert asked == Configuration() and asked.threads == Threads()
    assert dict(zip(('name', 'backend', 'precision'), Model.__init__.__defaults__ or (),
                    strict=False)) == {
        'name': asked.model, 'backend': asked.backend, 'precision': asked.precision}


def test_values_of_users_are_read_as_what_they_stand_for() -> None:
    given = {'memory.motion_compensation': False, 'input.rotation': 270, 'refresh.size': '252x336',
             'memory.max_age': 2, 'input.size': '126x168', 'model.fast_weights': '~no such user/x',
             'model.foundation_weights': '~/x', 'imu.rotation': array('q', [0, 0, 0, 1]),
             'fast_path.threads': 3}

    def value(name: str) -> object:
        return given.get(name, BY_NAME[name].default)
    settings, asked = read(Settings, value), read(Configuration, value)
    assert settings.motion_compensation is MotionCompensation.OFF
    assert settings.rotation is Rotation.THREE_QUARTERS and settings.refresh_size == (252, 336)
    assert settings.max_memory_age_s == 2.0
    assert asked.size == (126, 168) and asked.threads == Threads(3, 0)
    assert asked.imu_rotation == (0.0, 0.0, 0.0, 1.0)
    assert asked.foundation_weights == Path.home() / 'x'
    assert asked.fast_weights == Path('~no such user/x') and asked.glance_weights is None
    given['input.rotation'] = 'auto'
    assert read(Settings, value).rotation is Rotation.NONE


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
    try:
        BY_NAME[name].read(value)
    except ValueError:
        assert not right
    else:
        assert right


@pytest.mark.parametrize(('name', 'meant'), [
    ('memory.max_agee', 'memory.max_age'), ('memory.maxage', 'memory.max_age'),
    ('max_age', 'memory.max_age'), ('slowpath.max_rate', 'slow_path.max_rate'),
    ('backnd', 'backend'), ('engine.director', 'engine.directory'),
    ('use_sim_time', None), ('memory.max_age', None), ('frame_id', None),
    ('qos_overrides./camera/image_raw.subscription.depth', None), ('exposure.auto', None)])
def test_a_misspelt_name_is_recognised_and_a_foreign_one_left_alone(name: str, meant: str | None
                                                                    ) -> None:
    assert misspelt([name], BY_NAME) == ({} if meant is None else {name: meant})


@pytest.mark.parametrize('declaration', PARAMETERS, ids=lambda declaration: declaration.name)
def test_every_parameter_is_described_with_its_range_and_its_default_is_allowed(
        declaration: Declaration) -> None:
    assert len(declaration.description) > 20
    declaration.read(declaration.default)
    said = descriptor(declaration)
    assert said.read_only is (declaration.settable is Settable.AT_START)
    assert ('unconfigured' in said.additional_constraints) is (
        declaration.settable is Settable.UNCONFIGURED)
    assert all(choice in said.additional_constraints for choice in declaration.choices)
    if isinstance(declaration.default, (int, float)) and not isinstance(
            declaration.default, bool):
        assert said.floating_point_range or said.integer_range


def test_a_change_that_comes_too_late_says_what_to_do() -> None:
    assert too_late('unconfigured', '/depth_node') is None
    inactive, active, busy, ended = (str(too_late(state, '/front/depth_node')) for state in (
        'inactive', 'active', 'configuring', 'finalized'))
    assert inactive.endswith('needs cleanup first: ros2 lifecycle set /front/depth_node cleanup')
    assert active.endswith('needs cleanup first: ros2 lifecycle set /front/depth_node deactivate, '
                           'then ros2 lifecycle set /front/depth_node cleanup')
    assert 'the node is configuring' in busy and 'lifecycle set' not in busy
    assert ended.endswith('start the node again')
