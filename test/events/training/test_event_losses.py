"""The losses and where queries are asked: against their formulas."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asyncmde_ros.events.network.config import STRIDES
from asyncmde_ros.events.training import losses
from asyncmde_ros.events.training.config import QueryShares
from asyncmde_ros.events.training.sampling import HardMap, at, draw, query_weights

ROWS, COLS = 48, 64
RELATIVE, METRIC = torch.tensor([False]), torch.tensor([True])
CPU = torch.device('cpu')


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class TestPointLoss:
    @given(scale=st.floats(0.1, 50), shift=st.floats(-20, 20))
    @settings(deadline=None, max_examples=20)
    def test_of_relative_depth_only_the_form_counts(self, scale: float, shift: float) -> None:
        inverse, truth = torch.rand(1, 65) + 0.1, torch.rand(1, 65)
        expected = losses.point_errors(inverse, truth, RELATIVE)
        moved = losses.point_errors(inverse, scale * truth + shift, RELATIVE)
        torch.testing.assert_close(moved, expected, rtol=2e-2, atol=2e-3)
        torch.testing.assert_close(losses.point_errors(inverse, 3 * inverse - 1, RELATIVE),
                                   torch.zeros(1, 65), rtol=0, atol=1e-6)

    def test_of_exact_depth_it_is_hubers_in_inverse_metres(self) -> None:
        errors = losses.point_errors(torch.tensor([[1.0, 1.0, 1.0]]),
                                     torch.tensor([[1.0, 0.5, 4.0]]), METRIC)
        torch.testing.assert_close(errors, torch.tensor([[0.0, 0.125, 2.5]]))  # d^2/2, d - 1/2

    def test_each_window_is_of_its_own_kind(self) -> None:
        inverse, truth = torch.rand(2, 9), torch.rand(2, 9)
        both = losses.point_errors(inverse, truth, torch.tensor([True, False]))
        torch.testing.assert_close(both[:1], losses.point_errors(inverse[:1], truth[:1], METRIC))
        torch.testing.assert_close(both[1:], losses.point_errors(inverse[1:], truth[1:], RELATIVE))


class TestFormAndPoint:
    def test_of_relative_depth_it_is_the_form_alone(self) -> None:
        inverse, truth = torch.rand(1, 65) + 0.1, torch.rand(1, 65)
        torch.testing.assert_close(losses.form_and_point_errors(inverse, truth, RELATIVE),
                                   losses.point_errors(inverse, truth, RELATIVE))

    def test_of_exact_depth_both_count(self) -> None:
        inverse, truth = torch.rand(1, 65) + 0.1, torch.rand(1, 65)
        expected = (losses.point_errors(inverse, truth, RELATIVE)
                    + losses.point_errors(inverse, truth, METRIC))
        torch.testing.assert_close(losses.form_and_point_errors(inverse, truth, METRIC), expected)

    def test_far_away_the_form_still_counts(self) -> None:
        """A room of 20 to 40 m, and its form upside down: in 1/m that is next to nothing."""
        truth = torch.linspace(0.025, 0.05, 65)[None]
        assert losses.point_errors(truth.flip(1), truth, METRIC).mean() < 1e-3
        assert losses.form_and_point_errors(truth.flip(1), truth, METRIC).mean() > 0.5


class TestSilog:
    def test_equation_30_with_the_bracket_in_its_place(self) -> None:
        inverse, truth = torch.rand(2, 30) + 0.1, torch.rand(2, 30) + 0.1
        found = losses.silog(inverse, truth, torch.tensor([True, True]), 0.5)
        apart = truth.log() - inverse.log()  # log of depth minus log of true depth
        expected = (apart.square().mean(1) - 0.5 * apart.mean(1).square()).sqrt().mean()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)

    def test_with_the_whole_mean_taken_out_scale_does_not_count(self) -> None:
        truth = torch.rand(1, 30) + 0.1
        assert losses.silog(truth * 7, truth, METRIC, 1.0) < 2e-3  # the root of EPS is 1e-3
        assert losses.silog(truth * 7, truth, METRIC, 0.5) > 1

    def test_the_sky_and_relative_depth_have_no_logarithm(self) -> None:
        inverse = torch.rand(2, 30) + 0.1
        truth = torch.rand(2, 30) + 0.1
        sky = torch.cat([truth, torch.zeros(2, 5)], dim=1)
        seen = torch.cat([inverse, torch.rand(2, 5)], dim=1)
        metric = torch.tensor([True, False])
        torch.testing.assert_close(losses.silog(seen, sky, metric, 0.5),
                                   losses.silog(inverse[:1], truth[:1], METRIC, 0.5))

    def test_without_exact_depth_it_is_zero_and_has_a_gradient(self) -> None:
        inverse = (torch.rand(1, 4) + 0.1).requires_grad_()
        loss = losses.silog(inverse, torch.zeros(1, 4), METRIC, 0.5)
        loss.backward()
        assert loss.item() == 0
        assert torch.equal(inverse.grad, torch.zeros(1, 4))


@pytest.mark.parametrize('stride', [8, 16])
def test_dense_depth_is_compared_with_the_mean_of_the_truth(stride: int) -> None:
    truth = torch.rand(1, 8 * 7, 8 * 9)  # at a stride of 16 half a cell is left over
    rows, cols = truth.shape[1] // stride, truth.shape[2] // stride
    mean = truth[:, :rows * stride, :cols * stride].unfold(1, stride, stride).unfold(
        2, stride, stride).mean((-1, -2))
    level = STRIDES.index(stride)
    assert losses.dense_error(mean[:, None], truth, METRIC, level) < 1e-10
    assert losses.dense_error(mean[:, None] + 1, truth, METRIC, level) == pytest.approx(0.5)
    assert losses.dense_error(mean[:, None] + 1, truth, RELATIVE, level) < 1e-8


class TestFeatures:
    @pytest.mark.parametrize(('level', 'stride'), [(2, 16), (3, 32)])
    def test_a_cell_is_compared_with_the_teacher_at_its_middle(self, level: int,
                                                              stride: int) -> None:
        """Features that point where they are: to be a patch off would be seen."""
        def pointing(count: int, pixels: int) -> Tensor:
            angle = ((torch.arange(count) + 0.5) * pixels) / 100
            return torch.stack([angle.cos(), angle.sin()])[None, :, None, :].expand(-1, -1, 4, -1)
        counts = torch.ones(1, 4 * stride // 8, 40 * 14 // 8)
        ours = pointing(40 * 14 // stride, stride)
        teacher = pointing(40, 14)
        assert losses.feature_distance(ours, teacher, counts, level) < 1e-3
        shifted = teacher.roll(1, dims=3)
        assert losses.feature_distance(ours, shifted, counts, level) > 5e-3

    @pytest.mark.parametrize(('events', 'weight'), [(0, 0.0), (1, 0.4), (9, 1.8), (90, 2)])
    def test_where_more_happens_it_counts_more_but_no_more_than_twice(self, events: float,
                                                                      weight: float) -> None:
        """Equation 32's weight: min(n / mean n, 2), of the one cell that is all wrong."""
        others = {0: 3.0, 1: 3.0, 9: 11 / 3, 90: 1.0}[events]
        counts = torch.full((2, 2), others)
        counts[0, 0] = events
        opposite = torch.ones(1, 3, 2, 2)
        opposite[..., 0, 0] = -1.0
        cells = counts.repeat_interleave(2, 0).repeat_interleave(2, 1)[None]
        distance = losses.feature_distance(opposite, torch.ones(1, 3, 3, 3), cells, 2)
        assert distance.item() == pytest.approx(2 * weight / 4, rel=1e-4, abs=1e-6)


