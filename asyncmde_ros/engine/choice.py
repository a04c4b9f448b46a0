"""Which backend computes here, and why."""

import importlib.util
from dataclasses import dataclass

from asyncmde_ros.engine.cuda import Cuda, Device, load_runtime
from asyncmde_ros.engine.tensorrt_library import load_module
from asyncmde_ros.errors import EngineError

AUTO_BACKEND = 'auto'
BACKENDS = (AUTO_BACKEND, 'openvino', 'tensorrt', 'tensorrt_rtx', 'torch')

CPU_SHORT_SIDE = 252
GPU_SHORT_SIDE = 518
"""Short sides of the network's image where ``input.size`` is ``auto``."""

RTX_OLDEST, RTX_REFUSED = (7, 5), ((8, 7), (9, 0))
"""Compute capabilities of TensorRT for RTX: consumer cards from Turing on; neither Orin nor Hopper
(its builder says so)."""


@dataclass(frozen=True)
class Choice:
    """A backend, whether it is on a GPU, and the reason in words."""

    backend: str
    on_gpu: bool
    reason: str

    @property
    def short_side(self) -> int:
        """Return the network's short side in pixels where nobody asks for one."""
        return GPU_SHORT_SIDE if self.on_gpu else CPU_SHORT_SIDE


def choose(wanted: str) -> Choice:
    """Return what ``wanted`` means here; EngineError for an unknown name.

    ``auto`` takes TensorRT where it works, then PyTorch on the GPU, then OpenVINO on the CPU.
    ``torch`` is on the GPU where there is one that PyTorch can use.
    """
    if wanted not in BACKENDS:
        raise EngineError(f'no backend {wanted!r}; there are {", ".join(BACKENDS)}')
    if wanted == 'torch':
        lacking = _torch_lacks()
        return Choice('torch', lacking is None, lacking or 'as asked, on the GPU')
    if wanted != AUTO_BACKEND:
        return Choice(wanted, wanted != 'openvino', 'as asked')
    try:
        device = Cuda(load_runtime()).device()
    except EngineError as error:
        return Choice('openvino', False, f'no GPU to use: {error}')
    against: list[str] = []
    for backend in ('tensorrt', 'tensorrt_rtx'):
        lacking = _tensorrt_lacks(backend, device)
        if lacking is None:
            return Choice(backend, True, '; '.join([device.name, *against]))
        against.append(lacking)
    lacking = _torch_lacks()
    if lacking is None:
        return Choice('torch', True, '; '.join([device.name, *against]))
    return Choice('openvino', False, '; '.join([*against, lacking]))


def _tensorrt_lacks(backend: str, device: Device) -> str | None:
    if importlib.util.find_spec(backend) is None:
        return f'{backend} is not installed'
    if importlib.util.find_spec('onnx') is None:
        return f'{backend} would need onnx (pip install onnx)'
    capability = tuple(int(part) for part in device.compute_capability.split('.'))
    if backend == 'tensorrt_rtx' and (capability < RTX_OLDEST or capability in RTX_REFUSED):
        return f'tensorrt_rtx does not take compute capability {device.compute_capability}'
    try:
        load_module(backend)  # a package may be there without its libraries
    except EngineError as error:
        return ' '.join(str(error).split())
    return None


def _torch_lacks() -> str | None:
    """Say why PyTorch cannot use a GPU here, None if it can."""
    if importlib.util.find_spec('torch') is None:
        return 'torch is not installed'
    if importlib.util.find_spec('cuda') is None:
        return 'on the CPU: cuda-bindings is not installed'
    import torch
    return None if torch.cuda.is_available() else 'on the CPU: PyTorch finds no GPU'
