"""The rows: on fakes where rules matter, on real weights where numbers do."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')
pytest.importorskip('onnx', reason='left out: needs onnx')

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakes import FakeEngine, fake_engines

from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.errors import EngineError
from asyncmde_ros.lab.evaluation import predict
from asyncmde_ros.lab.evaluation.cache import stored_arrays, stored_json
from asyncmde_ros.lab.evaluation.image_model import ImageModel
from asyncmde_ros.lab.evaluation.simulation import Sight, Watch
from asyncmde_ros.model.preprocess import IMAGENET_MEAN, IMAGENET_STD
from asyncmde_ros.network.warp import TensorWarp, sample, warp_grid
from asyncmde_ros.pipeline.evidence import ALL, Ingredients
from asyncmde_ros.pipeline.motion import MotionEstimator, resample, still
from asyncmde_ros.pipeline.settings import MotionCompensation, Settings

SIZE = (28, 42)


def pictures(count: int) -> list[np.ndarray]:
    return [np.full((*SIZE, 3), 130 + 10 * index, np.uint8) for index in range(count)]


@given(shift=st.lists(st.floats(-0.3, 0.3), min_size=8, max_size=8))
@settings(deadline=None)
def test_the_numpy_warp_is_the_networks_warp(shift: list[float]) -> None:
    homography = np.eye(3) + np.array([*shift, 0]).reshape(3, 3)
    depth = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    h = torch.from_numpy(homography.astype(np.float32))
    grid, valid = warp_grid(TensorWarp(h, torch.zeros(1, 2, *depth.shape)), depth.shape)
    expected = sample(torch.from_numpy(depth)[None, None], grid)[0, 0].numpy()
    where = valid[0, 0].numpy() == 1
    # OpenCV interpolates with 1/32 pixel steps.
    moved = resample(depth, still(depth.shape)._replace(homography=homography))
    np.testing.assert_allclose(moved[where], expected[where], atol=0.04)


def walk(count: int) -> list[np.ndarray]:
    """Return views of a textured wall, each 3 pixels on, past a box that moves by itself."""
    rng = np.random.default_rng(0)
    wall, box = (cv2.resize(rng.integers(0, 255, (side, side, 3), np.uint8), (8 * side, 8 * side),
                            interpolation=cv2.INTER_CUBIC) for side in (40, 6))
    views = [wall[20:132, 3 * index:3 * index + 140].copy() for index in range(count)]
    for index, view in enumerate(views):
        view[30:78, 40 + 2 * index:88 + 2 * index] = box
    return views


@pytest.mark.parametrize('compensation', MotionCompensation)
def test_footage_moves_exactly_as_on_a_robot(compensation: MotionCompensation) -> None:
    views, estimator = walk(6), MotionEstimator()
    track = predict.footage(views, compensation)
    for index, view in enumerate(views):
        step = estimator.update(index, view, compensation).step
        np.testing.assert_array_equal(track.steps[index].homography, step.homography)
        np.testing.assert_array_equal(track.steps[index].flow, step.flow)
    live, since = estimator.since(1, 5), track.since(1, 5)
    assert live is not None
    np.testing.assert_array_equal(since.homography, live.homography)
    np.testing.assert_allclose(since.flow, live.flow, atol=1e-6)
    np.testing.assert_allclose(track.homographies_since(1, 5), live.homography, atol=1e-6)
    assert bool(since.flow.any()) == (compensation is MotionCompensation.IMAGE)
    assert (abs(float(since.homography[0, 2])) > 0.01) == (
        compensation is not MotionCompensation.OFF)


def test_the_network_is_given_the_footages_warps() -> None:
    engines, views = fake_engines((112, 140)), walk(5)
    assert isinstance(engines.fast, FakeEngine)
    given: list[dict[str, np.ndarray]] = []
    engines.fast.compute = lambda arrays: given.append(
        {name: arrays[name].copy() for name in ('step', 'step_flow', 'keyframe', 'keyframe_flow')})
    track = predict.footage(views, MotionCompensation.IMAGE)
    list(predict.spatial_memory(engines, track, [None, 0, 0, 2, 2], Settings()))
    for index, keyframe, fresh, seen in zip((1, 2, 3, 4), (0, 0, 2, 2), (True, False) * 2, given,
                                            strict=True):
        since = track.since(keyframe, index)
        for name, warp in (('keyframe', since), ('step', since if fresh else track.steps[index])):
            np.testing.assert_array_equal(seen[name], warp.homography)
            np.testing.assert_array_equal(seen[f'{name}_flow'][0], warp.flow)


def test_hold_repeats_the_keyframe_and_shows_nothing_without_one() -> None:
    depth = np.arange(3, dtype=np.float16)[:, None, None] * np.ones((1, 4, 5), np.float16)
    held = list(predict.hold(depth, [None, 0, 0, 2]))
    assert np.isnan(held[0]).all()
    assert [float(map_.mean()) for map_ in held[1:]] == [0, 0, 2]


def test_the_network_is_refreshed_when_the_schedule_says_and_only_then() -> None:
    engines = fake_engines(SIZE)
    assert isinstance(engines.slow, FakeEngine) and isinstance(engines.fast, FakeEngine)
    track = predict.Footage(pictures(6), [still(SIZE)] * 6)
    shown = list(predict.spatial_memory(engines, track, [None, None, 0, 0, 3, 3], Settings()))
    assert np.isnan(shown[0][0]).all() and np.isnan(shown[1][1]).all()
    assert len(engines.slow.runs) == 2
    assert [run['fresh'].array[0] for run in engines.fast.runs] == [0.0] * 4  # shared buffers
    assert len(engines.fast.runs) == 4
    means = [float(depth.mean()) for depth, _ in shown[2:]]
    assert means[0] == means[1] != means[2] == means[3]


class Script(Watch):
    """What each frame finds, written down before; keeps what it is told."""

    def __init__(self, sights: list[Sight]) -> None:
        self.told: list[float] = []
        self._sights = iter(sights)

    def frame(self) -> Sight:
        return next(self._sights)

    def judged(self, trust: float, change_per_frame: float) -> None:
        self.told.append(trust)


LARGE = (56, 84)
SIGHTS = [Sight(None, None, None), Sight(None, None, 0), Sight(0, LARGE, 0), Sight(0, LARGE, 1),
          Sight(2, SIZE, 1), Sight(2, SIZE, 4)]


def moved(sights: list[Sight], glances: np.ndarray | None = None,
          ingredients: Ingredients = ALL) -> tuple[list[predict.Shown], Script]:
    """Return the rows of a still camera, of which each frame's refresh gives its index."""
    views, script = walk_of(len(sights)), Script(sights)
    track = predict.Footage(views, [still(SIZE)] * len(views))

    def refreshed(size: tuple[int, int]) -> np.ndarray:
        return np.arange(len(views), dtype=np.float16)[:, None, None] + np.tile(
            np.linspace(1, 9, size[1], dtype=np.float16), (len(views), size[0], 1))
    return list(predict.moved_depth(track, script, refreshed, glances, ingredients)), script


