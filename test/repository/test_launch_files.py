"""What the launch files say, read without ROS; test_launch.py starts them."""

import ast
from pathlib import Path

import pytest
from support.constants import constant
from support.repository import ROOT

from asyncmde_ros.ros.configuration import BY_NAME
from asyncmde_ros.ros.metric_settings import SOURCES

FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
DEPTH = next(path for path in FILES if path.name == 'depth.launch.py')


def declarations(path: Path) -> dict[str, dict[str, ast.expr]]:
    """Return the keywords of each DeclareLaunchArgument."""
    return {ast.literal_eval(call.args[0]): {keyword.arg or '': keyword.value
                                             for keyword in call.keywords}
            for call in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
            and call.func.id == 'DeclareLaunchArgument'}


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_argument_is_described(path: Path) -> None:
    declared = declarations(path)
    assert declared
    assert all('description' in keywords for keywords in declared.values()), declared


def test_what_overrides_a_parameter_is_an_argument_and_names_one_that_exists() -> None:
    overrides = constant(DEPTH, 'OVERRIDES')
    assert isinstance(overrides, dict)
    assert set(overrides) <= set(declarations(DEPTH))
    assert set(overrides.values()) <= set(BY_NAME)


def test_several_cameras_set_arguments_that_exist() -> None:
    of_each = constant(DEPTH.with_name('cameras.launch.py'), 'OF_EACH')
    assert isinstance(of_each, tuple) and set(of_each) <= set(declarations(DEPTH))


def test_every_source_of_metres_with_a_topic_can_be_remapped() -> None:
    topics = constant(DEPTH, 'SCALE_TOPICS')
    assert isinstance(topics, tuple)
    assert set(topics) | {'ground', 'fixed'} == set(SOURCES)
    declared = declarations(DEPTH)
    for source in topics:
        assert ast.literal_eval(declared[f'{source}_topic']['default_value']) == f'scale/{source}'
