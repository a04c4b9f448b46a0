"""Imports point one way, and running on a CPU needs no torch."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.repository import ROOT, imports

import asyncmde_ros

PACKAGE = Path(asyncmde_ros.__file__).parent
LAYERS = [{'errors', 'files', 'processes', 'resources', 'streams'},
          {'model'},
          {'images', 'network', 'scale', 'weights'},
          {'engine'},
          {'pipeline'},
          {'ros'},
          {'lab'},
          {'events'},
          {'cli'}]
"""Who may import whom: each room and root module those of the lines above it, and itself."""

LAB = [{'arguments', 'charts', 'machine', 'media', 'text'},
       {'bench'},
       {'soak'},
       {'evaluation', 'training', 'view'},
       {'parameter_reference', 'runs'}]
"""The same, within the laboratory."""

ROS_PACKAGES = {'rclpy', 'sensor_msgs', 'std_msgs', 'rcl_interfaces', 'builtin_interfaces',
                'diagnostic_msgs', 'lifecycle_msgs'}


def rooms(within: str) -> dict[str, set[str]]:
    """Return what each room or module of a package imports of the others: {importer: names}."""
    home = PACKAGE.parent.joinpath(*within.split('.'))
    found: dict[str, set[str]] = {}
    for path in home.rglob('*.py'):
        room = path.relative_to(home).with_suffix('').parts[0]
        if room == '__init__':
            continue
        found.setdefault(room, set()).update(
            name.removeprefix(f'{within}.').split('.')[0] for name in imports(path)
            if name.startswith(f'{within}.'))
    return {room: names - {room} for room, names in found.items()}


@pytest.mark.parametrize(('within', 'layers'), [
    ('asyncmde_ros', LAYERS), ('asyncmde_ros.lab', LAB)])
def test_imports_point_one_way(within: str, layers: list[set[str]]) -> None:
    found = rooms(within)
    assert set(found) == set().union(*layers), 'the layers name every room'
    height = {room: level for level, layer in enumerate(layers) for room in layer}
    wrong = [f'{room} imports {name}' for room, names in found.items() for name in names
             if name in height and height[name] >= height[room]
             and not (height[name] == height[room] == 0)]
    assert not wrong, wrong


def reduced(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Return the arrows of a graph without circles that do not follow from others."""
    def reached(start: str) -> set[str]:
        return graph[start].union(*(reached(name) for name in graph[start]))
    return {(start, name) for start, names in graph.items() for name in names
            if not any(name in reached(other) for other in names - {name})}


@pytest.mark.parametrize(('within', 'picture', 'roots'), [
    ('asyncmde_ros', 0, LAYERS[0]), ('asyncmde_ros.lab', 1, set())])
def test_the_pictures_of_the_rooms_are_the_imports(within: str, picture: int, roots: set[str]
                                                   ) -> None:
    """An arrow is drawn where it does not follow from others."""
    page = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
    drawn = re.findall(r'```mermaid\nflowchart TD\n(.*?)```', page, re.DOTALL)[picture]
    arrows = {(start, name) for start, name in re.findall(r'^ +(\w+) --> (\w+)$', drawn, re.M)}
    found = rooms(within)
    names = set(found) - roots
    assert set(re.findall(r'\w+', drawn)) == names
    assert arrows == reduced({room: found[room] & names for room in names})


def test_ros_is_imported_by_the_nodes_and_by_runs_only_and_the_node_of_events_by_nothing() -> None:
    homes = {PACKAGE / room for room in ('ros', 'lab/runs', 'events/node')}
    wrong = [f'{path.relative_to(PACKAGE)} imports {name}'
             for path in PACKAGE.rglob('*.py') if path.parent not in homes
             for name in imports(path) if name.split('.')[0] in ROS_PACKAGES
             or name.startswith('asyncmde_ros.events.node')]
    assert not wrong, wrong


def test_the_engine_needs_the_network_for_torch_only() -> None:
    users = {path.name for path in (PACKAGE / 'engine').glob('*.py')
             if any(name.startswith('asyncmde_ros.network') for name in imports(path))}
    assert users == {'torch.py', 'torch_cuda.py'}


def test_running_on_a_cpu_imports_neither_torch_nor_ros() -> None:
    program = ('import sys, asyncmde_ros.pipeline.depth_pipeline, asyncmde_ros.engine.openvino, '
               'asyncmde_ros.cli.main; '
               'print([m for m in ("torch", "rclpy", "onnx") if m in sys.modules])')
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == '[]'


def test_events_need_neither_torch_nor_ros_nor_a_recordings_package() -> None:
    program = ('import sys, asyncmde_ros.events.demo, asyncmde_ros.events.evaluation; '
               'print([m for m in ("torch", "rclpy", "rosbags", "h5py", "dv_processing", "av") '
               'if m in sys.modules])')
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize('module', [
    'asyncmde_ros.cli.main',
    pytest.param('asyncmde_ros.ros.main', marks=pytest.mark.skipif(
        find_spec('rclpy') is None, reason='needs rclpy'))])
def test_only_videos_need_pyav(module: str) -> None:
    """A robot's Python may have none, or an old one."""
    program = f'import sys; sys.modules["av"] = None; import {module}'
    subprocess.run([sys.executable, '-c', program], check=True)


@pytest.mark.proves('video-unusable')
@pytest.mark.parametrize(('code', 'words'), [
    ('sys.modules["av"] = None', 'videos need PyAV: pip install'),
    ('import av; av.__version__ = "11.0.0"', 'videos need PyAV 17 or later, and this is 11.0.0')])
def test_without_a_pyav_that_can_be_used_a_video_says_what_to_install(
        tmp_path: Path, code: str, words: str) -> None:
    (tmp_path / 'video.mp4').write_bytes(b'')
    program = (f'import sys; {code}; from asyncmde_ros.cli.main import main; '
               'sys.exit(main(["view", "--video", "video.mp4", "--save", "out.rrd"]))')
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                          cwd=tmp_path, env=os.environ | {'PYTHONPATH': str(PACKAGE.parent)})
    assert (done.returncode, 'Traceback' in done.stderr) == (1, False)
    assert words in done.stderr
