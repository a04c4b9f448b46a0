"""``asyncmde train`` from data to a shipped file: prepare, start, train, export, report."""

import dataclasses
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from tqdm import tqdm

from asyncmde_ros import files, weights
from asyncmde_ros.engine.interface import Engine, Precision
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.engine.torch import load_weights
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab import machine
from asyncmde_ros.lab.training.cache import Clip, prepare, recipes
from asyncmde_ros.lab.training.config import StudentConfig, TrainConfig, to_tables
from asyncmde_ros.lab.training.initial import fit_projector, initial_network, save
from asyncmde_ros.lab.training.loop import CHECKPOINT, Budget, Loop, TrainingError
from asyncmde_ros.lab.training.sources import TrainingSource, find, licence_table
from asyncmde_ros.lab.training.student import Student, whole
from asyncmde_ros.lab.training.student_trainer import StudentTrainer
from asyncmde_ros.lab.training.teacher import Teacher
from asyncmde_ros.lab.training.trainer import Trainer
from asyncmde_ros.lab.training.unroll import network_image
from asyncmde_ros.model.config import CONFIGS, ModelConfig
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.network.graphs import FastNetwork

logger = logging.getLogger(__name__)

FOLDED_WIDTH = 0.75
"""The encoder width whose checkpoint had its normalisation folded: training it would undo that."""

ENCODER_PREFIX = 'frame_encoder.encoder.'
FIT_FRAMES = 240
REPORT = 'training.json'
CHECKED_SIZES: tuple[Size, ...] = ((252, 336), (196, 252), (252, 448))


class Counted(Protocol):
    """A clip, as a report counts them: by side and kind, and by frames."""

    validation: bool
    kind: str
    frames: int


@dataclass(frozen=True)
class TrainingRequest:
    """What to train on, where to, for how long, and from where.

    ``encoder`` is a MobileNetV3-Small to begin with, ``start`` a whole trained network; of a
    student, all of its weights or an adapter.
    """

    data: Path
    out: Path
    cache: Path
    budget: Budget
    device: torch.device
    resume: bool = False
    encoder: Path | None = None
    start: Path | None = None


def train(config: TrainConfig, request: TrainingRequest, arguments: Sequence[str]
          ) -> dict[str, Any]:
    """Train, and leave in ``request.out`` weights, curves and a report; return the report.

    ``arguments`` are the command's, for the report to name.
    Raises AsyncMDEError for input that cannot be used, before anything slow is started, and
    KeyboardInterrupt where it is interrupted; what was prepared and learned is kept.
    """
    if config.student is not None and request.encoder is not None:
        raise TrainingError('--encoder: a student has none; leave it out')
    sources, teacher = begin(config, request)
    prepared = prepare(recipes(sources, config), teacher, request.cache, config.data.quality)
    for name, reason in prepared.dropped.items():
        logger.info('%s: left out, %s', name, reason)
    if config.student is None:
        trained = _train_fast(config, request, teacher, prepared.clips)
    else:
        trained = _train_student(config, config.student, request, teacher, prepared.clips)
    return write_report(trained, prepared.clips, prepared.dropped, sources, config, request,
                        arguments)


def begin(config: TrainConfig, request: TrainingRequest
          ) -> tuple[list[TrainingSource], Teacher]:
    """Check what is asked for, and prepare folders and threads; return footage and teacher.

    Raises AsyncMDEError for what cannot be used, before anything slow is started.
    """
    _check_folder(request.out, request.resume)
    sources = find(request.data, config.data)
    for path in (request.encoder, request.start):
        if path is not None:
            weights.load(path)
    for path in (request.out, request.cache):
        files.make_directory(path)
    files.sweep(request.out / CHECKPOINT)
    # Whatever an engine in this process was given before.
    torch.set_num_threads(_thread_count())
    return sources, Teacher(config.model.name, request.device)


