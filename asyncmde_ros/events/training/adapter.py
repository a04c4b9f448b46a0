"""``asyncmde events train --network foundation``, from footage to an adapter: rung E2."""

import logging
from collections.abc import Sequence
from typing import Any

import safetensors.numpy

from asyncmde_ros import files, weights
from asyncmde_ros.events.training.adapter_config import AdapterTrainConfig
from asyncmde_ros.events.training.clips import drawn_recipes
from asyncmde_ros.events.training.event_pictures import prepare
from asyncmde_ros.lab.training.run import TrainingRequest, begin, outcome, write_report
from asyncmde_ros.lab.training.student import Student, whole
from asyncmde_ros.lab.training.student_trainer import StudentTrainer

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
    sources, teacher = begin(config, request)
    wanted = drawn_recipes(sources, config, config.pictures.clips, config.pictures.every)
    prepared = prepare(wanted, teacher, request.cache, config)
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
    return write_report(outcome(path, scores, trainer), prepared.clips, prepared.dropped, sources,
                        config, request, arguments)
