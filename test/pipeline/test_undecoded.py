"""Frames without a map: depth is decoded where it is asked for, and the memory goes on as ever."""

import logging
import os
import time
from pathlib import Path
from threading import Event, current_thread, get_native_id

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import FakeModel, fake_engines, fake_sparse_engines, fine_size
from support.pictures import texture

from asyncmde_ros.engine.interface import Engines, Precision, SparseEngines
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.graph_tensors import STATE
from asyncmde_ros.pipeline import undecoded
from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline
from asyncmde_ros.pipeline.fast_path import FastPath
from asyncmde_ros.pipeline.feature_cache import Keyframe, Slot
from asyncmde_ros.pipeline.motion import still
from asyncmde_ros.pipeline.points import ImageField
from asyncmde_ros.pipeline.refresher import FeatureRefresher, make_slot
from asyncmde_ros.pipeline.results import DepthResult
from asyncmde_ros.pipeline.settings import FastPathModel, Settings
from asyncmde_ros.pipeline.undecoded import DecoderOnDemand, SparseDecoder, UndecodedField

SIZE: Size = (126, 168)
IMAGE: Size = (252, 336)
DEADLINE_S = 60.0

SAME = 2e-5
"""Relative to the largest depth: float32 sums in another order, in OpenVINO."""


@pytest.fixture(scope='module')
def engines() -> SparseEngines:
    return fake_sparse_engines(SIZE)


def field_of(engines: SparseEngines, seed: int = 0) -> UndecodedField:
    decoder = SparseDecoder(engines)
    buffer = engines.trunk.allocate('undecoded')
    buffer.write(np.random.default_rng(seed).random(buffer.array.shape))
    return UndecodedField(decoder, buffer, np.full(fine_size(SIZE), 0.5, np.float32))


def runs(engines: SparseEngines) -> tuple[int, int]:
    """How often a map, and points, were decoded."""
    return tuple(len(engine.runs) for engine in (  # type: ignore[attr-defined, return-value]
        engines.whole, engines.points))


