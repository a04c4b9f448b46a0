"""Boxes: the object, not what is behind, before or beside it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.pipeline.boxes import SAMPLES, objects, samples
from asyncmde_ros.pipeline.field import MapField
from asyncmde_ros.pipeline.points import ImageField, PointDepth

IMAGE = (240, 320)
NEAR, FAR = 6.0, 1.0


def scene(shape: str) -> ImageField:
    """Something near in the middle, before a wall."""
    depth = np.full(IMAGE, FAR, np.float32)
    y, x = np.mgrid[0:IMAGE[0], 0:IMAGE[1]]
    middle = {'disc': (x - 160) ** 2 + (y - 120) ** 2 < 40 ** 2,
              'post': np.abs(x - 160) < 16,
              'frame': np.hypot(x - 160, y - 120) < 0}[shape]
    depth[middle] = NEAR
    return ImageField(MapField(depth, np.where(middle, 0.9, 0.4).astype(np.float32)), IMAGE)


def seen(field: ImageField, *boxes: tuple[float, ...]) -> PointDepth:
    return objects(field.at(samples(np.array(boxes, float).reshape(-1, 4))))


@pytest.mark.parametrize(('shape', 'box', 'depth'), [
    ('disc', (160, 120, 80, 80), NEAR),
    ('disc', (160, 120, 110, 110), NEAR),
    ('post', (160, 120, 60, 200), NEAR),
    ('frame', (160, 120, 80, 80), FAR),
    ('disc', (60, 60, 50, 50), FAR)])
def test_the_object_is_told_and_not_what_is_behind_it(shape: str, box: tuple[float, ...],
                                                      depth: float) -> None:
    found = seen(scene(shape), box)
    np.testing.assert_allclose(found.inverse_depth, [depth])
    np.testing.assert_allclose(found.trust, [0.9 if depth == NEAR else 0.4], atol=0.1)


def test_something_thin_before_the_object_is_not_the_object() -> None:
    depth = np.full(IMAGE, 3, np.float32)
    depth[:, 130:142] = 9
    field = ImageField(MapField(depth, np.ones_like(depth)), IMAGE)
    np.testing.assert_allclose(seen(field, (160, 120, 100, 100)).inverse_depth, [3])


def test_a_surface_that_slants_is_one_thing() -> None:
    ramp = np.tile(np.linspace(2, 2.2, IMAGE[1], dtype=np.float32), (IMAGE[0], 1))
    field = ImageField(MapField(ramp, np.ones_like(ramp)), IMAGE)
    found = seen(field, (160, 120, 200, 100)).inverse_depth
    np.testing.assert_allclose(found, [2.1], atol=0.01)


def test_of_a_box_that_is_cut_off_what_is_in_the_image_counts() -> None:
    found = seen(scene('frame'), (0, 0, 100, 100), (-300, 0, 50, 50), (160, np.nan, 50, 50))
    np.testing.assert_allclose(found.inverse_depth, [FAR, np.nan, np.nan])


def test_no_boxes_are_no_answers() -> None:
    assert seen(scene('disc')).inverse_depth.shape == (0,)


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1), lost=st.floats(0, 1))
def test_the_answer_is_one_of_the_two_depths_there_are(seed: int, share: float, lost: float
                                                       ) -> None:
    rng = np.random.default_rng(seed)
    depth = np.where(rng.random(SAMPLES ** 2) < share, NEAR, FAR).astype(np.float32)
    depth[rng.random(SAMPLES ** 2) < lost] = np.nan
    found = objects(PointDepth(depth, np.ones_like(depth))).inverse_depth
    known = set(depth[np.isfinite(depth)].tolist())
    assert found.tolist()[0] in known if known else np.isnan(found).all()
