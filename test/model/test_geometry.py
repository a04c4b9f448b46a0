"""Sizes: whole patches, the camera's aspect, what people write; and normalised coordinates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.model.geometry import (
    PATCH,
    network_size,
    parse_size,
    patch_grid,
    pixels_to_normalised,
    size_text,
)


@pytest.mark.parametrize(('text', 'size'), [('auto', None), ('252x336', (252, 336)),
                                            ('14X28', (14, 28))])
def test_a_size_is_read(text: str, size: tuple[int, int] | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize('text', ['', 'x', '252', '252x', 'x336', '-14x14', '252x336x3', '1.5x14',
                                  '100x100', '0x14', '²x14', 'AUTO'])
def test_what_is_no_size_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match='.'):
        parse_size(text)


@given(st.text(max_size=12))
def test_any_text_gives_whole_patches_or_a_value_error(text: str) -> None:
    try:
        size = parse_size(text)
    except ValueError:
        return
    assert size is None or min(size) > 0 and size[0] % PATCH == size[1] % PATCH == 0
    assert size is None or parse_size(size_text(size)) == size


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from([252, 518]))
def test_the_network_is_of_whole_patches_and_of_the_cameras_aspect(rows: int, cols: int,
                                                                   short: int) -> None:
    size = network_size((rows, cols), short)
    assert min(size) == short
    assert patch_grid(size) == (size[0] // PATCH, size[1] // PATCH)
    wanted = short * max(rows, cols) / min(rows, cols)
    assert abs(max(size) - wanted) <= PATCH / 2 + 1e-6
    assert (size[0] <= size[1]) == (rows <= cols) or size[0] == size[1]


def test_normalised_coordinates_run_from_border_to_border() -> None:
    borders = np.array([[-0.5, -0.5, 1], [639.5, 479.5, 1], [319.5, 239.5, 1], [0, 0, 1]]).T
    expected = np.array([[-1, -1, 1], [1, 1, 1], [0, 0, 1], [1 / 640 - 1, 1 / 480 - 1, 1]]).T
    np.testing.assert_allclose(pixels_to_normalised((480, 640)) @ borders, expected, atol=1e-12)
