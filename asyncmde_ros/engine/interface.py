"""The one interface behind which hardware lives."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt


class Precision(str, Enum):
    """What a backend may compute in; inputs and outputs are float32 either way."""

    AUTO = 'auto'
    FP32 = 'fp32'


@dataclass(frozen=True)
class Buffer:
    """Memory for one tensor, allocated once and bound to engines again and again.

    ``array`` is the host's float32 view of it, ``handle`` what the backend passes to its runtime.
    """

    array: npt.NDArray[np.float32]
    handle: Any


class Engine(ABC):
    """A compiled graph: shapes fixed, named float32 tensors in and out.

    ``inputs`` and ``outputs`` map names to shapes.  One engine is used by one thread at a time;
    two engines of a backend may run at once, and may share buffers that neither is writing.
    """

    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]

    @abstractmethod
    def allocate(self, name: str) -> Buffer:
        """Return a new zeroed buffer with the shape of input or output ``name``."""

    @abstractmethod
    def run(self, bindings: Mapping[str, Buffer]) -> None:
        """Compute every output from every input; ``bindings`` must name them all.

        An output's buffer must not be an input's.  Raises EngineError if the runtime fails.
        """

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an input or output."""
        return self.inputs[name] if name in self.inputs else self.outputs[name]
