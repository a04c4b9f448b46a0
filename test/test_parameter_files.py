"""Which node a file's parameters are for."""

from pathlib import Path

import pytest

from asyncmde_ros.resources import share_directory
from asyncmde_ros.ros.parameter_files import files_of, strangers

SET = '{ros__parameters: {backend: openvino}}'


@pytest.mark.parametrize(('text', 'node', 'others'), [
    (f'depth_node: {SET}', '/depth_node', []),
    (f'/depth_node: {SET}', '/depth_node', []),
    (f'/front/depth_node: {SET}', '/front/depth_node', []),
    (f'front: {{depth_node: {SET}}}', '/front/depth_node', []),
    (f'/front: {{depth_node: {SET}, camera: {SET}}}', '/front/depth_node', []),
    (f'/**: {SET}', '/front/depth_node', []),
    (f'/**/depth_node: {SET}', '/depth_node', []),
    (f'/*/depth_node: {SET}', '/front/depth_node', []),
    (f'/*: {SET}', '/depth_node', []),
    (f'camera: {SET}\ndepth_node: {SET}', '/depth_node', []),
    ('', '/depth_node', []), ('- 1', '/depth_node', []), ('{', '/depth_node', []),
    (f'depth: {SET}', '/depth_node', ['/depth']),
    (f'depth_node: {SET}', '/front/depth_node', ['/depth_node']),
    (f'/*: {SET}', '/front/depth_node', ['/*']),
    (f'/*/depth_node: {SET}', '/depth_node', ['/*/depth_node']),
    (f'/front: {{depth_node: {SET}, camera: {SET}}}', '/rear/depth_node',
     ['/front/depth_node', '/front/camera'])])
def test_a_file_without_our_name_gives_the_names_that_it_has(
        text: str, node: str, others: list[str], tmp_path: Path) -> None:
    path = tmp_path / 'parameters.yaml'
    path.write_text(text)
    assert strangers(path, node) == others


def test_the_shipped_file_is_for_any_node() -> None:
    assert not strangers(share_directory() / 'config' / 'depth.yaml', '/front/depth')


def test_files_are_those_given_to_ros() -> None:
    assert files_of(['node', '--ros-args', '--params-file', 'a.yaml', '-p', 'x:=1',
                     '--params-file', 'b.yaml', '--', '--params-file', 'c.yaml',
                     '--ros-args', '--params-file', 'd.yaml']) == [
        Path('a.yaml'), Path('b.yaml'), Path('d.yaml')]
    assert not files_of(['node', '--params-file', 'a.yaml'])
    assert not files_of(['node', '--ros-args', '--params-file'])
