"""Imports point one way, and running on a CPU needs no torch."""

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import asyncmde_ros

PACKAGE = Path(asyncmde_ros.__file__).parent
ABOVE = {'network': {'engine', 'pipeline', 'ros', 'training', 'evaluation', 'cli', 'weights',
                     'view'},
         'weights': {'network', 'engine', 'pipeline', 'ros', 'training', 'evaluation', 'cli',
                     'view'},
         'media': {'network', 'engine', 'pipeline', 'ros', 'training', 'evaluation', 'cli',
                   'view'},
         'engine': {'pipeline', 'ros', 'training', 'evaluation', 'cli', 'view'},
         'bench': {'ros', 'training', 'evaluation', 'cli', 'view'},
         'soak': {'network', 'engine', 'pipeline', 'ros', 'training', 'evaluation', 'cli', 'view'},
         'evaluation': {'network', 'ros', 'training', 'cli', 'bench', 'view'},
         'pipeline': {'network', 'ros', 'training', 'evaluation', 'cli', 'view'},
         'view': {'network', 'ros', 'training', 'evaluation', 'cli', 'bench'},
         'ros': {'network', 'training', 'evaluation', 'cli'}}
ROS_PACKAGES = {'rclpy', 'sensor_msgs', 'std_msgs', 'rcl_interfaces', 'builtin_interfaces',
                'diagnostic_msgs', 'lifecycle_msgs'}


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return names


def test_no_layer_imports_one_above_it() -> None:
    wrong = []
    for layer, forbidden in ABOVE.items():
        for path in (PACKAGE / layer).glob('*.py'):
            for name in imports(path):
                parts = name.split('.')
                if parts[0] == 'asyncmde_ros' and len(parts) > 1 and parts[1] in forbidden:
                    wrong.append(f'{path.relative_to(PACKAGE)} imports {name}')
    assert not wrong, wrong


def test_ros_is_imported_in_the_ros_layer_only() -> None:
    wrong = [f'{path.relative_to(PACKAGE)} imports {name}'
             for path in PACKAGE.rglob('*.py') if path.parent.name != 'ros'
             for name in imports(path) if name.split('.')[0] in ROS_PACKAGES]
    assert not wrong, wrong


def test_the_engine_needs_the_network_only_to_export_and_for_torch() -> None:
    users = {path.name for path in (PACKAGE / 'engine').glob('*.py')
             if any(name.startswith('asyncmde_ros.network') for name in imports(path))}
    assert users == {'export.py', 'torch.py', 'torch_cuda.py'}


def test_running_on_a_cpu_imports_neither_torch_nor_ros() -> None:
    program = ('import sys, asyncmde_ros.pipeline.depth_pipeline, asyncmde_ros.engine.openvino, '
               'asyncmde_ros.cli.main; '
               'print([m for m in ("torch", "rclpy", "onnx") if m in sys.modules])')
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
