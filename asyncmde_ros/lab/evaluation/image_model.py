"""Other people's depth models, to compare with: any ONNX file with one image input."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.openvino import shared_core
from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.preprocess import normalise, shrink

NEAREST_M = 1e-3
"""Depth below this is taken for this, so that its inverse is finite."""


class ImageModel:
    """Any ONNX depth model with one image input, for comparison.

    ``gives``: ``disparity`` (inverse depth) or ``depth``; ``wants``: ``imagenet`` for normalised
    input or ``unit`` for [0, 1].  Symbolic or missing sizes become ``size`` (rows, cols).
    """

    def __init__(self, path: Path, size: Size, threads: int, gives: str = 'disparity',
                 wants: str = 'imagenet') -> None:
        core = shared_core()
        try:
            model = core.read_model(path)
            if len(model.inputs) != 1 or model.input().partial_shape.rank != 4:
                raise EngineError(f'{path.name} must have one image input (1, 3, H, W)')
            shape = [wanted if side.is_dynamic else side.get_length() for side, wanted
                     in zip(model.input().partial_shape, (1, 3, *size), strict=True)]
            if shape[:2] != [1, 3]:
                raise EngineError(f'{path.name} wants input {shape}, not (1, 3, H, W)')
            model.reshape(shape)
            compiled = core.compile_model(model, 'CPU', {'INFERENCE_NUM_THREADS': threads,
                                                         'NUM_STREAMS': 1})
        except RuntimeError as error:
            raise EngineError(f'OpenVINO cannot run {path.name}: {error}') from error
        self.size = (shape[2], shape[3])
        self._gives, self._wants = gives, wants
        self._request = compiled.create_infer_request()
        self._image = np.empty((1, 3, *self.size), np.float32)

    def inverse_depth(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (rows, cols) inverse depth of (H, W, 3) uint8, at the model's output size."""
        small = shrink(rgb, self.size)
        if self._wants == 'imagenet':
            normalise(small, self._image)
        else:
            self._image[0] = small.transpose(2, 0, 1) / np.float32(255)
        result = self._request.infer([self._image])[0]
        map_ = np.array(result, np.float32).reshape(result.shape[-2:])
        if self._gives == 'depth':
            return np.asarray(1 / np.maximum(map_, NEAREST_M), np.float32)
        return map_