def walk_of(count: int) -> list[np.ndarray]:
    """Return pictures at the larger size: a still scene into whose right half something comes."""
    scene = cv2.resize(walk(1)[0], LARGE[::-1])
    other = cv2.resize(np.ascontiguousarray(walk(1)[0][::-1, ::-1]), LARGE[::-1])
    views = [scene.copy() for _ in range(count)]
    for view in views[3:]:
        view[:, 50:] = other[:, 50:]
    return views


def unlike(count: int) -> np.ndarray:
    """Return glances that see the same ramp, and something near at its far end."""
    maps = np.tile(np.linspace(1, 9, 24, dtype=np.float16), (count, 16, 1))
    maps[:, :, 18:] += 20
    return maps


def test_moved_depth_shows_the_keyframe_that_each_frame_finds_at_the_pictures_size() -> None:
    found, script = moved(SIGHTS)
    assert [shown.sight for shown in found] == SIGHTS
    assert all(shown.depth.shape == LARGE for shown in found)
    assert all(np.isnan(shown.depth).all() and np.isnan(shown.trust).all() for shown in found[:2])
    for shown in found[2:]:
        assert shown.depth[20, 0] == pytest.approx(1 + (shown.sight.keyframe or 0), abs=0.1)
    assert len(script.told) == 4 and all(  # the confidence of any depth comes on top
        told >= shown.trust.mean() for told, shown in zip(script.told, found[2:], strict=True))