def write_report(trained: dict[str, Any], clips: Sequence[Counted],
                 dropped: Mapping[str, Any], sources: Sequence[TrainingSource],
                 config: TrainConfig, request: TrainingRequest, arguments: Sequence[str]
                 ) -> dict[str, Any]:
    """Write what a run did beside its weights, and return it; ``trained`` is :func:`outcome`."""
    report = trained | {
        'data': {'clips': _count(clips), 'licences': licence_table(sources), 'dropped': dropped},
        'device': _device_name(request.device), 'config': to_tables(config),
        'machine': dataclasses.asdict(machine.describe(arguments))}
    files.write_atomically(request.out / REPORT, json.dumps(report, indent=1).encode())
    return report


def _check_folder(out: Path, resume: bool) -> None:
    """Raise TrainingError unless a run can begin in a folder, or go on there."""
    checkpoint = out / CHECKPOINT
    if resume and not checkpoint.is_file():
        raise TrainingError(f'{checkpoint} is missing: nothing to resume')
    if not resume and checkpoint.is_file():
        raise TrainingError(f'{out} holds a run already: --resume goes on with it; or '
                            'name another folder, or delete that one')


def _train_fast(config: TrainConfig, request: TrainingRequest, teacher: Teacher,
                clips: Sequence[Clip]) -> dict[str, Any]:
    """Train the fast network, and write its weights; return what there is to report."""
    model = dataclasses.replace(CONFIGS[config.model.name],
                                encoder_width=config.model.encoder_width,
                                decoder=config.model.decoder)
    network, frozen_norm = _start(model, config, teacher, clips, request)
    trainer = Trainer(network, clips, config, request.budget, request.out, request.device,
                      frozen_norm)
    if request.resume:
        trainer.resume()
    scores = trainer.run()
    network.cpu()
    path = request.out / f'asyncmde_{config.model.name}.safetensors'
    save(network, path)
    return outcome(path, scores, trainer) | {
        'export_difference': export_difference(model, network, path, teacher)}


def _train_student(config: TrainConfig, settings: StudentConfig, request: TrainingRequest,
                   teacher: Teacher, clips: Sequence[Clip]) -> dict[str, Any]:
    """Train the student, and write its adapter; return what there is to report."""
    start = (teacher.tensors if request.start is None
             else whole(weights.load(request.start), teacher.tensors, teacher.config))
    student = Student(teacher.config, teacher.tensors, start, settings.rank, config.seed)
    trainer = StudentTrainer(student, clips, config, settings, request.budget, request.out,
                             request.device)
    if request.resume:
        trainer.resume()
    scores = trainer.run()
    path = request.out / f'glance_{config.model.name}.safetensors'
    files.write_atomically(path, safetensors.numpy.save(student.adapter(), {'format': 'pt'}))
    return outcome(path, scores, trainer)


def outcome(path: Path, scores: dict[str, float], trainer: Loop[Any]) -> dict[str, Any]:
    return {'weights': path.name, 'validation': scores, 'steps': trainer.progress.step,
            'minutes': round(trainer.progress.minutes, 2)}


def _thread_count() -> int:
    """Return OMP_NUM_THREADS, of a list for nested work the first, or the cores to be had."""
    wanted = os.environ.get('OMP_NUM_THREADS', '').partition(',')[0].strip()
    return int(wanted) if re.fullmatch('[1-9][0-9]{0,3}', wanted) else len(
        os.sched_getaffinity(0))


