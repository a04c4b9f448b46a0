"""TensorRT's Python module, of either backend, if there is one that serves."""

import importlib
from types import ModuleType

from asyncmde_ros.errors import EngineError

PACKAGES = {'tensorrt': 'TensorRT (JetPack and NVIDIA\'s containers bring it; else pip install '
                        'tensorrt)',
            'tensorrt_rtx': 'TensorRT for RTX: pip install "tensorrt-rtx>=1.4"'}
"""What to install for each backend."""

OLDEST_MAJOR = 10
"""Strongly typed networks as ours came with TensorRT 10."""


def load_module(backend: str) -> ModuleType:
    """Import ``tensorrt`` or ``tensorrt_rtx``; EngineError says what to install."""
    try:
        module = importlib.import_module(backend)
        version = str(module.__version__)
    # OSError: a library that its package lacks.  AttributeError: a folder that has only the name.
    except (ImportError, OSError, AttributeError) as error:
        raise EngineError(f'the backend {backend} needs {PACKAGES[backend]} ({error})') from error
    if backend == 'tensorrt' and int(version.partition('.')[0]) < OLDEST_MAJOR:
        raise EngineError(f'TensorRT {version} is too old: it takes {OLDEST_MAJOR} or newer')
    return module
