"""``asyncmde events train`` from footage to a file of weights: prepare, train, report."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import torch

from asyncmde_ros.events.network.weights_file import load, save
from asyncmde_ros.events.training.clips import drawn_recipes, prepare
from asyncmde_ros.events.training.comparison import compare
from asyncmde_ros.events.training.config import EventTrainConfig
from asyncmde_ros.events.training.trainer import EventTrainer, Learned
from asyncmde_ros.lab.training.run import TrainingRequest, begin, outcome, write_report

logger = logging.getLogger(__name__)

WEIGHTS = 'eventspd.safetensors'


def train_events(config: EventTrainConfig, request: TrainingRequest, arguments: Sequence[str]
                 ) -> dict[str, Any]:
    """Train, and leave in ``request.out`` weights, curves and a report; return the report.

    ``arguments`` are the command's, for the report to name.  Raises as
    :func:`asyncmde_ros.lab.training.run.train` does.
    """
    sources, teacher = begin(config, request)
    wanted = drawn_recipes(sources, config, config.events.clips, config.events.windows)
    prepared = prepare(wanted, teacher, request.cache, config)
    for reason, count in prepared.dropped.items():
        logger.info('%d clips left out: %s', count, reason)
    torch.manual_seed(config.seed)
    learned = Learned(config)
    trainer = EventTrainer(learned, prepared.clips, config, request.budget, request.out,
                           request.device)
    if request.resume:
        trainer.resume()
    scores = trainer.run()
    path = request.out / WEIGHTS
    save(learned.network, learned.dense, path)
    # What is compared is what is in the file: in half precision.
    learned.network, learned.dense = load(path)
    compared = compare(learned, prepared.clips, teacher)
    return write_report(
        outcome(path, scores, trainer) | {'comparison': [dataclasses.asdict(row)
                                                         for row in compared]},
        prepared.clips, prepared.dropped, sources, config, request, arguments)