def test_glances_newer_than_the_keyframe_mend_it_and_no_others() -> None:
    seen = [Sight(0, LARGE, 0), Sight(0, LARGE, 0), Sight(0, LARGE, 2), Sight(0, LARGE, 3),
            Sight(4, LARGE, 3), Sight(4, LARGE, 4)]
    (plain, _), (mended, _) = moved(seen), moved(seen, unlike(6))
    changed = [not np.allclose(a.depth, b.depth, atol=1e-3)
               for a, b in zip(plain, mended, strict=True)]
    # The glance at 2 sees the picture of the keyframe still, and gives way to it.
    assert changed == [False, False, False, True, False, False]
    assert mended[3].depth[:, 70:].mean() > plain[3].depth[:, 70:].mean() + 0.5
    np.testing.assert_allclose(mended[3].depth[:, :40], plain[3].depth[:, :40], atol=0.1)


def test_ingredients_of_the_evidence_can_be_left_out() -> None:
    seen = [Sight(0, LARGE, 0)] * 3 + [Sight(0, LARGE, 3)] * 2
    full, blind = (moved(seen, unlike(5), ingredients)[0]
                   for ingredients in (ALL, Ingredients(photometry=False)))
    assert full[3].trust.min() < blind[3].trust.min()
    np.testing.assert_allclose(blind[3].depth[20], blind[2].depth[20], atol=0.2)
    assert not np.array_equal(blind[3].depth, full[3].depth)


def test_each_ingredient_changes_what_a_moving_camera_sees() -> None:
    views = walk(5)
    track = predict.footage(views, MotionCompensation.IMAGE)
    ramp = np.tile(np.linspace(1, 9, 140, dtype=np.float16), (5, 112, 1))
    # Coarser, unlike in a smooth way, and with something near that came in from the right.
    glances = ramp[:, ::2, ::2] + np.sin(np.arange(70) / 5, dtype=np.float16) / 4
    glances[3:, :, 66:] += 20
    seen = [Sight(0, (112, 140), 0), *[Sight(0, (112, 140), 3)] * 4]

    def last(ingredients: Ingredients) -> np.ndarray:
        return list(predict.moved_depth(track, Script(seen), lambda size: ramp, glances,
                                        ingredients))[-1].depth
    full = last(ALL)
    for name in (field.name for field in dataclasses.fields(Ingredients)):
        changed = last(dataclasses.replace(ALL, **{name: False}))
        assert np.abs(changed - full).max() > 0.01, name


def test_footage_without_flow_keeps_its_homographies() -> None:
    track = predict.footage(walk(4), MotionCompensation.IMAGE)
    plain = predict.without_flow(track)
    assert any(step.flow.any() for step in track.steps)
    assert not any(step.flow.any() for step in plain.steps)
    np.testing.assert_array_equal(plain.homographies_since(0, 3), track.homographies_since(0, 3))


def test_without_memory_every_frame_is_fresh_and_sees_nothing_remembered() -> None:
    engines = fake_engines(SIZE)
    assert isinstance(engines.fast, FakeEngine)
    seen: list[tuple[float, float]] = []
    engines.fast.compute = lambda arrays: seen.append(
        (float(arrays['fresh'][0]), float(arrays['keyframe'][2, 2])))
    list(predict.fast_alone(engines, pictures(3), Settings()))
    assert seen == [(1.0, -1.0)] * 3


