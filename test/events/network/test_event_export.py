"""Both phases, exported: the same numbers, for any number of queries."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')
pytest.importorskip('onnxscript', reason='left out: needs onnxscript')

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asyncmde_ros.events.network import decoder
from asyncmde_ros.events.network.config import SMALL
from asyncmde_ros.events.network.event_spd import EventSPD
from asyncmde_ros.events.network.export import (
    DECODER_INPUTS,
    SHARED_INPUTS,
    export_decoder,
    export_shared,
)
from asyncmde_ros.events.network.f3 import F3, NETWORKS, F3Encoder
from asyncmde_ros.events.network.precompute import Context

TINY = replace(SMALL, channels=(8, 8, 16, 16), encoded=8, dim=16, blocks=(1, 1, 2, 1),
               kernels=(3, 5))
ROWS, COLS = 100, 141
BIT_CLOSE = 1e-5
"""Relative to the largest value: float32 sums in another order, through some twenty layers."""


def compiled(exported: bytes) -> Any:
    openvino = pytest.importorskip('openvino', reason='left out: needs openvino')
    core = openvino.Core()
    return core.compile_model(core.read_model(exported), 'CPU',
                              {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1})


def run(model: Any, names: Sequence[str], inputs: Sequence[Tensor]) -> dict[str, np.ndarray]:
    outputs = model({name: value.numpy() for name, value in zip(names, inputs, strict=True)})
    return {output.any_name: value for output, value in outputs.items()}


def same(ours: np.ndarray, expected: Tensor) -> None:
    np.testing.assert_allclose(ours, expected.numpy(), rtol=0,
                               atol=BIT_CLOSE * max(1e-3, float(expected.abs().max())))


@pytest.mark.slow
def test_both_phases_give_the_same_numbers_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('LOCAL_LAYERS', 'FUSED_LAYERS'):  # more of the same take the exporter longer
        monkeypatch.setattr(decoder, name, 1)
    torch.manual_seed(0)
    network = EventSPD(TINY).eval()
    events = torch.randn(1, TINY.inputs, ROWS, COLS)
    hidden = torch.rand_like(network.no_memory(1, ROWS, COLS))
    with torch.no_grad():
        context = network.shared(events, hidden)
        found = run(compiled(export_shared(network, events)), SHARED_INPUTS, (events, hidden))
        assert tuple(found) == Context._fields
        for ours, expected in zip(found.values(), context, strict=True):
            same(ours, expected)
        answering = compiled(export_decoder(network, context))
        for count in (1, 4, 333):
            queries = torch.rand(1, count, 2) * 200 - 30  # some beyond the picture
            answers = run(answering, DECODER_INPUTS, (*context, queries))
            same(answers['inverse_depth'], network.decoder(context, queries))


@pytest.mark.slow
def test_f3_gives_the_same_numbers_elsewhere_for_any_number_of_events() -> None:
    torch.manual_seed(0)
    config = NETWORKS['1280x720x20_patchff_ds1_micro']
    network = EventSPD(TINY, F3Encoder(TINY, F3(config))).eval()
    events = (torch.rand(3, 1, config.bins, ROWS, COLS) < 0.01).float()
    events[1] *= 2
    events[2] = 0
    hidden = torch.rand_like(network.no_memory(1, ROWS, COLS))
    with torch.no_grad():
        torch.nn.init.normal_(network.shared.encoder.f3.tables.entries)  # type: ignore[attr-defined]
        exported = compiled(export_shared(network, events[0]))
        for window in events:
            found = run(exported, SHARED_INPUTS, (window, hidden))
            for ours, expected in zip(found.values(), network.shared(window, hidden), strict=True):
                same(ours, expected)
