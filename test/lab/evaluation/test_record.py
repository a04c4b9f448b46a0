"""results.json is what other programs read: its fields, their order and values stay."""

import json
from typing import Any

import pytest
from support.repository import ROOT

from asyncmde_ros.lab.evaluation import report
from asyncmde_ros.lab.evaluation.record import FrameSeries, LagScores, Record

COMMITTED = ROOT / 'docs' / 'results' / 'accuracy' / 'results.json'
FIELDS = {
    'sequence': 'kitchen', 'row': 'async', 'schedule': 'async:30', 'alignment': 'sequence',
    'frames': 21, 'reference': 'truth', 'absrel': 0.1, 'rmse': 0.2, 'delta1': 0.9, 'delta2': 0.95,
    'delta3': 0.99, 'edge_absrel': 0.3, 'edge_sharpness': 0.7, 'coverage': 1.0,
    'teacher_absrel': 0.04, 'teacher_delta1': 0.97, 'absrel_at_publication': 0.12,
    'trust_ause': 0.05, 'trust_ause_constant': 0.06, 'tae': 1.5, 'tcd': 0.01, 'f1': 0.8,
    'opw': 2.5, 'gap_recovery': 0.6, 'gap_recovery_fast': None,
    'per_lag': [{'lag': 2, 'frames': 5, 'absrel': 0.1, 'rmse': 0.2, 'delta1': None}],
    'per_frame': {'absrel': [None, 0.1], 'lag': [None, 2]}}


def the_record() -> Record:
    return Record(**{**FIELDS, 'per_lag': [LagScores(2, 5, 0.1, 0.2, None)],  # type: ignore[arg-type]
                     'per_frame': FrameSeries([None, 0.1], [None, 2])})


@pytest.mark.parametrize(('name', 'value'), FIELDS.items())
def test_a_field_is_called_and_written_as_ever(name: str, value: Any) -> None:
    assert the_record().to_json()[name] == value


def test_the_fields_stand_in_the_same_order() -> None:
    content = the_record().to_json()
    assert list(content) == list(FIELDS)
    assert list(content['per_lag'][0]) == list(FIELDS['per_lag'][0])  # type: ignore[index]
    assert list(content['per_frame']) == list(FIELDS['per_frame'])  # type: ignore[call-overload]


def test_the_committed_results_are_written_again_to_the_byte() -> None:
    text = COMMITTED.read_text(encoding='utf-8')
    records = [Record.from_json(record) for record in json.loads(text)]
    assert {'async', 'spatial_memory'} <= {record.row for record in records}
    assert report.records_json(records) == text
