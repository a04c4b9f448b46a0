"""What the torch backend computes on a GPU, computed here by the same module on the CPU."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')


import cv2
import numpy as np
import torch

from asyncmde_ros.engine.interface import Graph, Precision
from asyncmde_ros.engine.loader import Model
from asyncmde_ros.engine.torch_cuda import TORCH_TYPES, describe, on_pixels
from asyncmde_ros.engine.validation import bind, difference
from asyncmde_ros.model.graph_tensors import CHECK, KEYFRAME, STATE
from asyncmde_ros.network.dinov2 import Attention
from asyncmde_ros.resources import share_directory

SIZE = (126, 168)
CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def frames() -> list[np.ndarray]:
    rgb = cv2.imread(str(share_directory() / 'models' / 'validation.jpg'))[..., ::-1]
    return [cv2.resize(rgb[:, shift:], SIZE[::-1]) for shift in (8, 0)]


@pytest.mark.parametrize('precision', list(Precision))
def test_the_modules_on_pixels_compute_what_the_shipped_graphs_do(
        precision: Precision, model: Model, frames: list[np.ndarray]) -> None:
    slow, fast = bind(model.compile(SIZE), *frames)
    tolerance = 1e-4 if precision is Precision.FP32 else 0.01
    for graph, bindings, pixels, outputs in (
            (Graph.SLOW, slow, frames[0], KEYFRAME),
            (Graph.FAST, fast, frames[1],
             ('depth', 'share', *(f'next_{name}' for name in STATE)))):
        wanted = model.specification(graph, SIZE)
        module = on_pixels(wanted, precision, CPU)
        given = []
        for name, tensor in describe(wanted, precision, {}).items():
            values = pixels[None] if name == 'image' else bindings[name].read()
            assert values.shape == tensor.shape, name
            given.append(torch.from_numpy(np.array(values)).to(TORCH_TYPES[tensor.dtype]))
        with torch.inference_mode():
            results = module(*given)
        if graph is Graph.SLOW:
            *results, check = results
            assert check.shape == (1,) and torch.isfinite(check).all()
            assert CHECK not in outputs
        for name, result in zip(outputs, results, strict=True):
            assert difference(result.float().numpy(), bindings[name].read()) < tolerance, name


def test_trust_and_warps_are_float32_at_half_precision(model: Model) -> None:
    types = describe(model.specification(Graph.FAST, SIZE), Precision.AUTO,
                     {'next_p1': torch.zeros(1), 'next_trust': torch.zeros(1),
                      'depth': torch.zeros(1)})
    assert types['image'].dtype == np.uint8 and types['image'].shape == (1, *SIZE, 3)
    for name, dtype in {'m1': np.float16, 'p4': np.float16, 'next_p1': np.float16,
                        'trust': np.float32, 'next_trust': np.float32, 'step_flow': np.float32,
                        'depth': np.float32}.items():
        assert types[name].dtype == dtype, name


def test_attention_in_one_kernel_gives_the_same_numbers() -> None:
    torch.manual_seed(0)
    attention, tokens = Attention(24, 3).eval(), torch.randn(2, 17, 24)
    plain = attention(tokens)
    attention.fused = True
    torch.testing.assert_close(attention(tokens), plain, atol=1e-5, rtol=1e-4)
