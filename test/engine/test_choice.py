"""Which backend is taken, and the reason that is given."""

from types import SimpleNamespace

import pytest
from support.fake_gpu import FakeRuntime

from asyncmde_ros.engine import choice, tensorrt_library
from asyncmde_ros.engine.choice import BACKENDS, choose
from asyncmde_ros.engine.cuda import Device
from asyncmde_ros.errors import EngineError


class Machine:
    """Which packages it has, and which GPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.packages: set[str] = set()
        self.capability: str | None = None
        self.torch_sees_it = True
        self.version = '10.9.0'
        self.broken: set[str] = set()
        monkeypatch.setattr('importlib.util.find_spec', self._find)
        monkeypatch.setattr(tensorrt_library.importlib, 'import_module', self._import)
        monkeypatch.setattr(choice, 'load_runtime', lambda: self)
        monkeypatch.setattr(choice, 'Cuda', self._cuda)
        cuda = SimpleNamespace(is_available=lambda: self.torch_sees_it)
        monkeypatch.setitem(__import__('sys').modules, 'torch', SimpleNamespace(cuda=cuda))

    def _find(self, name: str) -> object | None:
        return name if name in self.packages else None

    def _import(self, name: str) -> object:
        if name in self.broken:
            raise ImportError('libnvinfer.so.10: cannot open shared object file')
        return SimpleNamespace(__version__=self.version)

    def _cuda(self, runtime: object) -> object:
        if self.capability is None:
            raise EngineError('no NVIDIA driver')
        return SimpleNamespace(device=lambda: Device('GPU', str(self.capability), 13000))


ALL = {'tensorrt', 'tensorrt_rtx', 'onnx', 'torch', 'cuda'}


@pytest.mark.proves('no-backend')
@pytest.mark.parametrize(('capability', 'packages', 'backend', 'on_gpu', 'reason'), [
    (None, ALL, 'openvino', False, 'no NVIDIA driver'),
    ('8.7', ALL, 'tensorrt', True, 'GPU'),
    ('8.9', ALL - {'tensorrt'}, 'tensorrt_rtx', True, 'tensorrt is not installed'),
    ('9.0', ALL - {'tensorrt'}, 'torch', True, 'does not take compute capability 9.0'),
    ('6.1', ALL - {'tensorrt'}, 'torch', True, 'does not take compute capability 6.1'),
    ('12.0', ALL - {'tensorrt'}, 'tensorrt_rtx', True, 'GPU'),
    ('8.9', ALL - {'onnx'}, 'torch', True, 'tensorrt would need onnx'),
    ('8.9', {'cuda'}, 'openvino', False, 'torch is not installed'),
])
def test_auto_takes_the_best_that_works_and_says_why(
        capability: str | None, packages: set[str], backend: str, on_gpu: bool, reason: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.capability, machine.packages = capability, packages
    chosen = choose('auto')
    assert (chosen.backend, chosen.on_gpu) == (backend, on_gpu)
    assert reason in chosen.reason and '\n' not in chosen.reason
    assert chosen.short_side == (518 if on_gpu else 252)


@pytest.mark.proves('no-backend')
def test_auto_passes_over_a_tensorrt_that_is_broken_or_old(monkeypatch: pytest.MonkeyPatch
                                                           ) -> None:
    machine = Machine(monkeypatch)
    machine.capability, machine.packages = '8.9', ALL
    machine.broken = {'tensorrt'}
    chosen = choose('auto')
    assert chosen.backend == 'tensorrt_rtx' and 'libnvinfer' in chosen.reason
    machine.broken = set()
    machine.version = '8.6.1'
    chosen = choose('auto')
    assert chosen.backend == 'tensorrt_rtx' and '8.6.1 is too old' in chosen.reason


def test_torch_is_on_the_gpu_where_torch_sees_one(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.packages = ALL
    assert choose('torch').on_gpu
    machine.torch_sees_it = False
    chosen = choose('torch')
    assert not chosen.on_gpu and 'PyTorch finds no GPU' in chosen.reason


def test_what_is_asked_for_is_taken_and_unknown_names_list_the_known_ones() -> None:
    for name in ('openvino', 'tensorrt', 'tensorrt_rtx'):
        assert choose(name).backend == name
    with pytest.raises(EngineError, match=', '.join(BACKENDS)):
        choose('abacus')


def test_the_imaginary_gpu_describes_itself() -> None:
    assert choice.Cuda(FakeRuntime()).device() == Device('Imaginary 4090', '8.9', 13000)
