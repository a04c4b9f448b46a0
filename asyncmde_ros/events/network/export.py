"""The two phases as ONNX, weights included; needs onnx and onnxscript.

Phase A is made for one size of the sensor, phase B for that and for any number of queries: what
many queries of a window share is computed once, and one compiled decoder answers them all.
"""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from asyncmde_ros.events.network.event_spd import EventSPD
from asyncmde_ros.events.network.precompute import Context
from asyncmde_ros.network.export import OPSET

SHARED_INPUTS = ('events', 'hidden')
DECODER_INPUTS = (*Context._fields, 'queries')
DECODER_OUTPUTS = ('inverse_depth',)
EXAMPLE_QUERIES = 5
MOST_QUERIES = 1 << 16


class DecoderGraph(nn.Module):
    """Phase B on tensors, each an input of its own."""

    def __init__(self, network: EventSPD) -> None:
        super().__init__()
        self.decoder = network.decoder

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.decoder(Context(*inputs[:-1]), inputs[-1])


def export_shared(network: EventSPD, events: Tensor) -> bytes:
    """Return phase A for events of the shape of ``events``, (1, inputs, H, W) for our encoder.

    Outputs are the fields of :class:`Context`; ``l4`` is the next window's ``hidden``.
    """
    hidden = network.no_memory(1, *events.shape[2:])
    return _export(network.shared, (events, hidden), None, SHARED_INPUTS, Context._fields)


def export_decoder(network: EventSPD, context: Context) -> bytes:
    """Return phase B for contexts of the shapes of ``context``, and any number of queries."""
    rows, cols = context.l1.shape[2:]
    queries = torch.rand(1, EXAMPLE_QUERIES, 2) * torch.tensor([4.0 * cols, 4.0 * rows])
    fixed: list[Any] = [None] * len(context)
    # In a tuple of their own: the graph takes any number of arguments.
    dynamic = ((*fixed, {1: Dim('K', min=1, max=MOST_QUERIES)}),)
    return _export(DecoderGraph(network), (*context, queries), dynamic, DECODER_INPUTS,
                   DECODER_OUTPUTS)


def _export(module: nn.Module, example: tuple[Tensor, ...], dynamic: tuple[Any, ...] | None,
            inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    for chatty in ('torch.onnx', 'onnxscript', 'onnx_ir'):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')  # the exporter's notes on its own deprecations
        program = torch.onnx.export(
            module.eval(), example, dynamo=True, dynamic_shapes=dynamic,
            input_names=list(inputs), output_names=list(outputs), opset_version=OPSET,
            verbose=False)
        assert program is not None
        return program.model_proto.SerializeToString()
