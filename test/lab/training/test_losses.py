"""The losses against the paper's equations, written out in numpy."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asyncmde_ros.lab.training.losses import (
    aligned_error,
    feature_distance,
    memory_floor,
    multi_scale_gradient,
    normalised,
    robustly_normalised,
    scale_shift_invariant,
)

SHAPES = st.tuples(st.integers(1, 3), st.integers(16, 40), st.integers(16, 40))
SEEDS = st.integers(0, 10**6)

CLOSE = 1e-4
"""Sums of float32 against float64, and the epsilon that keeps a constant map finite."""


def maps(shape: tuple[int, int, int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two smooth random (B, 1, H, W), the second like the first but not quite."""
    rng = np.random.default_rng(seed)
    batch, rows, cols = shape
    ramp = np.add.outer(np.linspace(0, 3, rows), np.linspace(0, 1, cols))
    first = ramp + rng.normal(size=(batch, 1, rows, cols)) + 5
    second = first + 0.5 * rng.normal(size=first.shape)
    return torch.from_numpy(first).float(), torch.from_numpy(second).float()


def standard(maps: torch.Tensor) -> np.ndarray:
    x = maps.double().numpy()
    return (x - x.mean((2, 3), keepdims=True)) / x.std((2, 3), keepdims=True)


@given(shape=SHAPES, seed=SEEDS)
@settings(deadline=None)
def test_scale_shift_invariant_is_equation_11(shape: tuple[int, int, int], seed: int) -> None:
    p, g = maps(shape, seed)
    expected = ((standard(p) - standard(g))**2).mean()
    assert float(scale_shift_invariant(normalised(p), normalised(g))) == pytest.approx(
        expected, rel=CLOSE)


@given(shape=SHAPES, seed=SEEDS)
@settings(deadline=None)
def test_multi_scale_gradient_is_equation_12(shape: tuple[int, int, int], seed: int) -> None:
    p, g = maps(shape, seed)
    expected = 0.0
    levels = [standard(p), standard(g)]
    for s in range(1, 5):
        ps, gs = levels
        expected += (np.abs(np.diff(ps, axis=3) - np.diff(gs, axis=3)).mean()
                     + np.abs(np.diff(ps, axis=2) - np.diff(gs, axis=2)).mean()) / s**2
        rows, cols = ps.shape[2] // 2, ps.shape[3] // 2
        levels = [x[:, :, :2 * rows, :2 * cols].reshape(len(x), 1, rows, 2, cols, 2)
                  .mean((3, 5)) for x in levels]
    assert float(multi_scale_gradient(normalised(p), normalised(g))) == pytest.approx(
        expected, rel=CLOSE)


@given(trust=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5),
       tau=st.floats(0, 1), seed=SEEDS)
@settings(deadline=None)
def test_memory_floor_is_equation_13_of_every_frame(trust: list[float], tau: float,
                                                    seed: int) -> None:
    # Around each mean, pixels that differ: only their mean counts.
    spread = 0.1 * np.random.default_rng(seed).normal(size=(len(trust), 1, 6, 8))
    values = np.array(trust)[:, None, None, None] + spread - spread.mean((1, 2, 3), keepdims=True)
    expected = np.maximum(tau - np.array(trust), 0).mean()
    assert float(memory_floor(torch.from_numpy(values), tau)) == pytest.approx(expected, abs=1e-6)


def test_trust_above_the_floor_has_no_gradient_and_below_it_has() -> None:
    trust = torch.tensor([0.9, 0.1])[:, None, None, None].expand(2, 1, 3, 4).clone()
    trust.requires_grad_()
    memory_floor(trust, 0.4).backward()
    assert trust.grad is not None
    assert (trust.grad[0] == 0).all() and (trust.grad[1] < 0).all()


@given(scale=st.floats(0.05, 100), shift=st.floats(-100, 100), seed=SEEDS)
@settings(deadline=None)
def test_scale_and_shift_of_either_map_do_not_matter(scale: float, shift: float,
                                                     seed: int) -> None:
    p, g = maps((2, 20, 24), seed)
    assume(abs(shift) < 300 * scale)  # beyond, float32 rounds the map itself away
    for loss in (scale_shift_invariant, multi_scale_gradient):
        expected = float(loss(normalised(p), normalised(g)))
        for a, b in ((scale * p + shift, g), (p, scale * g + shift)):
            assert float(loss(normalised(a), normalised(b))) == pytest.approx(expected, rel=2e-3)
    assert float(aligned_error(scale * p + shift, g).mean()) == pytest.approx(
        float(aligned_error(p, g).mean()), rel=2e-3)


