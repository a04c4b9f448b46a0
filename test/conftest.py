"""Fixtures: real weights where they can be had, and a plain word where not."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest

from asyncmde_ros import weights
from asyncmde_ros.errors import WeightsError

if TYPE_CHECKING:
    from support.ros_rig import Peer

FOUNDATION = 'depth_anything_v2_vits'

PRECISIONS = {'fp32': 'f32', 'bf16': 'bf16'}
"""What ``ASYNCMDE_TEST_PRECISION`` may say, in OpenVINO's words."""

# The same examples every time, and no deadline on a machine that may be busy;
# ``--hypothesis-profile explore`` draws others.
hypothesis.settings.register_profile(
    'repeatable', deadline=None, derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile(
    'explore', hypothesis.settings.get_profile('repeatable'), derandomize=False)
hypothesis.settings.load_profile('repeatable')


def shared_directory() -> Path | None:
    """Return the folder of shared test data, None where ASYNCMDE_SHARED does not name one."""
    text = os.environ.get('ASYNCMDE_SHARED')
    return Path(text).resolve() if text and Path(text).is_dir() else None


def pytest_configure(config: pytest.Config) -> None:
    shared = shared_directory()
    if shared is not None:
        os.environ.setdefault('ASYNCMDE_MODELS', str(shared / 'models'))
    # Threads of PyTorch that wait for work would spin: with two tests at once on two cores that
    # is most of what they do.  Read when PyTorch is imported.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    # Tests run in two processes, and beside whatever else is on this machine.  Fast DDS's port
    # numbers allow domains up to 101 on every system.
    if 'PYTEST_CURRENT_TEST' not in os.environ:  # else in the domain of the test that started this
        worker = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw'))
        run = os.getppid() if 'PYTEST_XDIST_WORKER' in os.environ else os.getpid()
        os.environ['ROS_DOMAIN_ID'] = str(1 + (run + 25 * worker) % 100)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    precision = os.environ.get('ASYNCMDE_TEST_PRECISION')
    if precision is not None:
        if precision not in PRECISIONS:
            raise pytest.UsageError('ASYNCMDE_TEST_PRECISION must be one of '
                                    f'{", ".join(PRECISIONS)}: {precision!r}')
        from asyncmde_ros.engine.openvino import shared_core
        # What "auto" means from here on, whatever this CPU would choose.
        shared_core().set_property('CPU', {'INFERENCE_PRECISION_HINT': PRECISIONS[precision]})


def pytest_report_header() -> list[str]:
    shared = shared_directory()
    return [f'ASYNCMDE_SHARED: {shared}' if shared else
            'ASYNCMDE_SHARED is not set: recorded bags are left out, weights are fetched']


@pytest.fixture(autouse=True)
def _scheduling_stays() -> Iterator[None]:
    """A test that left its worker with real-time priority would starve all that come after it."""
    before = os.sched_getscheduler(0)
    yield
    after = os.sched_getscheduler(0)
    if after != before:
        os.sched_setscheduler(0, before, os.sched_param(0))
    assert after == before, 'the test changed how its thread is scheduled'


@pytest.fixture(scope='session', autouse=True)
def _signals_are_heard() -> Iterator[None]:
    """A shell has what it starts behind a "&" ignore Ctrl-C, and nohup a terminal that closes.

    So would whatever tests start.
    """
    heard = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    ignored = [number for number in heard if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, heard[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of shared test data; the test is left out where it is absent."""
    directory = shared_directory()
    if directory is None:
        pytest.skip('left out: needs the shared test data (ASYNCMDE_SHARED)')
    return directory


@pytest.fixture
def peer() -> Iterator['Peer']:
    """Another participant of ROS 2, in this process."""
    from support.ros_rig import Peer
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture(scope='session')
def foundation_path() -> Path:
    """Depth Anything V2 Small's real weights, fetched if need be."""
    try:
        return weights.fetch(FOUNDATION)
    except WeightsError as error:
        pytest.skip(f'left out: the real weights could not be fetched ({error})')


@pytest.fixture(scope='session')
def foundation_weights(foundation_path: Path) -> dict[str, np.ndarray]:
    return weights.load(foundation_path)


@pytest.fixture(scope='session')
def fast_weights() -> dict[str, np.ndarray]:
    """The fast network's weights as shipped."""
    return weights.load(weights.locate('asyncmde_vits'))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out a training's picture: drawing takes longer than all that is learned here."""
    from asyncmde_ros.lab.training import curves
    monkeypatch.setattr(curves, 'plot', lambda directory: None)


@pytest.fixture(scope='module')
def one_core() -> Iterator[None]:
    """Compute on one core: several add up in any order, and no two runs would be alike."""
    import torch
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
