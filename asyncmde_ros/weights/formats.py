"""Read a file that a user hands in: safetensors of any float dtype, or the authors' pickle."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize

from asyncmde_ros.errors import WeightsError, in_words
from asyncmde_ros.weights.canonical import Tensors
from asyncmde_ros.weights.registry import FoundationWeights
from asyncmde_ros.weights.storage import sha256
from asyncmde_ros.weights.transformers_layout import is_transformers_layout, to_original_names

DTYPES = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2'}
SAFE_TORCH = (2, 6)
"""Before it, ``weights_only`` could be tricked into running code (CVE-2025-32434)."""


def read(path: Path, entry: FoundationWeights) -> Tensors:
    """Return a file's tensors under the authors' key names.

    ``.safetensors`` may have the authors' or transformers' names; ``.pth`` has to be the authors'
    checkpoint, byte for byte where the registry pins it.  Anything else raises WeightsError.
    """
    if path.suffix == '.safetensors':
        tensors = read_safetensors(path)
    elif path.suffix == '.pth':
        tensors = read_checkpoint(path, entry)
    else:
        raise WeightsError(f'{path} is neither .safetensors nor .pth')
    return to_original_names(tensors) if is_transformers_layout(tensors) else tensors


def read_safetensors(path: Path) -> Tensors:
    """Return the tensors of a safetensors file; bfloat16, which numpy lacks, comes as float32."""
    try:
        return {name: _array(name, **fields) for name, fields in deserialize(path.read_bytes())}
    except OSError as error:
        raise WeightsError(f'cannot read {path}: {error.strerror}') from error
    except SafetensorError as error:
        raise WeightsError(f'{path} is damaged or no safetensors file: {error}') from error


def read_checkpoint(path: Path, entry: FoundationWeights) -> Tensors:
    """Return the float32 tensors of the authors' ``.pth``; needs torch.

    A pickle can run code, so it is opened only after its sha256, where the registry has one, and
    then only by torch's ``weights_only`` reader, which refuses everything that is not a tensor.
    """
    pinned = entry.checkpoint
    if pinned and (found := sha256(path)) != pinned.sha256:
        raise WeightsError(
            f'{path} is not the official {pinned.name} (sha256 {found}, expected {pinned.sha256}):'
            ' it is damaged, or your own; your own must be saved as safetensors')
    try:
        import torch
    except ImportError as error:
        raise WeightsError(f'reading {path.name} needs PyTorch: pip install torch, or take the '
                           'safetensors file') from error
    if tuple(int(part) for part in torch.__version__.split('.')[:2]) < SAFE_TORCH:
        raise WeightsError(f'reading {path.name} safely needs PyTorch 2.6 or later')
    try:
        state = torch.load(path, weights_only=True, map_location='cpu')
        return {name: value.float().numpy() for name, value in state.items()}
    except Exception as error:  # torch raises a dozen kinds for a file that it cannot take
        raise WeightsError(f'{path} is damaged or no checkpoint of tensors: '
                           f'{in_words(error).splitlines()[0]}') from error


def _array(name: str, dtype: str, shape: list[int], data: bytes) -> np.ndarray:
    if dtype == 'BF16':  # the upper half of a float32
        return (np.frombuffer(data, '<u2').astype('<u4') << 16).view('<f4').reshape(shape)
    if dtype not in DTYPES:
        raise WeightsError(f'{name} is {dtype}, not a floating-point tensor')
    return np.frombuffer(data, DTYPES[dtype]).reshape(shape)
