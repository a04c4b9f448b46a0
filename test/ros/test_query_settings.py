"""Which grids may be named, and where their points are."""

import numpy as np
import pytest

from asyncmde_ros.pipeline.declaration import declarations
from asyncmde_ros.ros.query_settings import MOST_POINTS, Grid, QuerySettings

DECLARED = declarations(QuerySettings)['grid']


@pytest.mark.parametrize(('text', 'grid'), [
    ('none', None), ('', None), ('8x6', Grid(8, 6)), (' 10 X 1 ', Grid(10, 1)),
    (f'{MOST_POINTS}x1', Grid(MOST_POINTS, 1))])
def test_a_grid_is_columns_by_rows(text: str, grid: Grid | None) -> None:
    assert DECLARED.read(text) == grid


@pytest.mark.parametrize('value', ['8', '8x', '0x6', '8x6x1', '-8x6', 'eight', f'{MOST_POINTS}x2',
                                   8, ['8x6'], None])
def test_what_is_no_grid_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        DECLARED.read(value)


def test_points_are_in_the_middle_of_even_parts_of_the_image_row_by_row() -> None:
    np.testing.assert_allclose(Grid(4, 2).points((2, 8)), [
        [0.5, 0], [2.5, 0], [4.5, 0], [6.5, 0], [0.5, 1], [2.5, 1], [4.5, 1], [6.5, 1]])
