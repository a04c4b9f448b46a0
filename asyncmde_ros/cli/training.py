"""What the commands that train share: a device, and words for Ctrl-C."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asyncmde_ros.errors import AsyncMDEError

NEEDS = 'training needs {}: pip install ".[train]" in its source'


def chosen_device(name: str | None) -> Any:
    """Return PyTorch's device of that name, None: a GPU where there is one; AsyncMDEError if not.
    """
    import torch
    name = name or ('cuda' if torch.cuda.is_available() else 'cpu')
    if name == 'cuda' and not torch.cuda.is_available():
        raise AsyncMDEError('--device cuda: PyTorch sees no CUDA device here')
    return torch.device(name)


@contextlib.contextmanager
def resumable(out: Path) -> Iterator[None]:
    """End a run that is interrupted with a checkpoint, and say how it goes on."""
    from asyncmde_ros.lab.training.interruption import ended_alike
    from asyncmde_ros.lab.training.loop import CHECKPOINT
    try:
        with ended_alike():
            yield
    except KeyboardInterrupt:
        checkpoint = out / CHECKPOINT
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f'asyncmde: interrupted; {checkpoint} has what was learned: the same command '
                  'with --resume goes on' if checkpoint.is_file() else
                  'asyncmde: interrupted; what was prepared is kept: the same command goes on',
                  file=sys.stderr, flush=True)
        raise