def test_maps_of_a_batch_are_normalised_each_by_itself() -> None:
    p, g = maps((2, 20, 24), 0)
    alone = [scale_shift_invariant(normalised(a[None]), normalised(b[None]))
             for a, b in zip(p, g, strict=True)]
    p[1] *= 50
    assert float(scale_shift_invariant(normalised(p), normalised(g))) == pytest.approx(
        float(sum(alone)) / 2, rel=1e-3)


def test_robust_normalisation_takes_median_and_mean_deviation_out_of_each_map() -> None:
    maps = torch.rand(3, 1, 5, 7, generator=torch.Generator().manual_seed(0)) ** 3
    ours = robustly_normalised(torch.tensor([1.0, 4.0, 0.2]).view(3, 1, 1, 1) * maps + 2)
    np.testing.assert_allclose(ours.flatten(1).median(1).values, 0, atol=1e-5)
    np.testing.assert_allclose(ours.abs().mean((1, 2, 3)), 1, rtol=1e-4)
    torch.testing.assert_close(ours, robustly_normalised(maps), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_normalised_in_float32(dtype: torch.dtype) -> None:
    p, _ = maps((1, 40, 40), 0)
    half = (100 * p).to(dtype)
    assert normalised(half).dtype == torch.float32
    np.testing.assert_allclose(normalised(half), standard(half), atol=1e-4)


def test_a_constant_depth_has_a_finite_gradient() -> None:
    """A decoder that has died must not turn the weights into NaN."""
    flat = torch.zeros(1, 1, 20, 20, requires_grad=True)
    _, g = maps((1, 20, 20), 0)
    prediction, truth = normalised(flat), normalised(g)
    (scale_shift_invariant(prediction, truth) + multi_scale_gradient(prediction, truth)).backward()
    assert flat.grad is not None and torch.isfinite(flat.grad).all()


# The error that validation reports


@given(scale=st.floats(0.05, 100), shift=st.floats(-50, 50), seed=SEEDS)
@settings(deadline=None)
def test_affine_copies_have_no_error(scale: float, shift: float, seed: int) -> None:
    _, g = maps((2, 20, 24), seed)
    assert float(aligned_error(scale * g + shift, g).max()) < 1e-3


def test_a_constant_and_an_unrelated_map_score_one() -> None:
    _, g = maps((2, 60, 80), 0)
    for prediction in (torch.zeros_like(g), torch.full_like(g, 7.5)):
        np.testing.assert_allclose(aligned_error(prediction, g), 1, rtol=1e-4)
    noise = torch.from_numpy(np.random.default_rng(9).normal(size=g.shape)).float()
    np.testing.assert_allclose(aligned_error(noise, g), 1, atol=0.02)


@given(seed=SEEDS)
@settings(deadline=None)
def test_scale_and_shift_are_the_least_squares_fit(seed: int) -> None:
    p, g = maps((2, 20, 24), seed)
    for error, x, y in zip(aligned_error(p, g), p.flatten(1), g.flatten(1), strict=True):
        design = np.stack([x.double().numpy(), np.ones(len(x))], 1)
        fit = design @ np.linalg.lstsq(design, y.double().numpy(), rcond=None)[0]
        truth = y.double().numpy()
        expected = np.abs(fit - truth).mean() / np.abs(truth - truth.mean()).mean()
        assert float(error) == pytest.approx(expected, rel=CLOSE)


# Features


def test_features_are_compared_in_units_of_their_spread(rng: np.random.Generator) -> None:
    shapes = [(1, 3, 2, 8, 10), (1, 3, 2, 4, 5), (1, 3, 2, 2, 3), (1, 3, 2, 1, 2)]
    features = [torch.from_numpy(rng.normal(size=shape)).float() for shape in shapes]
    targets = [torch.from_numpy(rng.normal(size=shape)).half() for shape in shapes]
    spread = torch.tensor([0.5, 1.0, 2.0, 4.0])
    expected = []
    for x, y, s in zip(features, targets, spread, strict=True):
        d = np.abs(x.numpy() - y.float().numpy()) / float(s)
        expected.append(np.where(d < 1, 0.5 * d**2, d - 0.5).mean())
    assert float(feature_distance(features, targets, spread)) == pytest.approx(
        np.mean(expected), rel=1e-4)
    assert float(feature_distance(targets, targets, spread)) == 0
