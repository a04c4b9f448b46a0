"""``asyncmde events train`` from footage to a file of weights: prepare, train, report."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from asyncmde_ros import files
from asyncmde_ros.events.network.event_spd import EventSPD
from asyncmde_ros.events.training.clips import EventClip, event_recipes, prepare
from asyncmde_ros.events.training.comparison import compare
from asyncmde_ros.events.training.config import EventTrainConfig
from asyncmde_ros.events.training.trainer import EventTrainer, Learned
from asyncmde_ros.lab import machine
from asyncmde_ros.lab.training.config import to_tables
from asyncmde_ros.lab.training.loop import CHECKPOINT
from asyncmde_ros.lab.training.run import (
    REPORT,
    TrainingRequest,
    check_folder,
    device_name,
    thread_count,
)
from asyncmde_ros.lab.training.sources import find, licence_table
from asyncmde_ros.lab.training.teacher import Teacher

logger = logging.getLogger(__name__)

WEIGHTS = 'eventspd.safetensors'
CONFIG_KEY = 'config'
"""Of the weights' header: the name of the network's configuration."""


def train_events(config: EventTrainConfig, request: TrainingRequest, arguments: Sequence[str]
                 ) -> dict[str, Any]:
    """Train, and leave in ``request.out`` weights, curves and a report; return the report.

    ``arguments`` are the command's, for the report to name.  Raises as
    :func:`asyncmde_ros.lab.training.run.train` does.
    """
    check_folder(request.out, request.resume)
    sources = find(request.data, config.data)
    for path in (request.out, request.cache):
        files.make_directory(path)
    files.sweep(request.out / CHECKPOINT)
    torch.set_num_threads(thread_count())
    teacher = Teacher(config.model.name, request.device)
    prepared = prepare(event_recipes(sources, config), teacher, request.cache, config)
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
    save(learned.cpu().network, path)
    compared = compare(learned, prepared.clips, teacher)
    report = {
        'weights': path.name, 'validation': scores, 'steps': trainer.progress.step,
        'minutes': round(trainer.progress.minutes, 2),
        'comparison': [dataclasses.asdict(row) for row in compared],
        'data': {'clips': _count(prepared.clips), 'licences': licence_table(sources),
                 'dropped': prepared.dropped},
        'device': device_name(request.device), 'config': to_tables(config),
        'machine': dataclasses.asdict(machine.describe(arguments))}
    files.write_atomically(request.out / REPORT, json.dumps(report, indent=1).encode())
    return report


def save(network: EventSPD, path: Path) -> None:
    """Write the network's weights, and in the header which configuration they are of."""
    tensors = {name: value.detach().cpu().contiguous()
               for name, value in network.state_dict().items()}
    files.write_atomically(path, safetensors.torch.save(
        tensors, {'format': 'pt', CONFIG_KEY: network.config.name}))


def _count(clips: Sequence[EventClip]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for clip in clips:
        side = counts.setdefault('validation' if clip.validation else 'training', {})
        side[clip.kind] = side.get(clip.kind, 0) + 1
        side[f'{clip.kind}_windows'] = side.get(f'{clip.kind}_windows', 0) + clip.windows
    return counts
