"""``asyncmde events train --network foundation``, from footage to an adapter: rung E2."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from typing import Any

import safetensors.numpy
import torch

from asyncmde_ros import files, weights
from asyncmde_ros.events.training.adapter_config import AdapterTrainConfig
from asyncmde_ros.events.training.event_pictures import picture_recipes, prepare
from asyncmde_ros.lab import machine
from asyncmde_ros.lab.training.config import to_tables
from asyncmde_ros.lab.training.loop import CHECKPOINT
from asyncmde_ros.lab.training.run import (
    REPORT,
    TrainingRequest,
    check_folder,
    count_clips,
    device_name,
    outcome,
    thread_count,
)
from asyncmde_ros.lab.training.sources import find, licence_table
from asyncmde_ros.lab.training.student import Student, whole
from asyncmde_ros.lab.training.student_trainer import StudentTrainer
from asyncmde_ros.lab.training.teacher import Teacher

logger = logging.getLogger(__name__)

ADAPTER = 'events_vits.safetensors'


def train_adapter(config: AdapterTrainConfig, request: TrainingRequest, arguments: Sequence[str]
                  ) -> dict[str, Any]:
    """Train, and leave in ``request.out`` an adapter, curves and a report; return the report.

    ``arguments`` are the command's, for the report to name.  Validation, of the averaged weights,
    is the error to the target depth on held-out pictures of events; before the first step it is
    that of the foundation model as it is.  Raises as
    :func:`asyncmde_ros.lab.training.run.train` does.
    """
    check_folder(request.out, request.resume)
    sources = find(request.data, config.data)
    for path in (request.out, request.cache):
        files.make_directory(path)
    files.sweep(request.out / CHECKPOINT)
    torch.set_num_threads(thread_count())
    teacher = Teacher(config.model.name, request.device)
    prepared = prepare(picture_recipes(sources, config), teacher, request.cache, config)
    for reason, count in prepared.dropped.items():
        logger.info('%d clips left out: %s', count, reason)
    start = (teacher.tensors if request.start is None
             else whole(weights.load(request.start), teacher.tensors, teacher.config))
    student = Student(teacher.config, teacher.tensors, start, config.adapter.rank, config.seed)
    trainer = StudentTrainer(student, prepared.clips, config, config.adapter, request.budget,
                             request.out, request.device)
    if request.resume:
        trainer.resume()
    scores = trainer.run()
    path = request.out / ADAPTER
    files.write_atomically(path, safetensors.numpy.save(student.adapter(), {'format': 'pt'}))
    report = outcome(path, scores, trainer) | {
        'data': {'clips': count_clips(prepared.clips), 'licences': licence_table(sources),
                 'dropped': prepared.dropped},
        'device': device_name(request.device), 'config': to_tables(config),
        'machine': dataclasses.asdict(machine.describe(arguments))}
    files.write_atomically(request.out / REPORT, json.dumps(report, indent=1).encode())
    return report
