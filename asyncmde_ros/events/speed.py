"""What queries cost: ``python -m asyncmde_ros.events.speed``; T(K) = T_precompute + beta K.

Both phases, exported and compiled by OpenVINO for one thread in float32, take turns with each
other and with Depth Anything V2 Small on a picture of that size (to the nearest 14 pixels).  What
is timed is the process's CPU time: on a busy machine the wall clock tells of others.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
import torch

from asyncmde_ros.engine.interface import Precision
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.events.network.attention import CrossAttention
from asyncmde_ros.events.network.auxiliary import DenseHeads
from asyncmde_ros.events.network.config import CONFIGS
from asyncmde_ros.events.network.event_spd import EventSPD
from asyncmde_ros.events.network.export import export_decoder, export_shared
from asyncmde_ros.lab.text import markdown_table
from asyncmde_ros.model.config import DEFAULT_MODEL
from asyncmde_ros.model.geometry import Size, network_size

QUERIES = (1, 64, 256, 1024)
ROUNDS = 15
OPTIONS = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1, 'NUM_STREAMS': 1}


@dataclass(frozen=True)
class Line:
    """T(K) = ``start_ms`` + ``each_us`` K, and how much of the variance it explains."""

    start_ms: float
    each_us: float
    r2: float


def fit_line(queries: Sequence[int], times_ms: Sequence[float]) -> Line:
    """Return the least-squares line."""
    each, start = np.polyfit(queries, times_ms, 1)
    left = np.asarray(times_ms) - (start + each * np.asarray(queries))
    return Line(float(start), float(1e3 * each),
                float(1 - left.var() / np.var(np.asarray(times_ms))))


def measure(work: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return each one's median CPU time in milliseconds, of ``rounds`` in turn after a first."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, run in work.items():
            started = time.process_time()
            run()
            if number:
                times[name].append(1e3 * (time.process_time() - started))
    return {name: float(np.median(found)) for name, found in times.items()}


def parts(network: EventSPD, size: Size) -> dict[str, Callable[[], object]]:
    """Return what is to be timed: precomputation, the dense head, the decoder for each K."""
    rows, cols = size
    events = torch.randn(1, network.config.inputs, rows, cols)
    hidden = network.no_memory(1, rows, cols)
    with torch.no_grad():
        context = network.shared(events, hidden)
    work = {'precompute': _compiled(export_shared(network, events), (events, hidden))}
    heads = DenseHeads(network.config).eval()
    level = context.l2[:1]
    work['dense head'] = lambda: heads.level2(level)
    for folded in (False, True):
        for module in network.modules():
            if isinstance(module, CrossAttention):
                module.folded = folded
        exported = export_decoder(network, context)
        for count in QUERIES:
            places = torch.rand(1, count, 2) * torch.tensor([cols - 1.0, rows - 1.0])
            work[f'{"decoder" if folded else "as counted"} {count}'] = _compiled(
                exported, (*context, places))
    return work


def _compiled(exported: bytes, inputs: Sequence[torch.Tensor]) -> Callable[[], object]:
    core = openvino.Core()
    model = core.compile_model(core.read_model(exported), 'CPU', OPTIONS)
    request = model.create_infer_request()
    arrays: list[npt.NDArray[Any]] = [tensor.numpy() for tensor in inputs]
    return lambda: request.infer(arrays)


def foundation(size: Size) -> Callable[[], object]:
    """Return Depth Anything V2 Small's depth of one picture, on one thread in float32.

    Raises WeightsError where its weights were never fetched.
    """
    size = network_size(size, min(size))
    engine = Model(DEFAULT_MODEL, 'openvino', Precision.FP32, Threads(1, 1)).compile(size).slow
    buffers = {name: engine.allocate(name) for name in (*engine.inputs, *engine.outputs)}
    return lambda: engine.run(buffers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--network', choices=sorted(CONFIGS), default='small')
    parser.add_argument('--size', type=_size, default=(168, 224), metavar='HxW')
    parser.add_argument('--rounds', type=int, default=ROUNDS)
    args = parser.parse_args()
    size = args.size
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.no_grad():
        work = parts(EventSPD(CONFIGS[args.network]).eval(), size)
        found = measure(work | {'Depth Anything V2 Small': foundation(size)}, args.rounds)
    print(markdown_table(('part', 'CPU time (ms)', 'in precomputations'), [
        (name, f'{value:.2f}', f'{value / found["precompute"]:.2f}')
        for name, value in found.items()]))
    for kind in ('decoder', 'as counted'):
        line = fit_line(QUERIES, [found[f'{kind} {count}'] for count in QUERIES])
        crossover = (found['Depth Anything V2 Small'] - found['precompute']
                     - line.start_ms) / line.each_us * 1e3
        print(f'{kind}: {line.start_ms:.2f} ms + {line.each_us:.1f} us K, R^2 {line.r2:.5f}; as '
              f'dear as Depth Anything V2 Small at K = {crossover:.0f}')


def _size(text: str) -> Size:
    rows, _, cols = text.partition('x')
    return int(rows), int(cols)


if __name__ == '__main__':
    main()
