"""TensorRT, and TensorRT for RTX: loading a plan and running it.

Takes the module, ``tensorrt`` or ``tensorrt_rtx``, as an argument: what is used of them is the
same from TensorRT 10.3 to 11.  Most of their calls tell of failure by None or False; each is
checked.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from asyncmde_ros.engine.cuda import Cuda, load_runtime
from asyncmde_ros.engine.cuda_engine import CudaEngine, TensorType
from asyncmde_ros.engine.interface import EngineOptions, Graph, Specification
from asyncmde_ros.engine.plans import Key, PlanStore
from asyncmde_ros.engine.tensorrt_build import build, find_or_build, plan_job
from asyncmde_ros.engine.tensorrt_library import load_module
from asyncmde_ros.engine.tensorrt_log import error_recorder, shared_logger
from asyncmde_ros.errors import EngineError

logger = logging.getLogger(__name__)


class TensorRTEngine(CudaEngine):
    """A plan, ready to run."""

    def __init__(self, trt: Any, cuda: Cuda, graph: Graph, plan: bytes) -> None:
        """``cuda`` comes first: some versions' Runtime crashes where there is no driver.

        Raises EngineError with what TensorRT said if the plan is of another version or GPU, or
        damaged.
        """
        self._recorder = error_recorder(trt)
        self._runtime = trt.Runtime(shared_logger(trt))
        self._runtime.error_recorder = self._recorder
        self._plan = self._checked(self._runtime.deserialize_cuda_engine(plan),
                                   'the plan does not load')
        self._context = self._checked(self._plan.create_execution_context(),
                                      'there is no room to run the plan')
        super().__init__(cuda, graph, self._describe(trt))

    def _describe(self, trt: Any) -> dict[str, TensorType]:
        tensors = {}
        for index in range(self._plan.num_io_tensors):
            name = self._plan.get_tensor_name(index)
            mode = self._plan.get_tensor_mode(name)
            tensors[name] = TensorType(tuple(self._plan.get_tensor_shape(name)),
                                       _numpy_type(trt, self._plan.get_tensor_dtype(name)),
                                       mode == trt.TensorIOMode.INPUT)
        return tensors

    def _queue(self, addresses: Mapping[str, int]) -> None:
        for name, address in addresses.items():
            self._checked(self._context.set_tensor_address(name, address),
                          f'it does not take the address of {name}')
        self._checked(self._context.execute_async_v3(int(self.stream.handle)), 'it does not run')

    def capturable(self) -> bool:
        # TensorRT for RTX compiles kernels while it runs, and may not be ready for capture yet.
        ready = getattr(self._context, 'is_stream_capturable', None)
        return ready is None or bool(ready(int(self.stream.handle)))

    def _checked(self, result: Any, failure: str) -> Any:
        if result is None or result is False:
            reason = self._recorder.errors.first()
            self._recorder.clear()
            raise EngineError(f'TensorRT: {failure}: {reason}')
        return result


def _numpy_type(trt: Any, dtype: Any) -> np.dtype:
    known = {trt.DataType.FLOAT: np.float32, trt.DataType.HALF: np.float16,
             trt.DataType.UINT8: np.uint8}
    if dtype not in known:
        raise EngineError(f'TensorRT: a tensor of {dtype}, which no graph of ours has')
    return np.dtype(known[dtype])


@dataclass(frozen=True)
class StoredValidation:
    """Writes the outcome beside the plan, or throws a wrong plan away."""

    store: PlanStore
    key: Key

    def passed(self, errors: Mapping[str, float]) -> None:
        self.store.note_check(self.key, dict(errors))

    def failed(self) -> None:
        self.store.discard(self.key)


def compile_graph(backend: str, wanted: Specification, options: EngineOptions) -> TensorRTEngine:
    """Load the graph's plan, built first where the store has none for this GPU."""
    cuda = Cuda(load_runtime())  # before TensorRT, which may crash without a driver
    trt, store = load_module(backend), PlanStore(options.engines)
    job = plan_job(trt, backend, wanted, options.precision, cuda.device())
    key, plan = find_or_build(store, job, options)
    try:
        engine = TensorRTEngine(trt, cuda, wanted.graph, plan)
    except EngineError as error:
        logger.warning('%s; building it anew', error)
        store.discard(key)
        key = job.key
        engine = TensorRTEngine(trt, cuda, wanted.graph, build(store, job, options))
    if not store.checked(key):
        engine.pending_validation = StoredValidation(store, key)
    return engine
