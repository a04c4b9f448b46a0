"""A parameter, declared once: a dataclass field with its name, words, range and meaning.

What a user meets of a parameter is derived from its declaration: the node's, with range and
description, the parameter file, the reference page, and how a value is read into the dataclass.
"""

import array
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeGuard, TypeVar

KEY = 'parameter'
"""Of a field's metadata."""

OFF = 'off'
"""A choice that YAML takes for the bool false."""

Plain = bool | int | float | str | tuple[float, ...]
"""What a parameter of ROS holds."""

Settings = TypeVar('Settings')


class Settable(Enum):
    """When a parameter may be set."""

    ALWAYS = 'at any time'
    UNCONFIGURED = 'while unconfigured'
    AT_START = 'at start'


@dataclass(frozen=True)
class Declaration:
    """One parameter.

    ``default`` is the plain value that a user reads and writes.  A number lies between ``low`` and
    ``high``, a text is one of ``choices`` where there are some; ``listed`` texts may be given as a
    list, which stands for one text with commas.  ``parse`` turns a plain value into the field's;
    it raises ValueError with what is wrong.
    """

    name: str
    default: Plain
    description: str
    settable: Settable
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    parse: Callable[[Any], Any] | None
    listed: bool = False

    @property
    def group(self) -> str:
        """Return what stands before the name's last point, empty where there is none."""
        return self.name.rpartition('.')[0]

    def read(self, value: object) -> Any:
        """Return a plain value as the field holds it; ValueError says what is wrong with it.

        Whole numbers stand for floats and for choices like them, false stands for 'off'.
        """
        plain = self._plain(value)
        return plain if self.parse is None else self.parse(plain)

    def _plain(self, value: object) -> Plain:
        if self.choices:
            text = OFF if value is False and OFF in self.choices else value
            if isinstance(text, bool) or str(text) not in self.choices:
                raise ValueError(f'{value!r} is not one of {", ".join(self.choices)}')
            return str(text)
        if isinstance(self.default, tuple):
            return _numbers(value)
        if self.listed and isinstance(value, (list, tuple)) and all(
                isinstance(item, str) for item in value):
            return ','.join(value)
        if isinstance(self.default, (bool, str)):
            if type(value) is not type(self.default):
                raise ValueError(f'{value!r} is not '
                                 f'{"text" if isinstance(self.default, str) else "true or false"}')
            return value
        if not _is_number(value):
            raise ValueError(f'{value!r} is not a number')
        if isinstance(self.default, int) and not isinstance(value, int):
            raise ValueError(f'{value!r} is not a whole number')
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:
            raise ValueError(f'{value!r} is outside the range [{self.low:g}, {self.high:g}]')
        return type(self.default)(value)


def parameter(default: Any, name: str, description: str, *,
              settable: Settable = Settable.ALWAYS, low: float | None = None,
              high: float | None = None, choices: tuple[str, ...] = (),
              text: str | None = None, parse: Callable[[Any], Any] | None = None,
              listed: bool = False) -> Any:
    """Return a dataclass field with a default that is also a parameter.

    ``text`` is the default as a user writes it, where that is not the field's.  Of an Enum the
    choices are its members' values, unless ``choices`` and ``parse`` say otherwise.
    """
    plain = default if text is None else text
    if isinstance(default, Enum):
        members = {str(member.value): member for member in type(default)}
        plain = str(default.value)
        choices, parse = choices or tuple(members), parse or members.__getitem__
    return dataclasses.field(default=default, metadata={KEY: Declaration(
        name, plain, description, settable, low, high, choices, parse, listed)})


def declarations(settings: type[Any]) -> dict[str, Declaration]:
    """Return the declaration of each field of a dataclass that is a parameter, by field."""
    return {field.name: field.metadata[KEY] for field in dataclasses.fields(settings)
            if KEY in field.metadata}


def read(settings: type[Settings], value: Callable[[str], object]) -> Settings:
    """Return the dataclass with the plain values that ``value`` gives for parameters' names."""
    return settings(**{field: declaration.read(value(declaration.name))
                       for field, declaration in declarations(settings).items()})


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numbers(value: object) -> tuple[float, ...]:
    items = list(value) if isinstance(value, (list, tuple, array.array)) else None
    if items is None or not all(_is_number(item) for item in items):
        raise ValueError(f'{(value if items is None else items)!r} is not a list of numbers')
    if not all(math.isfinite(item) for item in items):
        raise ValueError(f'{items!r} is not a list of finite numbers')
    return tuple(float(item) for item in items)
