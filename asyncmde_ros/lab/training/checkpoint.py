"""Everything that a run needs to go on, as safetensors: weights, optimiser, counters."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from asyncmde_ros import files
from asyncmde_ros.errors import WeightsError, in_words

STATE = 'state'
_MOMENTS = ('exp_avg', 'exp_avg_sq', 'step')


@dataclass
class Progress:
    """Counters of a run; ``best`` is the phase's best validation score so far.

    ``to_validate``: a validation was due when the run was interrupted.
    """

    step: int = 0
    minutes: float = 0.0
    phase: int = 0
    phase_step: int = 0
    best: float = float('inf')
    to_validate: bool = False


def write(path: Path, network: nn.Module, optimiser: torch.optim.AdamW,
          averaged: AveragedModel, best: dict[str, Tensor], extra: dict[str, Tensor],
          progress: Progress, config: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    tensors = {f'network.{name}': value for name, value in network.state_dict().items()}
    tensors |= {f'averaged.{name}': value for name, value in averaged.state_dict().items()}
    tensors |= {f'best.{name}': value for name, value in best.items()}
    tensors |= {f'extra.{name}': value for name, value in extra.items()}
    names: dict[Tensor, str] = {parameter: name for name, parameter in network.named_parameters()}
    for parameter, moments in optimiser.state.items():
        tensors |= {f'{moment}.{names[parameter]}': moments[moment] for moment in _MOMENTS}
    state = json.dumps({'progress': vars(progress), 'config': config})
    files.write_atomically(path, save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        {STATE: state}))


@dataclass
class Restored:
    """What :func:`read` gives back."""

    best: dict[str, Tensor]
    extra: dict[str, Tensor]
    progress: Progress
    config: dict[str, Any]


def read(path: Path, network: nn.Module, optimiser: torch.optim.AdamW,
         averaged: AveragedModel) -> Restored:
    """Load weights, their average and the optimiser in place.

    Raises WeightsError where the file is not of this network.
    """
    try:
        with safe_open(path, 'pt') as stored:
            state = json.loads((stored.metadata() or {})[STATE])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}
        network.load_state_dict(_part(tensors, 'network.'))
        averaged.load_state_dict(_part(tensors, 'averaged.'))
        for name, parameter in network.named_parameters():
            if f'exp_avg.{name}' in tensors:
                optimiser.state[parameter] = {
                    moment: tensors[f'{moment}.{name}'].to(
                        'cpu' if moment == 'step' else parameter.device) for moment in _MOMENTS}
        return Restored(_part(tensors, 'best.'), _part(tensors, 'extra.'),
                        Progress(**state['progress']), state['config'])
    except (OSError, SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f'{path} is not a checkpoint of this network '
                           f'({in_words(error).splitlines()[0]}): train without --resume, or into '
                           'another folder') from error


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items()
            if name.startswith(prefix)}
