"""The sample is of the form that real weights have, and the registry agrees with it."""

import numpy as np
import pytest
from support.weight_samples import TINY, tiny_checkpoint

from asyncmde_ros.model.config import CONFIGS
from asyncmde_ros.weights import canonical, registry
from asyncmde_ros.weights.registry import FoundationWeights


def test_the_sample_is_what_the_network_saves() -> None:
    torch = pytest.importorskip('torch')
    from asyncmde_ros.network.depth_anything import DepthAnythingV2
    with torch.device('meta'):
        saved = DepthAnythingV2(TINY).state_dict()
    expected = {name: tuple(value.shape) for name, value in saved.items()}
    sample = {name: value.shape for name, value in tiny_checkpoint().items()}
    assert {name: sample[name] for name in expected} == expected
    assert sample.keys() - expected.keys() == {'pretrained.mask_token'}


@pytest.mark.parametrize('name', CONFIGS)
def test_canonical_shapes_are_those_of_the_network(name: str) -> None:
    torch = pytest.importorskip('torch')
    from asyncmde_ros.network.depth_anything import DepthAnythingV2
    with torch.device('meta'):
        saved = DepthAnythingV2(CONFIGS[name]).state_dict()
    assert canonical.shapes(CONFIGS[name]) == {
        key: tuple(value.shape) for key, value in saved.items()
        if not key.startswith(canonical.UNUSED)}


@pytest.mark.parametrize('name', ['depth_anything_v2_vits', 'depth_anything_v2_vitb'])
def test_the_registry_counts_as_the_canonical_form(name: str) -> None:
    entry = registry.entry(name)
    assert isinstance(entry, FoundationWeights)
    shapes = canonical.shapes(entry.config)
    assert len(shapes) == entry.tensors
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == entry.parameters
    zeros = {key: np.zeros(shape, np.float16) for key, shape in sorted(shapes.items())}
    assert len(canonical.serialise(zeros)) == entry.size


def test_every_model_has_its_weights_in_the_registry() -> None:
    for model in registry.models().values():
        foundation = registry.entry(model.foundation)
        assert isinstance(foundation, FoundationWeights)
        assert foundation.config == CONFIGS[model.name]
        if model.fast is not None:
            assert not isinstance(registry.entry(model.fast), FoundationWeights)
    assert registry.model('vits').fast == 'asyncmde_vits'
    assert registry.model('vitb').fast is None
    vitb = registry.entry(registry.model('vitb').foundation)
    assert isinstance(vitb, FoundationWeights)
    assert not vitb.sources, 'non-commercial: never fetched'
