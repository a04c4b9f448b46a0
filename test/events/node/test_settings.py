"""The event node's parameters, the file that is written of them, and its launch file."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import ast

from support.constants import constant
from support.repository import ROOT

from asyncmde_ros.events.node import reference
from asyncmde_ros.events.node.settings import BY_NAME, EventConfiguration
from asyncmde_ros.pipeline.declaration import read
from asyncmde_ros.ros import configuration

LAUNCH = ROOT / 'launch' / 'events.launch.py'


def test_the_parameter_file_is_up_to_date() -> None:
    path = 'config/events.yaml'
    assert (ROOT / path).read_text(encoding='utf-8') == reference.written(), (
        f'write it again: {reference.COMMAND} > {path}')


def test_the_defaults_that_users_read_are_those_of_the_code() -> None:
    assert read(EventConfiguration, lambda name: BY_NAME[name].default) == EventConfiguration()


def test_what_is_not_of_images_is_the_depth_nodes() -> None:
    own = set(BY_NAME) - set(configuration.BY_NAME)
    assert own == {f'events.{name}' for name in (
        'message', 'reliability', 'sensor', 'window', 'decay', 'adapter')}
    assert set(configuration.BY_NAME) - set(BY_NAME) == {
        'input.image_transport', 'input.reliability', 'fast_path.overload'}


def test_a_sensor_is_columns_by_rows() -> None:
    sensor = BY_NAME['events.sensor']
    assert sensor.read('640x480') == (480, 640) and sensor.read('') is None
    for text in ('640', '640 by 480', '0x480', '99999x2'):
        with pytest.raises(ValueError, match='write columns x rows|sides are'):
            sensor.read(text)


def test_what_the_launch_file_overrides_is_an_argument_and_a_parameter() -> None:
    overrides = constant(LAUNCH, 'OVERRIDES')
    assert isinstance(overrides, dict) and set(overrides.values()) <= set(BY_NAME)
    declared = {ast.literal_eval(call.args[0]) for call in ast.walk(ast.parse(
        LAUNCH.read_text(encoding='utf-8'))) if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name) and call.func.id == 'DeclareLaunchArgument'}
    assert set(overrides) | {'events_topic', 'params_file'} <= declared
