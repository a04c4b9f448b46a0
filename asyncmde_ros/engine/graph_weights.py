"""The values of a graph's weight inputs."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import EngineError


def is_weight(name: str) -> bool:
    """Tell a weight input from a data input: it carries a module's path, with dots."""
    return '.' in name


def weight(weights: Mapping[str, npt.NDArray[np.floating]], name: str, shape: tuple[int, ...]
           ) -> npt.NDArray[np.float32]:
    """Return a weight input's value; EngineError if it is missing or of another shape."""
    if name not in weights:
        raise EngineError(f'the weights lack {name}')
    value = weights[name]
    if value.shape != shape:
        raise EngineError(f'{name} has shape {value.shape}, the graph wants {shape}: '
                          'these weights are of another model')
    return value.astype(np.float32)
