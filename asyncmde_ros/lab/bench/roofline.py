"""How far each network is from what the hardware could do: arithmetic, traffic, and the bound.

Needs PyTorch, whose tools count; the machine's own peaks are measured, not looked up.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from asyncmde_ros.engine.interface import Graph, Precision
from asyncmde_ros.engine.loader import Model
from asyncmde_ros.engine.torch import build_module
from asyncmde_ros.lab.bench.engines import Comparison
from asyncmde_ros.lab.bench.options import BenchOptions

NOTE = ('GFLOP of matrix products and convolutions, 2 for a product that is added. Traffic: '
        'what must be moved once (weights, inputs, outputs), and what moves if every operator '
        'reads and writes memory by itself. The bound is the larger of GFLOP over the peak of a '
        'large matrix product and of that first traffic over the bandwidth of a large copy, both '
        'measured here in the same type. Measured: the table "Networks", on all cores.')

PRODUCT = 4096
COPY_BYTES = 1 << 28
RUNS = 5


@dataclass(frozen=True)
class Peaks:
    """What the machine reached: TFLOP/s of a matrix product, GB/s of a copy (read and written)."""

    device: str
    dtype: str
    tflops: float
    bandwidth_gb_s: float


@dataclass(frozen=True)
class RooflineBound:
    """One graph's arithmetic and traffic, its bound, and the measured time over it.

    The last two are None where the networks were not timed.
    """

    graph: str
    gflop: float
    must_move_mb: float
    operators_move_mb: float
    bound_ms: float
    measured_ms: float | None
    times_the_bound: float | None


class _Traffic(TorchDispatchMode):
    """Adds up the bytes of every operator's inputs and outputs, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Sequence[Any] = (),
                           keywords: Mapping[str, Any] | None = None) -> Any:
        result = function(*arguments, **(keywords or {}))
        if not function.is_view:
            flat = torch.utils._pytree.tree_leaves((arguments, keywords, result))
            self.elements += sum(item.numel() for item in flat if isinstance(item, torch.Tensor))
        return result


def measure(options: BenchOptions, rows: Sequence[Comparison]
            ) -> tuple[Peaks, list[RooflineBound]]:
    """Return the machine's peaks, and the fast and the foundation graph's bounds."""
    model = Model(options.model, options.backend)
    peaks = _peaks(model.on_gpu)
    precision = Precision.AUTO if model.on_gpu else Precision.FP32
    row = max((row for row in rows if row.precision == precision.value),
              key=lambda row: row.threads, default=None)
    measured_ms = {} if row is None else {Graph.FOUNDATION: row.foundation_ms.p50,
                                          Graph.FAST: row.fast_ms.p50}
    return peaks, [_bound(model, graph, options, peaks, measured_ms.get(graph))
                   for graph in (Graph.FOUNDATION, Graph.FAST)]


def _bound(model: Model, graph: Graph, options: BenchOptions, peaks: Peaks,
           measured_ms: float | None) -> RooflineBound:
    wanted = model.specification(graph, options.size)
    module = build_module(graph, wanted.model, wanted.weights)
    inputs = [torch.zeros(shape) for shape in wanted.shapes.values()]
    flops, traffic = FlopCounterMode(display=False), _Traffic()
    with torch.inference_mode():
        with flops:
            results = module(*inputs)
        with traffic:
            module(*inputs)
    width = 2 if peaks.dtype == 'float16' else 4
    once = width * sum(tensor.numel() for tensor in (*module.parameters(), *inputs, *results))
    bound_ms = 1e3 * max(flops.get_total_flops() / (1e12 * peaks.tflops),
                         once / (1e9 * peaks.bandwidth_gb_s))
    return RooflineBound(graph.value, flops.get_total_flops() / 1e9, once / 1e6,
                         width * traffic.elements / 1e6, bound_ms, measured_ms,
                         None if measured_ms is None else measured_ms / bound_ms)


def _peaks(on_gpu: bool) -> Peaks:
    device = torch.device('cuda' if on_gpu else 'cpu')
    dtype = torch.float16 if on_gpu else torch.float32
    side = PRODUCT if on_gpu else PRODUCT // 4
    a, b = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product_s = _best_s(lambda: torch.mm(a, b), on_gpu)
    copy_s = _best_s(lambda: target.copy_(source), on_gpu)
    name = torch.cuda.get_device_name(device) if on_gpu else 'CPU'
    return Peaks(name, str(dtype).removeprefix('torch.'), 2 * side**3 / product_s / 1e12,
                 2 * COPY_BYTES / copy_s / 1e9)


def _best_s(work: Callable[[], object], on_gpu: bool) -> float:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)
