"""A foundation model of a few thousand weights, for a student to learn from."""

import numpy as np

from asyncmde_ros.model.config import ModelConfig
from asyncmde_ros.weights import canonical
from asyncmde_ros.weights.canonical import Tensors

TINY = ModelConfig('tiny', embed_dim=12, heads=2, head_channels=(2, 3, 4, 5), channels=4,
                   encoder_width=0.75, decoder='dpt', projector_context=True, depth=4,
                   taps=(0, 1, 2, 3), trained_grid=3)
RANK = 2


def random_weights(seed: int) -> Tensors:
    """Weights of TINY, float16, near enough to 0 for depth that is not all the same."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.3, shape).astype(np.float16)
            for name, shape in canonical.shapes(TINY).items()}
