"""A small file that turns one model's weights into another's: what a fine-tuning changed.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2022.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.weights.canonical import Tensors

LORA_A = '.lora_a'
LORA_B = '.lora_b'


def apply(base: Mapping[str, npt.NDArray[np.floating]],
          adapter: Mapping[str, npt.NDArray[np.floating]]) -> Tensors:
    """Return the tensors of ``base`` with ``adapter`` applied, each in its dtype in ``base``.

    For a linear weight K (out, in), ``K.lora_a`` (rank, in) and ``K.lora_b`` (out, rank) give
    K + lora_b @ lora_a, in float32; any other tensor of the adapter takes the place of the one of
    its name.  WeightsError names a tensor that does not fit.
    """
    result = dict(base)
    for name, value in adapter.items():
        if name.endswith(LORA_B):
            if name.removesuffix(LORA_B) + LORA_A not in adapter:
                raise _unfit(f'{name} has no {LORA_A.lstrip(".")} beside it')
            continue
        target = name.removesuffix(LORA_A)
        if target not in base:
            raise _unfit(f'the base has no {target}')
        weight = base[target]
        if name == target:
            changed: npt.NDArray[np.floating] = value
        else:
            changed = _low_rank_sum(target, weight, value, adapter)
        if changed.shape != weight.shape:
            raise _unfit(f'{name} has shape {value.shape}, the base\'s {target} {weight.shape}')
        result[target] = changed.astype(weight.dtype)
    return result


def _low_rank_sum(target: str, weight: npt.NDArray[np.floating], a: npt.NDArray[np.floating],
                  adapter: Mapping[str, npt.NDArray[np.floating]]) -> npt.NDArray[np.float32]:
    """Return weight + b @ a in float32."""
    if target in adapter:
        raise _unfit(f'it both replaces {target} and adds to it')
    b = adapter.get(target + LORA_B)
    if b is None:
        raise _unfit(f'{target}{LORA_A} has no {LORA_B.lstrip(".")} beside it')
    if (a.ndim, b.ndim, weight.ndim) != (2, 2, 2) or b.shape[1] != a.shape[0] \
            or (b.shape[0], a.shape[1]) != weight.shape:
        raise _unfit(f'{target} {weight.shape} is not of the shapes of {LORA_B.lstrip(".")} '
                     f'{b.shape} times {LORA_A.lstrip(".")} {a.shape}')
    return weight.astype(np.float32) + b.astype(np.float32) @ a.astype(np.float32)


def _unfit(reason: str) -> WeightsError:
    return WeightsError(f'this adapter is not of these weights: {reason}')
