"""From sequences, rows and schedules to records and a report."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from asyncmde_ros import files
from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.files import ensure_writable
from asyncmde_ros.lab import machine
from asyncmde_ros.lab.evaluation import plots, report
from asyncmde_ros.lab.evaluation.glossary import EVERY_FRAME, OURS, TEACHER
from asyncmde_ros.lab.evaluation.latency import Sizes, Stated, Statement
from asyncmde_ros.lab.evaluation.metric_scale import Source
from asyncmde_ros.lab.evaluation.record import Record
from asyncmde_ros.lab.evaluation.rows import REMEMBERING, PeerRow, predictions
from asyncmde_ros.lab.evaluation.schedule import Schedule, parse
from asyncmde_ros.lab.evaluation.scorer import Scorer
from asyncmde_ros.lab.evaluation.sequence import Sequence as Footage
from asyncmde_ros.lab.evaluation.sequence import open_sequence
from asyncmde_ros.lab.evaluation.stage import Prediction, Stage
from asyncmde_ros.model.geometry import network_size
from asyncmde_ros.pipeline.settings import Settings

Maps = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Request:
    """What to evaluate."""

    sequences: Sequence[Path]
    schedules: Sequence[str]
    rows: Sequence[str]
    peers: Sequence[PeerRow]
    frames: int | None
    short_side: int
    settings: Settings = Settings()
    latencies: Statement | None = None
    """None measures them here."""
    scale: Sequence[Source | None] = ()
    """What measures the metres of the row OURS beside its aligned scores; None is nothing."""


def evaluate(model: Model, request: Request, out: Path, arguments: Sequence[str]) -> list[Record]:
    """Evaluate, write the report to ``out`` and return the records.

    ``arguments`` are the command's, for the report to name.  Predictions are kept on disk, so
    that a second run takes seconds.  Raises AsyncMDEError or MediaError for input that cannot be
    used, before anything slow is started.
    """
    report.require_libraries()
    footages = [open_sequence(path, request.frames) for path in request.sequences]
    schedules = [parse(text) for text in request.schedules]
    _require_different(request, footages, schedules)
    _require_metres(request, footages)
    sizes_of = [_sizes(model, request, footage, schedules) for footage in footages]
    ensure_writable(out / 'results.json')
    timed = [schedule.name for schedule in schedules if schedule.takes_time]
    pictured = EVERY_FRAME, *(timed or [schedule.name for schedule in schedules])[-1:]

    def prominence(prediction: Prediction) -> tuple[bool, bool]:
        """Return what tells which prediction is worth a picture: ours on a real schedule."""
        return prediction.row == OURS, prediction.schedule in timed
    records: list[Record] = []
    samples: dict[str, list[plots.SheetFrame]] = {}
    strips: dict[tuple[str, str], Maps] = {}
    latencies: dict[str, Any] = {}
    for path, footage, sizes in zip(request.sequences, footages, sizes_of, strict=True):
        stage = Stage(model, request.settings, request.latencies, path, footage, sizes)
        scorer = Scorer(path, footage, stage.pictures, stage.teacher, request.scale)
        shown: Prediction | None = None
        for prediction in tqdm(predictions(stage, request.rows, request.peers, schedules),
                               desc=f'{footage.name}: scores', unit='row'):
            records += scorer.records(prediction)
            if prediction.schedule in pictured:
                strips[footage.name, prediction.row] = scorer.strip(prediction)
            if shown is None or prominence(prediction) >= prominence(shown):
                shown = prediction
        latencies[footage.name] = stage.latencies.known()
        samples[footage.name] = scorer.samples(shown) if shown is not None else []
    records = _with_gaps(records)
    meta = dataclasses.asdict(machine.describe(arguments))
    meta |= {'command': ' '.join(['asyncmde', *arguments]), 'hardware': meta.pop('cpu'),
             'short_side': request.short_side, 'threads': dataclasses.asdict(model.threads),
             'precision': model.precision.value, 'latencies': latencies}
    report.write(files.make_directory(out), records, meta, samples, strips)
    return records


def _require_different(request: Request, footages: Sequence[Footage],
                       schedules: Sequence[Schedule]) -> None:
    """Raise AsyncMDEError where two things would have one name in the report."""
    rows = [*request.rows, *(peer.name for peer in request.peers)]
    for what, names, advice in (
            ('sequences', [footage.name for footage in footages], ''),
            ('schedules', [schedule.name for schedule in schedules],
             '; evaluate them one after the other'),
            ('rows', rows, '; another model is called as its file')):
        if len(set(names)) < len(names):
            raise AsyncMDEError(f'two {what} have the same name: {", ".join(names)}{advice}')


def _require_metres(request: Request, footages: Sequence[Footage]) -> None:
    """Raise AsyncMDEError where the metres that were asked for cannot be scored."""
    if request.scale and OURS not in request.rows:
        raise AsyncMDEError(f'--scale measures the depth of the row {OURS}: add it to --rows')
    for footage in footages:
        for source in request.scale:
            if source is not None:
                source.require(footage)


def _sizes(model: Model, request: Request, footage: Footage, schedules: Sequence[Schedule]
           ) -> Sizes:
    """Return the networks' sizes for a sequence; AsyncMDEError where a file lacks their latencies.
    """
    sizes = Sizes.of(network_size(footage.rgb(0).shape[:2], request.short_side))
    if request.latencies is not None:
        Stated(request.latencies, sizes, schedules)
    return sizes


def _with_gaps(records: Sequence[Record]) -> list[Record]:
    """Return the records with how much of the gap to the teacher a row with a memory closes.

    (E_hold - E_row) / (E_hold - E_teacher) on AbsRel at the same schedule, and the paper's
    variant with the fast network alone in place of hold (AsyncMDE, abstract: "77 %").
    """
    errors = {(record.sequence, record.row, record.schedule, record.alignment): record.absrel
              for record in records}

    def recovery(record: Record, row: str, schedule: str) -> float | None:
        worst = errors.get((record.sequence, row, schedule, record.alignment))
        teacher = errors.get((record.sequence, TEACHER, EVERY_FRAME, record.alignment))
        if record.absrel is None or teacher is None or worst is None or worst <= teacher:
            return None
        return (worst - record.absrel) / (worst - teacher)
    return [dataclasses.replace(record, gap_recovery=recovery(record, 'hold', record.schedule),
                                gap_recovery_fast=recovery(record, 'fast', EVERY_FRAME))
            if record.row in REMEMBERING else record for record in records]
