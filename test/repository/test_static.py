"""What can be said of the code without running it: ruff, mypy, and ament's linters."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest
from support.repository import ROOT

CODE = ('asyncmde_ros', 'launch', 'setup.py', 'test')


def check(command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f'{" ".join(command)}\n{done.stdout}{done.stderr}'


def need(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f'left out: {module} is not installed')


def test_ruff_has_no_objection() -> None:
    need('ruff')
    check([sys.executable, '-m', 'ruff', 'check', '--config', '.ci/ruff.toml', *CODE])


@pytest.mark.slow
def test_the_types_are_right() -> None:
    need('mypy', 'torch', 'onnx', 'rclpy', 'rosbags')
    if not (Path(cv2.__file__).parent / 'py.typed').exists():
        pytest.skip('left out: this OpenCV comes without types; the one from PyPI has them')
    check([sys.executable, '-m', 'mypy'])


@pytest.mark.parametrize('arguments', [
    ('ament_flake8', '--config', 'setup.cfg'),
    # The summary begins on the first line; the rest as in ruff.toml.
    ('ament_pep257', '--add-ignore', 'D200', 'D213', 'D400', 'D401', 'D402', 'D403', 'D415',
     '--')],
    ids=lambda arguments: arguments[0])
def test_ament_has_no_objection(arguments: tuple[str, ...]) -> None:
    """Not ament_copyright: the licence stands in one place, not at the head of every file."""
    if shutil.which(arguments[0]) is None:
        pytest.skip(f'left out: needs {arguments[0]}, which comes with ROS 2')
    check([*arguments, *CODE])