class TestSampling:
    def test_each_category_has_its_share(self) -> None:
        inverse = torch.zeros(1, ROWS, COLS)
        inverse[:, :, 40:] = 1.0                            # an edge between columns 39 and 40
        counts = torch.zeros(1, ROWS // 8, COLS // 8)
        counts[0, 1, 2] = 5
        hard = HardMap(ROWS, COLS, 0.99, CPU)
        hard.losses.zero_()
        hard.losses[2, 0] = 1
        weights = query_weights(inverse, counts, hard, QueryShares(0.4, 0.3, 0.2, 0.1))[0]
        area = ROWS * COLS
        assert float(weights.sum()) == pytest.approx(1, rel=1e-4)
        assert float(weights[8:16, 16:24].sum()) == pytest.approx(0.3 + 0.4 * 64 / area, rel=1e-3)
        assert float(weights[:, 39].sum()) == pytest.approx(
            0.2 + 0.4 * ROWS / area, rel=1e-3)
        assert float(weights[32:48, :16].sum()) == pytest.approx(0.1 + 0.4 * 256 / area, rel=1e-3)

    def test_without_events_or_edges_it_is_even(self) -> None:
        weights = query_weights(torch.zeros(1, ROWS, COLS), torch.zeros(1, ROWS // 8, COLS // 8),
                                HardMap(ROWS, COLS, 0.99, CPU), QueryShares())
        torch.testing.assert_close(weights, torch.full_like(weights, 1 / (ROWS * COLS)))

    def test_drawn_pixels_are_those_that_may_be(self) -> None:
        weights = torch.zeros(2, ROWS, COLS)
        weights[0, 5, 60], weights[1, 47, 3] = 1, 1
        queries = draw(weights, 3, torch.Generator().manual_seed(0))
        assert queries.tolist() == [[[60, 5]] * 3, [[3, 47]] * 3]

    def test_the_same_seed_draws_the_same(self) -> None:
        weights = torch.rand(1, ROWS, COLS)
        one, other = (draw(weights, 20, torch.Generator().manual_seed(4)) for _ in range(2))
        assert torch.equal(one, other)

    def test_what_is_at_a_query(self) -> None:
        maps = torch.rand(2, ROWS, COLS)
        queries = torch.tensor([[[3.0, 7.0]], [[63.0, 47.0]]])
        assert at(maps, queries).tolist() == [[float(maps[0, 7, 3])], [float(maps[1, 47, 63])]]

    def test_the_hard_map_remembers(self) -> None:
        """Equation 33; the sides need not be multiples of 16."""
        hard = HardMap(40, 33, 0.75, CPU)
        assert hard.losses.shape == (3, 3)
        hard.update(torch.tensor([[[0.0, 0.0], [15.0, 15.0], [32.0, 39.0]]]),
                    torch.tensor([[2.0, 4.0, 9.0]]))
        expected = torch.ones(3, 3)
        expected[0, 0], expected[2, 2] = 0.75 + 0.25 * 3, 0.75 + 0.25 * 9
        torch.testing.assert_close(hard.losses, expected)
        assert math.isclose(float(hard.losses[1, 1]), 1), 'nobody asked there'
