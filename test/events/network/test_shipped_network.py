"""The shipped weights: they fit the network, and know something of places just made up."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

import numpy as np
import torch

from asyncmde_ros import weights
from asyncmde_ros.events.network.config import SMALL
from asyncmde_ros.events.network.inputs import StemInput
from asyncmde_ros.events.network.weights_file import Trained, load
from asyncmde_ros.events.training.clips import seen
from asyncmde_ros.events.training.trainer import query_grid
from asyncmde_ros.lab.training.losses import aligned_error
from asyncmde_ros.lab.training.rendered import rendered_clip

SIZE = (168, 224)
FRAMES = 10
CLIPS = 8
"""Drawn anew, of the kind that training has; none of them was trained on."""


@pytest.fixture(scope='module')
def trained() -> Trained:
    return load(weights.locate('eventspd_small'))


def test_they_are_of_the_small_network(trained: Trained) -> None:
    assert trained.network.config == SMALL


@torch.no_grad()
def test_in_made_up_places_it_knows_more_than_the_ground_is_near(trained: Trained) -> None:
    """Queries and dense head against inverse depth that rises evenly from top to bottom.

    What is 1 is a constant; each is aligned by the scale and shift that fit best.
    """
    points = query_grid(SIZE, torch.device('cpu'))                          # (21, 28, 2)
    found = []
    for seed in range(CLIPS):
        clip = rendered_clip(FRAMES, SIZE, np.random.default_rng([9, seed]))
        inputs = StemInput(SIZE, SMALL.bins)
        hidden = trained.network.no_memory(1, *SIZE)
        for window in seen(clip.images, seed):
            context = trained.network.shared(torch.from_numpy(inputs.add(window))[None], hidden)
            hidden = context.l4
        truth = torch.from_numpy((1 / clip.depth_m[-1])[4::8, 4::8].astype(np.float32))
        queries = trained.network.decoder(context, points.flatten(0, 1)[None]).reshape(21, 28)
        ramp = torch.arange(21.0)[:, None].expand(21, 28)
        found.append([float(aligned_error(inverse[None, None], truth[None, None])) for inverse in (
            queries, trained.dense(context)[0][0, 0], ramp, torch.ones(21, 28))])
    queries, dense, ramp, constant = np.mean(found, axis=0)
    assert ramp < constant
    assert queries < ramp
    assert dense < ramp
