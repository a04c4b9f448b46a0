"""The parameter table, the shipped YAML and the README agree."""

from typing import Any

import pytest
import yaml

from asyncmde_ros.resources import share_directory
from asyncmde_ros.ros.parameters import SPECIFICATIONS


def flatten(tree: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= flatten(value, f'{prefix}{name}.') if isinstance(value, dict) else {
            f'{prefix}{name}': value}
    return flat


def test_the_shipped_yaml_lists_every_parameter_with_its_default() -> None:
    text = (share_directory() / 'config' / 'depth.yaml').read_text(encoding='utf-8')
    shipped = flatten(yaml.safe_load(text)['/**']['ros__parameters'])
    assert shipped == {s.name: s.default for s in SPECIFICATIONS}


@pytest.mark.parametrize('specification', SPECIFICATIONS, ids=lambda s: s.name)
def test_every_parameter_is_described_and_its_default_is_allowed(specification) -> None:
    assert len(specification.description) > 20
    assert specification.objection(specification.default) is None
    descriptor = specification.descriptor()
    assert descriptor.read_only is not specification.live
    if isinstance(specification.default, (int, float)) and not isinstance(
            specification.default, bool):
        assert descriptor.floating_point_range or descriptor.integer_range
