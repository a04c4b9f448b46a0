"""A node's parameters in ROS: declared, checked when they are set, read into dataclasses."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.pipeline.declaration import Declaration, Settable, read
from asyncmde_ros.pipeline.settings import ROTATION_BY_TF
from asyncmde_ros.ros.transitions import PatientNode

Kind = TypeVar('Kind')
ByName = Mapping[str, Declaration]

ALIKE = 0.8
"""Names at least this much alike, by difflib's measure, are one and its misspelling."""

UNCONFIGURED, FINALIZED = 'unconfigured', 'finalized'
WAY_BACK = {'active': ('deactivate', 'cleanup'), 'inactive': ('cleanup',)}
"""Transitions from a state to the unconfigured one."""


def descriptor(declaration: Declaration) -> ParameterDescriptor:
    """Return how ROS describes a parameter.

    Not read-only where the node may be unconfigured: rclpy would refuse it in every state.
    """
    default, choices = declaration.default, declaration.choices
    description = ParameterDescriptor(
        name=declaration.name, description=declaration.description,
        read_only=declaration.settable is Settable.AT_START,
        # "ros2 param set ... 2" is an int and means 2.0, or "2" where that is a choice,
        # [0, 0, 0, 1] are ints and mean floats; YAML's off is a bool and means "off".
        dynamic_typing=(isinstance(default, (float, tuple)) or 'off' in choices
                        or declaration.listed
                        or any(choice.isdecimal() for choice in choices)))
    constraints = [f'one of: {", ".join(choices)}'] if choices else []
    if declaration.settable is Settable.UNCONFIGURED:
        constraints.append('set while the node is unconfigured')
    description.additional_constraints = '; '.join(constraints)
    if declaration.low is not None and declaration.high is not None:
        if isinstance(default, float):
            description.floating_point_range = [
                FloatingPointRange(from_value=declaration.low, to_value=declaration.high)]
        else:
            description.integer_range = [
                IntegerRange(from_value=int(declaration.low), to_value=int(declaration.high),
                             step=1)]
    return description


def declare(node: PatientNode, declared: ByName) -> None:
    """Declare every parameter of ``declared``.

    From now on bad values are refused, and changes that come too late.  Raises AsyncMDEError
    for a value that was given at start and is bad; warns of misspelt names.
    """
    def check(parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            trouble = _objection(node, declared, parameter)
            if trouble is not None:
                return SetParametersResult(successful=False, reason=f'{parameter.name}: {trouble}')
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)
    given = getattr(node, '_parameter_overrides', {})  # rclpy has no public way to them
    for declaration in declared.values():
        default = declaration.default
        if declaration.name in given:
            try:
                declaration.read(given[declaration.name].value)
            except ValueError as error:  # rclpy's own words are of less help
                raise AsyncMDEError(f'the parameter {declaration.name} cannot be set: {error}'
                                    ) from error
        node.declare_parameter(declaration.name,
                               list(default) if isinstance(default, tuple) else default,
                               descriptor(declaration))
    for name, meant in misspelt(given, declared).items():
        node.get_logger().warning(f'the parameter {name} is unknown and has no effect: did you '
                                  f'mean {meant}?')


def _objection(node: PatientNode, declared: ByName, parameter: Parameter) -> str | None:
    """Say why a parameter cannot be set to this value now, None where it can."""
    declaration = declared.get(parameter.name)
    if declaration is None:  # one of ROS's own
        return None
    try:
        declaration.read(parameter.value)
    except ValueError as error:
        return str(error)
    if declaration.settable is Settable.UNCONFIGURED:
        return too_late(node.lifecycle_state, node.get_fully_qualified_name())
    return None


def too_late(state: str, node: str) -> str | None:
    """Say why what is read at configure cannot be set in a lifecycle state, and what to do.

    None in the state in which it can.  ``node`` is the full name.
    """
    if state == UNCONFIGURED:
        return None
    said = f'it is read when the node is configured, and the node is {state}'
    if state == FINALIZED:
        return f'{said}: start the node again'
    steps = [f'ros2 lifecycle set {node} {step}' for step in WAY_BACK.get(state, ())]
    if not steps:  # a transition is under way
        return f'{said}: try again once that is done'
    return f'{said}; it needs cleanup first: {", then ".join(steps)}'


def misspelt(given: Iterable[str], declared: Iterable[str]) -> dict[str, str]:
    """Map each given name that is not ``declared``, but like one, to that one.

    ROS ignores what a node does not declare, since a file of parameters may serve several nodes.
    """
    names = {name: name for name in declared}
    names |= {name.rpartition('.')[2]: name for name in [*names]}  # without its group
    found = {}
    for name in given:
        alike = difflib.get_close_matches(name, names, n=1, cutoff=ALIKE)
        if name not in names.values() and alike:
            found[name] = names[alike[0]]
    return found


def any_live(parameters: Iterable[Parameter], declared: ByName) -> bool:
    """Tell whether one of them is of those that act on the running node."""
    return any(parameter.name in declared
               and declared[parameter.name].settable is Settable.ALWAYS
               for parameter in parameters)


def read_as(node: Node, kind: type[Kind]) -> Kind:
    """Return a dataclass of parameters as they are now."""
    return read(kind, lambda name: node.get_parameter(name).value)


def turns_by_tf(node: Node) -> bool:
    """Tell whether the images are to be turned by what tf says."""
    return bool(node.get_parameter('input.rotation').value == ROTATION_BY_TF)
