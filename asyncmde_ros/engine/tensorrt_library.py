"""TensorRT's Python module, of either flavour, if there is one that serves."""

import importlib
from types import ModuleType

from asyncmde_ros.errors import EngineError

PACKAGES = {'tensorrt': 'TensorRT (JetPack and NVIDIA\'s containers bring it; else pip install '
                        'tensorrt)',
            'tensorrt_rtx': 'TensorRT for RTX: pip install "tensorrt-rtx>=1.4"'}
"""What to install for each flavour."""

OLDEST_MAJOR = 10
"""Strongly typed networks as ours came with TensorRT 10."""


def load_module(flavour: str) -> ModuleType:
    """Import ``tensorrt`` or ``tensorrt_rtx``; EngineError says what to install."""
    try:
        module = importlib.import_module(flavour)
        version = str(module.__version__)
    # OSError: a library that its package lacks.  AttributeError: a folder that has only the name.
    except (ImportError, OSError, AttributeError) as error:
        raise EngineError(f'the backend {flavour} needs {PACKAGES[flavour]} ({error})') from error
    if flavour == 'tensorrt' and int(version.partition('.')[0]) < OLDEST_MAJOR:
        raise EngineError(f'TensorRT {version} is too old: it takes {OLDEST_MAJOR} or newer')
    return module
