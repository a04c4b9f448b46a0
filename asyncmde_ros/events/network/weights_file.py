"""A trained network in a file: float16, with the name of its configuration."""

from pathlib import Path
from typing import NamedTuple

import safetensors.torch
from safetensors import SafetensorError, safe_open

from asyncmde_ros import files
from asyncmde_ros.errors import WeightsError
from asyncmde_ros.events.network.auxiliary import DenseHeads
from asyncmde_ros.events.network.config import CONFIGS
from asyncmde_ros.events.network.event_spd import EventSPD

CONFIG_KEY = 'config'
"""Of the header: the name of the network's configuration."""

DENSE = 'dense.'
"""Before the names of the dense heads' tensors."""


class Trained(NamedTuple):
    """Both are for inference."""

    network: EventSPD
    dense: DenseHeads


def save(network: EventSPD, dense: DenseHeads, path: Path) -> None:
    """Write weights, and in the header which configuration they are of."""
    tensors = network.state_dict() | {f'{DENSE}{name}': value
                                      for name, value in dense.state_dict().items()}
    files.write_atomically(path, safetensors.torch.save(
        {name: value.detach().cpu().half().contiguous() for name, value in tensors.items()},
        {'format': 'pt', CONFIG_KEY: network.config.name}))


def load(path: Path) -> Trained:
    """Read what :func:`save` wrote.  Raises WeightsError where it did not."""
    try:
        with safe_open(path, 'pt') as stored:
            config = CONFIGS[(stored.metadata() or {})[CONFIG_KEY]]
            tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}
        network, dense = EventSPD(config), DenseHeads(config)
        network.load_state_dict({name: value for name, value in tensors.items()
                                 if not name.startswith(DENSE)})
        dense.load_state_dict({name.removeprefix(DENSE): value for name, value in tensors.items()
                               if name.startswith(DENSE)})
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise WeightsError(f'{path} has no weights of EventSPD: {error}') from error
    return Trained(network.eval(), dense.eval())