@given(count=st.integers(1, 30), apart=st.integers(0, 9), seed=st.integers(0, 1000))
def test_pixels_have_the_maps_numbers_wherever_they_lie(
        engines: SparseEngines, count: int, apart: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    field, whole = field_of(engines, seed), field_of(engines, seed).depth()
    for _ in range(2):  # the second time some are known
        rows, cols = (np.clip(rng.integers(0, side, (count, 1))
                              + rng.integers(-apart, apart + 1, (count, 5)), 0, side - 1)
                      for side in field.size)
        np.testing.assert_array_equal(field.depth_at(rows, cols), whole[rows, cols])
    np.testing.assert_array_equal(field.depth_at(rows[:, 0], cols[:, 0]),
                                  whole[rows[:, 0], cols[:, 0]])
    np.testing.assert_array_equal(field.depth(), whole)


def test_a_point_is_one_block_and_asked_again_none(engines: SparseEngines) -> None:
    """Of an image at least twice the map's size, where depth is not steep."""
    field = field_of(engines)
    field._undecoded.array[...] = 1
    image = ImageField(field, (2 * field.size[0], 2 * field.size[1]))
    points = np.random.default_rng(0).uniform(0, np.array(SIZE[::-1]) - 1, (4, 2))
    before = runs(engines)
    for _ in range(2):
        assert (image.at(points).inverse_depth == 1).all()
        assert runs(engines) == (before[0], before[1] + 1), 'four blocks at once'
    assert field._known.sum() <= 4 * 9


def test_of_many_points_the_map_is_made_once(engines: SparseEngines) -> None:
    field, rng = field_of(engines), np.random.default_rng(0)
    before = runs(engines)
    for _ in range(2):
        pixels = tuple(rng.integers(0, side, (10 * undecoded.MANY, 1)) for side in field.size)
        field.depth_at(*pixels)
        assert runs(engines) == (before[0] + 1, before[1])


def test_what_was_asked_stays_when_the_next_frame_comes(engines: SparseEngines) -> None:
    decoder, fast, slot = SparseDecoder(engines), FastPath(fake_engines(SIZE).fast), Slot({})
    slot.buffers = {name: engines.trunk.allocate(name) for name in engines.trunk.inputs}
    slot.keyframe = Keyframe(0, 0, 0, 1, 0.0)
    picture = np.zeros((*SIZE, 3), np.uint8)
    fields = []
    for number in range(3):
        slot.buffers['m1'].write(number)
        fields.append(fast.step(picture, slot, still(SIZE), still(SIZE), 0.5, 4.0, decoder))
    for number, field in enumerate(fields):
        assert field.depth_at(np.array([[5]]), np.array([[7]])) == number
        assert (field.depth() == number).all() and (field.trust() == 1).all()
    moved = fast.extrapolate(still(SIZE))
    assert moved is not None and (moved[0] == 2).all()


@pytest.fixture(scope='module')
def real(foundation_path: Path) -> tuple[Engines, SparseEngines]:
    model = Model(backend='openvino', precision=Precision.FP32, threads=Threads(1, 1),
                  foundation=foundation_path)
    return model.compile(SIZE), model.compile_sparse(SIZE)


def test_whole_frames_and_others_in_turn_leave_the_same_memory(
        real: tuple[Engines, SparseEngines]) -> None:
    """And points of the others are those of the map, sampled."""
    engines, sparse = real
    decoder, slot = SparseDecoder(sparse), make_slot(engines.slow)
    pictures = [texture(SIZE, (9, 12), seed) for seed in range(3)]
    FeatureRefresher(engines).fill(pictures[0], slot)
    points = np.random.default_rng(0).uniform(-0.5, np.array(IMAGE[::-1]) - 0.5, (12, 2))
    states, depths, found = [], [], []
    for in_turn in (False, True):
        fast = FastPath(engines.fast)
        for index in range(6):
            slot.keyframe = Keyframe(0, 0, 0, 1 + index // 4, 0.0)  # a swap on the way
            field = fast.step(pictures[index % 3], slot, still(SIZE), still(SIZE), 0.5, 4.0,
                              decoder if in_turn and index % 2 else None)
            assert isinstance(field, UndecodedField) is bool(in_turn and index % 2)
        found.append(ImageField(field, IMAGE).at(points))
        depths.append(field.depth())
        states.append({name: fast._states[fast._side][name].read() for name in STATE})
    for name, dense in states[0].items():
        np.testing.assert_allclose(states[1][name], dense, rtol=0, atol=SAME * np.abs(dense).max())
    assert depths[0].max() > 0.1
    for ours, dense in ((depths[1], depths[0]), *zip(found[1], found[0], strict=True)):
        np.testing.assert_allclose(ours, dense, rtol=0, atol=SAME * np.abs(dense).max())


def test_no_frame_waits_for_a_compilation_but_whoever_stops_does(engines: SparseEngines) -> None:
    release = Event()

    def compile_sparse() -> SparseEngines:
        release.wait(DEADLINE_S)
        return engines
    decoder = DecoderOnDemand(compile_sparse)
    assert decoder.stop(0), 'nobody wanted it yet'
    assert decoder.wanted() is None and decoder.wanted() is None
    assert not decoder.stop(0)
    release.set()
    assert decoder.stop(DEADLINE_S) and decoder.wanted() is not None
    assert DecoderOnDemand(None).wanted() is None


class Watched(FakeModel):
    """Notes in which thread the engines of frames without a map are compiled; may fail there.

    At the priority of the camera's thread, since what computes for it inherits that.
    """

    def __init__(self, works: bool = True) -> None:
        super().__init__()
        self.threads: list[str] = []
        self.works = works

    def compile_sparse(self, size: Size, cancel: Event | None = None) -> SparseEngines:
        assert (os.getpriority(os.PRIO_PROCESS, get_native_id())
                == os.getpriority(os.PRIO_PROCESS, os.getpid()))
        self.threads.append(current_thread().name)
        if not self.works:
            raise EngineError('injected')
        return super().compile_sparse(size)


def shown(pipeline: DepthPipeline, whole: bool, until: str) -> DepthResult:
    """Show frames until depth is held by a field of that name."""
    deadline, result = time.monotonic() + DEADLINE_S, DepthResult(pipeline.status.state, 0)
    picture = np.full((*IMAGE, 3), 90, np.uint8)
    while type(getattr(result.field, '_field', None)).__name__ != until:
        assert time.monotonic() < deadline
        time.sleep(0.005)
        result = pipeline.process(picture, result.stamp_ns + 33_000_000, whole=whole)
    return result


def test_engines_for_points_are_compiled_in_the_background_once_somebody_asks() -> None:
    model = Watched()
    with DepthPipeline(model, size=SIZE,  # type: ignore[arg-type]
                       fast_path=FastPathModel.SPATIAL_MEMORY) as pipeline:
        result = shown(pipeline, True, 'MapField')
        assert result.depth is not None and not model.threads
        result = shown(pipeline, False, 'UndecodedField')
        assert result.depth is None and model.threads == [undecoded.COMPILER]
        assert np.isfinite(result.at([[5, 5], [99, 80]]).inverse_depth).all()
        assert shown(pipeline, True, 'MapField').depth is not None
        shown(pipeline, False, 'UndecodedField')
    assert model.threads == [undecoded.COMPILER]


@pytest.mark.proves('no-engines-for-points')
def test_where_they_cannot_be_compiled_maps_serve_with_one_warning(
        caplog: pytest.LogCaptureFixture) -> None:
    model = Watched(works=False)
    caplog.set_level(logging.WARNING)
    with DepthPipeline(model, Settings(), SIZE,  # type: ignore[arg-type]
                       fast_path=FastPathModel.SPATIAL_MEMORY) as pipeline:
        result = shown(pipeline, False, 'MapField')
        assert pipeline._session._decoder.stop(DEADLINE_S)  # type: ignore[attr-defined]
        for _ in range(2):
            result = shown(pipeline, False, 'MapField')
        assert np.isfinite(result.at([[5, 5]]).inverse_depth).all()
    assert model.threads == [undecoded.COMPILER]
    assert [text for text in caplog.messages if 'injected' in text] == [
        'depth at points takes as long as a map: injected']