def test_the_cache_computes_once_per_key_and_survives_damage(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    calls: list[int] = []

    def arrays() -> dict[str, np.ndarray]:
        calls.append(1)
        return {'depth': np.arange(4, dtype=np.float16)}
    first = stored_arrays({'a': 1}, arrays)
    np.testing.assert_array_equal(stored_arrays({'a': 1}, arrays)['depth'], first['depth'])
    assert len(calls) == 1
    stored_arrays({'a': 2}, arrays)
    assert len(calls) == 2
    for path in tmp_path.rglob('*.npz'):
        path.write_bytes(path.read_bytes()[:40])
    stored_arrays({'a': 1}, arrays)
    assert len(calls) == 3
    assert stored_json({'b': 1}, lambda: [1, None]) == stored_json({'b': 1}, list) == [1, None]


def peer_model(path: Path, inputs: int = 1) -> Path:
    """Write a model that answers with the red channel, at any size."""
    value = onnx.helper.make_tensor_value_info
    size = (1, 3, 'h', 'w')
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node('Gather', ['image', 'zero'], ['depth'], axis=1)], 'peer',
        [value(name, onnx.TensorProto.FLOAT, size) for name in ('image', 'other')[:inputs]],
        [value('depth', onnx.TensorProto.FLOAT, (1, 1, 'h', 'w'))],
        [onnx.numpy_helper.from_array(np.array([0], np.int64), 'zero')])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 17)],
                                     ir_version=8), path)
    return path


def test_another_model_gives_inverse_depth_whatever_it_wants_and_gives(tmp_path: Path) -> None:
    path = peer_model(tmp_path / 'peer.onnx')
    picture = np.full((28, 42, 3), 51, np.uint8)
    plain = ImageModel(path, (14, 28), 1, wants='unit').inverse_depth(picture)
    assert plain.shape == (14, 28)
    np.testing.assert_allclose(plain, 0.2, atol=2e-3)
    np.testing.assert_allclose(
        ImageModel(path, (14, 28), 1, gives='depth', wants='unit').inverse_depth(picture), 5,
        atol=0.05)
    np.testing.assert_allclose(ImageModel(path, (14, 28), 1).inverse_depth(picture),
                               (0.2 - IMAGENET_MEAN[0]) / IMAGENET_STD[0], atol=0.01)


def test_a_model_with_two_inputs_is_no_peer(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match='one image input'):
        ImageModel(peer_model(tmp_path / 'peer.onnx', inputs=2), (14, 28), 1)


@pytest.mark.slow
def test_at_lag_zero_the_untrained_network_is_the_teacher(foundation_path: Path,
                                                          rng: np.random.Generator) -> None:
    model, size = Model(threads=Threads(2, 2), foundation=foundation_path), (126, 168)
    engines = model.compile(size)
    noise = rng.integers(0, 255, (9, 12, 3), np.uint8)
    shown = [np.kron(noise, np.ones((14, 14, 1), np.uint8))] * 2
    track = predict.footage(shown, MotionCompensation.IMAGE)
    teacher = np.stack(list(predict.teacher(predict.Foundation(model, size), shown)))
    ours = [depth for depth, _ in predict.spatial_memory(engines, track, [0, 0], Settings())]
    for depth in ours:
        assert np.abs(depth - teacher[0]).mean() < 0.02 * teacher[0].mean()
    alone = next(iter(predict.fast_alone(engines, shown, Settings())))
    assert np.abs(alone - teacher[0]).mean() > 0.02 * teacher[0].mean()


def test_in_one_scale_a_refresh_goes_on_in_that_of_the_one_before() -> None:
    """Of a still camera; the second refresh's maps are three times the first one's."""
    rows, cols = size = (196, 252)
    one = np.add.outer(np.linspace(1, 3, rows), np.linspace(1, 2, cols)).astype(np.float32)
    trust = np.ones((4, 6), np.float32)
    shown = [predict.Shown(Sight(keyframe, size, None), scale * one, trust)
             for keyframe, scale in ((None, np.nan), (0, 1), (0, 1), (2, 3), (2, 3))]
    found = list(predict.in_one_scale(shown, [still(size)] * len(shown)))
    assert np.isnan(found[0].depth).all()
    for now in found[1:]:
        np.testing.assert_allclose(now.depth, one, rtol=0.06)
        assert now.trust is trust