def _start(model: ModelConfig, config: TrainConfig, teacher: Teacher, clips: Sequence[Clip],
           request: TrainingRequest) -> tuple[FastNetwork, bool]:
    """Return the network to begin with, and whether its encoder's normalisation is folded."""
    encoder = None if request.start else _encoder(model, request.encoder)
    # Here: how much the teacher drew before depends on what was cached.
    torch.manual_seed(config.seed)
    network = initial_network(model, teacher.module, encoder, config.model.initial_trust)
    if request.start is not None:
        load_weights(network, weights.load(request.start))
    projector = network.frame_encoder.projector
    if model.projector_context and not config.model.projector_context:
        # Zeros that stay, not None: the exported graph has these inputs.
        projector.hold_context()
    if not config.model.correction:
        network.unit.hold_correction()
    if encoder is not None and not request.resume:
        explained = fit_projector(network.frame_encoder, _samples(clips, config.seed),
                                  config.model.projector_context)
        logger.info('projector fitted: it explains %s of the variance of M1-M4',
                    ', '.join(f'{share:.0%}' for share in explained))
    return network, model.encoder_width == FOLDED_WIDTH


def _encoder(model: ModelConfig, path: Path | None) -> dict[str, npt.NDArray[np.floating]] | None:
    """Return an encoder to begin with: the given file, the shipped network's, or none."""
    if path is not None:
        return weights.load(path)
    shipped = weights.registry.model(model.name).fast
    if shipped is None or model.encoder_width != CONFIGS[model.name].encoder_width:
        return None
    logger.info("no --encoder: beginning with the shipped network's encoder")
    return {name.removeprefix(ENCODER_PREFIX): value
            for name, value in weights.load(weights.locate(shipped)).items()
            if name.startswith(ENCODER_PREFIX)}


def _samples(clips: Sequence[Clip],
             seed: int) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
    training = [clip for clip in clips if not clip.validation]
    order = np.random.default_rng([seed, 4]).permutation(len(training))[:FIT_FRAMES]
    for index in tqdm(order, desc='projector', unit='frame', leave=False):
        clip = training[index]
        middle = [clip.frames // 2]
        targets = clip.targets(middle)
        yield (network_image(torch.from_numpy(np.stack(clip.pictures(middle)))),
               [targets[f'm{level}'].float() for level in range(1, 5)])


def export_difference(model: ModelConfig, network: FastNetwork, path: Path,
                      teacher: Teacher) -> dict[str, float]:
    """Return the largest difference of depth, shipped graph against PyTorch, by size.

    Relative to the largest depth, both in float32 with the weights as written, over a step with
    every input random.  Empty where the shipped graph is of another encoder width, or OpenVINO
    is not installed.
    """
    if model != CONFIGS[model.name]:
        return {}
    try:
        from asyncmde_ros.engine import openvino as _  # noqa: F401
    except AsyncMDEError:
        return {}
    differences = {}
    source = weights.locate(weights.registry.model(model.name).foundation)
    pair = [Model(model.name, backend, Precision.FP32, Threads(1, 1), source, path)
            for backend in ('openvino', 'torch')]
    for size in CHECKED_SIZES:
        one, other = (random_step(either.compile(size).fast) for either in pair)
        differences[f'{size[0]}x{size[1]}'] = float(np.abs(one - other).max()
                                                    / np.abs(other).max())
    return differences


def random_step(engine: Engine) -> npt.NDArray[np.float32]:
    """Return the depth of one step on random numbers, the same at every call."""
    rng = np.random.default_rng(0)
    buffers = {name: engine.allocate(name) for name in (*engine.inputs, *engine.outputs)}
    for name in engine.inputs:
        buffers[name].array[...] = rng.random(buffers[name].array.shape)
    for name in ('step', 'keyframe'):
        buffers[name].array[...] = np.eye(3) + 0.02 * rng.standard_normal((3, 3))
    buffers['fresh'].array[...] = 0
    engine.run(buffers)
    return buffers['depth'].array.copy()


def _count(clips: Sequence[Counted]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for clip in clips:
        side = counts.setdefault('validation' if clip.validation else 'training', {})
        side[clip.kind] = side.get(clip.kind, 0) + 1
        side[f'{clip.kind}_frames'] = side.get(f'{clip.kind}_frames', 0) + clip.frames
    return counts


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else 'cpu'
