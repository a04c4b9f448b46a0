"""Float16 constants of a compiled CoreML model (``.mlmodelc``).

``model.mil`` is text and names every constant, with the offset of its bytes in ``weight.bin`` or,
for the smallest, the value itself.  At the offset lies a header: magic, dtype, length and the
position of the data, little-endian.
"""

import re
import struct
from collections.abc import Mapping

import numpy as np

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.weights.canonical import Shape, Tensors

HEADER = struct.Struct('<IIQQ')
MAGIC = 0xDEADBEEF
FLOAT16 = 1
CONSTANT = re.compile(
    r'tensor<fp16, \[[\d, ]*\]> (?P<name>\w+) = const\(\)\[name = [^\n]*?'
    r'val = tensor<fp16, \[[\d, ]*\]>\('
    r'(?:BLOBFILE\([^\n]*?offset = tensor<uint64, \[\]>\((?P<offset>\d+)\)'
    r'|\[(?P<value>[^\[\],\n]+)\])')


def read(graph: str, blob: bytes, shapes: Mapping[str, Shape]) -> Tensors:
    """Return the float16 tensors named and shaped by ``shapes``.

    ``graph`` and ``blob`` are the contents of ``model.mil`` and ``weight.bin``.  WeightsError
    where one is missing or its bytes do not fit.
    """
    constants = {match['name']: match for match in CONSTANT.finditer(graph)}
    result = {}
    for name, shape in shapes.items():
        match = constants.get(f'model_{name.replace(".", "_")}_to_fp16')
        if match is None:
            raise WeightsError(f'the CoreML model has no {name}')
        try:
            values = (np.array([float.fromhex(match['value'])], np.float16)
                      if match['offset'] is None else _stored(blob, int(match['offset'])))
            result[name] = values.reshape(shape)
        except (ValueError, struct.error) as error:
            raise WeightsError(f'the CoreML model is damaged at {name}: {error}') from error
    return result


def _stored(blob: bytes, offset: int) -> np.ndarray:
    magic, dtype, length, start = HEADER.unpack_from(blob, offset)
    if (magic, dtype) != (MAGIC, FLOAT16):
        raise ValueError(f'no float16 data at offset {offset}')
    return np.frombuffer(blob, '<f2', length // 2, start)
