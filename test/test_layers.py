"""Imports point one way, and running on a CPU needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

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
