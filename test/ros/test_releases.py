"""Other releases of ROS 2 than the installed one: there, the node's own tests once more."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from support.constants import constant
from support.repository import ROOT

TIMEOUT_S = 600.0
"""Of the tests below; they take half a minute, and each of their own waits is bounded."""

TESTS = ('test_node.py::test_depth_comes_with_the_images_stamp_frame_and_size_at_its_rate',
         'test_running_node.py::test_parameters_set_over_the_service_change_the_running_node',
         'test_node.py::'
         'test_what_needs_a_rebuild_is_set_while_unconfigured_and_taken_by_configure',
         'test_running_node.py::test_its_shared_memory_holds_several_images',
         'test_node.py::test_ctrl_c_ends_cleanly_at_any_moment[running]')
HUMBLE_TESTS = ('test_running_node.py::test_each_depth_has_the_calibration_of_its_own_image',
                *TESTS[1:3], *TESTS[4:])
"""Without the rate: an image that waited is not known as one there, and gets no moved depth."""

WHEELS_OWN = ('LD_LIBRARY_PATH', '_ROS_WHEELS_BOOTSTRAP_COMPLETE', 'AMENT_PREFIX_PATH')
"""What the ROS wheels set for every process of their environment, and would be wrong elsewhere."""

pytestmark = [pytest.mark.ros, pytest.mark.slow]


def passes(python: Path, environment: Mapping[str, str], tests: Sequence[str]) -> None:
    done = subprocess.run(
        [python, '-m', 'pytest', '-q', '-p', 'no:cacheprovider',
         *(f'test/ros/{name}' for name in tests)],
        cwd=ROOT, env=environment, timeout=TIMEOUT_S, capture_output=True, text=True)
    assert done.returncode == 0 and f'{len(tests)} passed' in done.stdout, done.stdout


@pytest.fixture
def kilted(tmp_path: Path) -> Iterator[Path]:
    """Python of an environment with ROS 2 Kilted, and everything else from the running one."""
    if 'ROS_DISTRO' in os.environ:
        pytest.skip('left out: the ROS 2 that is sourced would be found before the wheels')
    folder = tmp_path / 'kilted'
    python = folder / 'bin' / 'python'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', folder], check=True)
    wheels = constant(ROOT / 'setup.py', 'KILTED')
    assert isinstance(wheels, list)
    # What is compiled against NumPy comes from the running environment.
    installed = subprocess.run(
        [sys.executable, '-m', 'pip', '--python', python, 'install', '--quiet',
         f'numpy=={np.__version__}', *wheels], capture_output=True, text=True)
    if installed.returncode != 0:
        pytest.skip('left out: the wheels of ROS 2 Kilted could not be installed '
                    f'({installed.stderr.strip().splitlines()[-1]})')
    (site,) = folder.glob('lib/python*/site-packages')
    paths = sysconfig.get_paths()
    (site / 'running.pth').write_text('\n'.join({paths['purelib'], paths['platlib']}))
    yield python
    shutil.rmtree(folder)


def test_on_kilted_the_node_passes_its_tests(kilted: Path, foundation_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in WHEELS_OWN}
    found = subprocess.run([kilted, '-c', 'import rclpy; print(rclpy.__file__)'], cwd=ROOT,
                           env=environment, check=True, capture_output=True, text=True)
    assert Path(found.stdout.strip()).is_relative_to(kilted.parent.parent)
    passes(kilted, environment, TESTS)


def test_with_what_humble_lacks_taken_away_the_node_passes_its_tests(foundation_path: Path
                                                                     ) -> None:
    path = os.pathsep.join([str(ROOT / 'test' / 'support' / 'humble'),
                            *filter(None, [os.environ.get('PYTHONPATH')])])
    passes(Path(sys.executable), os.environ | {'PYTHONPATH': path}, HUMBLE_TESTS)
