"""A parameter's declaration: what is derived from it, and which values it takes."""

from dataclasses import dataclass
from enum import Enum

import pytest

from asyncmde_ros.pipeline.declaration import Settable, declarations, parameter, read


class Colour(str, Enum):
    RED = 'red'
    OFF = 'off'


@dataclass(frozen=True)
class Example:
    colour: Colour = parameter(Colour.RED, 'light.colour', 'Colour of the light.')
    level: float = parameter(0.25, 'light.level', 'How bright.', low=0.0, high=1.0)
    count: int = parameter(2, 'count', 'How many.', low=1, high=9,
                           settable=Settable.UNCONFIGURED)
    on: bool = parameter(True, 'on', 'Whether it shines.')
    place: int | None = parameter(None, 'place', 'Where; none is nowhere.', text='none',
                                  parse=lambda text: None if text == 'none' else int(text, 16))
    axis: tuple[float, ...] = parameter((0.0, 1.0), 'axis', 'Which way.')
    undeclared: str = 'kept'


def test_the_default_is_the_fields_and_is_said_as_a_user_writes_it() -> None:
    assert {field: item.default for field, item in declarations(Example).items()} == {
        'colour': 'red', 'level': 0.25, 'count': 2, 'on': True, 'place': 'none',
        'axis': (0.0, 1.0)}
    assert Example() == read(Example, lambda name: next(
        item.default for item in declarations(Example).values() if item.name == name))


def test_an_enums_members_are_the_choices_and_a_name_has_a_group() -> None:
    colour, *_, count = (declarations(Example)[name] for name in ('colour', 'level', 'count'))
    assert colour.choices == ('red', 'off') and colour.group == 'light'
    assert count.group == '' and count.settable is Settable.UNCONFIGURED
    assert colour.settable is Settable.ALWAYS


def test_values_are_read_into_the_dataclass_by_the_parameters_names() -> None:
    values = {'light.colour': False, 'light.level': 1, 'count': 9, 'on': False, 'place': 'ff',
              'axis': [1, 2]}
    got = read(Example, values.__getitem__)
    assert got == Example(Colour.OFF, 1.0, 9, False, 255, (1.0, 2.0))
    assert type(got.level) is float and all(type(item) is float for item in got.axis)


@pytest.mark.parametrize(('field', 'value', 'why'), [
    ('colour', 'blue', 'one of red, off'), ('colour', True, 'one of'), ('colour', None, 'one of'),
    ('level', 1.5, r'range \[0, 1\]'), ('level', float('nan'), 'range'),
    ('level', True, 'number'), ('level', 'much', 'number'), ('level', None, 'number'),
    ('count', 0, 'range'), ('count', 2.0, 'whole'), ('count', True, 'number'),
    ('on', 1, 'true or false'), ('on', 'true', 'true or false'), ('on', None, 'true or false'),
    ('place', 7, 'text'), ('place', 'xyz', 'invalid literal'),
    ('axis', 'xy', 'list of numbers'), ('axis', [True], 'list of numbers'),
    ('axis', [float('inf')], 'finite')])
def test_a_bad_value_is_an_error_that_says_why(field: str, value: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        declarations(Example)[field].read(value)
