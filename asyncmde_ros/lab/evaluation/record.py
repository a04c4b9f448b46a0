"""What an evaluation found, as results.json has it: one record a row, schedule and alignment."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LagScores:
    """Mean scores of the ``frames`` whose keyframe is ``lag`` frames old; None is undefined."""

    lag: int
    frames: int
    absrel: float | None
    rmse: float | None
    delta1: float | None


@dataclass(frozen=True)
class FrameSeries:
    """AbsRel and lag of every frame of the sequence; None where there is none."""

    absrel: list[float | None]
    lag: list[int | None]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One row of the evaluation; the names and order of the fields are those of results.json.

    Other programs read that file: a new field comes before ``per_lag``, and none is renamed.
    What the scores mean, :data:`glossary.COLUMNS` says; None was not measured or is undefined.
    """

    sequence: str
    row: str
    schedule: str
    alignment: str
    frames: int
    """How many were scored."""
    reference: str
    """``truth``; or ``teacher``, where there is none."""
    absrel: float | None = None
    rmse: float | None = None
    delta1: float | None = None
    delta2: float | None = None
    delta3: float | None = None
    edge_absrel: float | None = None
    edge_sharpness: float | None = None
    coverage: float | None = None
    teacher_absrel: float | None = None
    teacher_delta1: float | None = None
    absrel_at_publication: float | None = None
    trust_ause: float | None = None
    trust_ause_constant: float | None = None
    tae: float | None = None
    tcd: float | None = None
    f1: float | None = None
    opw: float | None = None
    gap_recovery: float | None = None
    gap_recovery_fast: float | None = None
    per_lag: list[LagScores]
    per_frame: FrameSeries

    def to_json(self) -> dict[str, Any]:
        """Return what results.json holds, before NaN and infinity are made null."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> 'Record':
        """Return the record that :meth:`to_json` gave."""
        return cls(**{**content, 'per_lag': [LagScores(**lag) for lag in content['per_lag']],
                      'per_frame': FrameSeries(**content['per_frame'])})


def finite(score: float | None) -> float | None:
    """Return a score, None where it is None, NaN or infinite."""
    return None if score is None or not math.isfinite(score) else score


def distinct(records: Iterable[Record], key: str) -> list[str]:
    """Return the values of a field in order of their first appearance."""
    return list(dict.fromkeys(getattr(record, key) for record in records))
