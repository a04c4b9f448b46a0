"""Tables are aligned; JSON has a line an item and is JSON all the same."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.lab.text import json_by_line, markdown_table, table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(('name', 'ms'), [('a', '12.5'), ('long name', '')]) == (
        'name       ms\na          12.5\nlong name')
    assert table(('name', 'ms'), [('a', '12.5'), ('long name', '3')], left=1, rule=True) == (
        'name         ms\n---------  ----\na          12.5\nlong name     3')


def test_markdown_is_aligned_too() -> None:
    assert markdown_table(('part', 'ms'), [('fast path', '9')]) == (
        '| part      | ms |\n|-----------|----|\n| fast path | 9  |')


def test_rows_of_another_length_are_an_error() -> None:
    with pytest.raises(ValueError, match='zip'):
        table(('a', 'b'), [('1',)])


def test_the_outer_levels_have_a_line_an_item() -> None:
    value = {'a': [{'x': [1, 2]}, {'x': []}], 'b': {'c': None}, 'd': []}
    assert json_by_line(value, 2) == (
        '{\n "a": [\n  {"x": [1, 2]},\n  {"x": []}\n ],\n "b": {\n  "c": null\n },\n "d": []\n}')
    assert json_by_line(value, 0) == json.dumps(value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False,
                                                                       allow_infinity=False)
                    | st.text(), lambda inner: st.lists(inner)
                    | st.dictionaries(st.text(), inner), max_leaves=20), st.integers(0, 4))
def test_it_reads_back_the_same(value: Any, levels: int) -> None:
    assert json.loads(json_by_line(value, levels)) == value


def test_what_json_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match='JSON'):
        json_by_line([math.nan], 1)
