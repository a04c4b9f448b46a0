"""Which node a file's parameters are for."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

from pathlib import Path

from asyncmde_ros.resources import share_directory
from asyncmde_ros.ros.parameter_files import files_of, objection

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
    said = objection(path, node)
    assert bool(said) == bool(others)
    assert not others or f'parameters for {", ".join(others)} only' in str(said)


@pytest.mark.proves('parameter-file')
@pytest.mark.parametrize('content', [
    b'', b'# a comment', b'autostart', b'- 1', b'{', b'\xff\xfe', b'/**: {}',
    f'a: {SET}\n---\nb: {SET}'.encode()])
def test_a_file_that_holds_no_parameters_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'parameters.yaml'
    path.write_bytes(content)
    assert f'{path} holds no parameters' in str(objection(path, '/depth_node'))


def test_the_shipped_file_is_for_any_node() -> None:
    assert not objection(share_directory() / 'config' / 'depth.yaml', '/front/depth')


def test_files_are_those_given_to_ros() -> None:
    assert files_of(['node', '--ros-args', '--params-file', 'a.yaml', '-p', 'x:=1',
                     '--params-file', 'b.yaml', '--', '--params-file', 'c.yaml',
                     '--ros-args', '--params-file', 'd.yaml']) == [
        Path('a.yaml'), Path('b.yaml'), Path('d.yaml')]
    assert not files_of(['node', '--params-file', 'a.yaml'])
    assert not files_of(['node', '--ros-args', '--params-file'])
