"""Clips of events and the training on them: made once, the same again, resumed without a trace."""

import pytest

pytest.importorskip('av', reason='left out: needs av')
pytest.importorskip('torch', reason='left out: needs torch')

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import safetensors.torch
import torch
from safetensors import safe_open

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.events.network.config import CONFIGS, SMALL
from asyncmde_ros.events.network.weights_file import CONFIG_KEY, load, save
from asyncmde_ros.events.representation import voxel_grid
from asyncmde_ros.events.training import clips, comparison, trainer
from asyncmde_ros.events.training.clips import (
    LABELS,
    EventClip,
    drawn_recipes,
    footage,
    prepare,
    seen,
)
from asyncmde_ros.events.training.comparison import _score, compare
from asyncmde_ros.events.training.config import Augmentation, EventConfig, EventTrainConfig
from asyncmde_ros.events.training.trainer import EventBatch, EventTrainer, Learned
from asyncmde_ros.lab.training import curves
from asyncmde_ros.lab.training.cache import Recipe
from asyncmde_ros.lab.training.config import ConfigError, DataConfig
from asyncmde_ros.lab.training.loop import CHECKPOINT, Budget, TrainingError
from asyncmde_ros.lab.training.quality import Thresholds

ROWS, COLS = 56, 112
WINDOWS = 4
CPU = torch.device('cpu')
TINY = replace(SMALL, name='tiny', bins=2, channels=(4, 4, 8, 8), encoded=4, dim=8,
               blocks=(1, 1, 2, 1), kernels=(3, 3), anchors=2, adaptive=2)
CONFIG = EventTrainConfig(
    data=DataConfig(sizes={f'{ROWS}x{COLS}': 1.0}, rendered_clips=6, photo_views=0,
                    virtual_clips=0, rendered_frames=WINDOWS + 1, quality=Thresholds(0, 0, 0),
                    validation_share=0.5),
    events=EventConfig(network='tiny', clips={'rendered': 4}, windows=WINDOWS,
                       labelled_every=1, unroll=2, queries=5,
                       augmentation=Augmentation(inverted=0, zoomed=0), least_events=0.0,
                       warmup_steps=1))
SPARSE = replace(CONFIG, events=replace(CONFIG.events, labelled_every=2, unroll=3))
"""Of four windows the second and the fourth have depth; the three that end there are learned."""

TEACHER = SimpleNamespace(id='none')
"""For rendered clips the teacher gives features only, and those are made up here."""


@pytest.fixture(scope='module', autouse=True)
def _prepared() -> Iterator[None]:
    """Take a tiny network, made-up features, and one core: several add up in any order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONFIGS, TINY.name, TINY)
        patch.setattr(clips, '_teacher_sees', lambda picture, teacher: [
            picture[..., 0].astype(np.float32),
            *(np.full((384, ROWS // 14, COLS // 14), level, np.float32) for level in (3, 4))])
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('cache')


@pytest.fixture(scope='module')
def wanted() -> list[Recipe]:
    return drawn_recipes([], CONFIG, CONFIG.events.clips, CONFIG.events.windows)


@pytest.fixture(scope='module')
def made(wanted: list[Recipe], folder: Path) -> list[EventClip]:
    return prepare(wanted, TEACHER, folder, CONFIG).clips


def test_as_many_clips_as_asked_for_and_always_the_same(wanted: list[Recipe]) -> None:
    assert [recipe.kind for recipe in wanted] == ['rendered'] * 4
    assert drawn_recipes([], CONFIG, CONFIG.events.clips, CONFIG.events.windows) == wanted
    assert {recipe.validation for recipe in wanted} == {False, True}


def test_a_window_ends_with_the_picture_whose_depth_it_has(made: list[EventClip]) -> None:
    clip = made[0]
    shown = footage(clip.recipe, TEACHER)
    windows = seen(shown.pictures, clip.recipe.seed)
    assert clip.windows == len(windows) == len(shown.pictures) - 1 == WINDOWS
    tensors = clip.read(0, WINDOWS)
    for window, found in enumerate(window.events for window in windows):
        np.testing.assert_allclose(tensors['events'][window, :TINY.bins],
                                   voxel_grid(found, TINY.bins), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(tensors['depth'][window], shown.inverse_m[window + 1],
                                   rtol=1e-3)
        by_hand = [np.count_nonzero((found.y // 8 == row) & (found.x // 8 == col))
                   for row in range(ROWS // 8) for col in range(COLS // 8)]
        np.testing.assert_allclose(tensors['counts'][window].flatten(), by_hand)
    assert clip.metric
    assert torch.equal(clip.read(1, 2)['events'], tensors['events'][1:3])


@pytest.fixture(scope='module')
def sparse(wanted: list[Recipe], folder: Path) -> list[EventClip]:
    return prepare(wanted, TEACHER, folder, SPARSE).clips


def test_depth_is_asked_for_only_where_it_is_learned(made: list[EventClip],
                                                     sparse: list[EventClip]) -> None:
    everywhere = made[0].read(0, WINDOWS)
    found = sparse[0].read(0, WINDOWS)
    assert made[0].labelled == [0, 1, 2, 3]
    assert sparse[0].labelled == [1, 3]
    assert torch.equal(found['events'], everywhere['events'])
    for name in LABELS:
        assert torch.equal(found[name], everywhere[name][[1, 3]])
        assert torch.equal(sparse[0].read(0, 2)[name], everywhere[name][[1]])
        assert torch.equal(sparse[0].read(1, 3)[name], everywhere[name][[1, 3]])
        assert len(sparse[0].read(2, 1)[name]) == 0


def test_what_ends_early_is_left_out(wanted: list[Recipe], tmp_path: Path) -> None:
    longer = replace(CONFIG, events=replace(CONFIG.events, windows=WINDOWS + 1))
    assert prepare(wanted[:2], TEACHER, tmp_path, longer).dropped == {'too short': 2}


def test_clips_are_made_once_and_again_when_damaged(
        wanted: list[Recipe], made: list[EventClip], folder: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(clips, 'footage', lambda *args: calls.append(args) or footage(*args))
    assert len(prepare(wanted, TEACHER, folder, CONFIG).clips) == len(made)
    assert calls == []
    whole = made[0].path.read_bytes()
    made[0].path.write_bytes(whole[:100])
    prepare(wanted, TEACHER, folder, CONFIG)
    assert len(calls) == 1
    assert made[0].path.read_bytes() == whole


def test_a_camera_at_rest_shows_nothing_to_learn_from(wanted: list[Recipe],
                                                      tmp_path: Path) -> None:
    busy = replace(CONFIG, events=replace(CONFIG.events, least_events=1e6))
    prepared = prepare(wanted[:2], TEACHER, tmp_path, busy)
    assert prepared.clips == []
    assert prepared.dropped == {'hardly any events': 2}


@pytest.mark.parametrize('size', ['196x252', '64x64'])
def test_sizes_that_cells_do_not_divide_are_refused(size: str) -> None:
    with pytest.raises((ConfigError, ValueError), match='multiples of'):
        EventTrainConfig(data=replace(CONFIG.data, sizes={size: 1.0}))


def begin(made: list[EventClip], out: Path, steps: int, **changes: object) -> EventTrainer:
    torch.manual_seed(0)
    config = replace(CONFIG, events=replace(CONFIG.events, **changes))
    return EventTrainer(Learned(config), made, config, Budget(steps=steps), out, CPU)


def test_a_resumed_run_ends_as_one_that_was_never_interrupted(
        made: list[EventClip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, 'HELD_OUT', 1)
    monkeypatch.setattr(curves, 'plot', lambda directory: None)
    whole = begin(made, tmp_path / 'whole', 4)
    scores = whole.run()
    assert set(scores) == {'error', 'dense', 'error_rendered', 'dense_rendered'}
    assert all(np.isfinite(value) for value in scores.values())

    stopped = begin(made, tmp_path / 'halves', 4)
    stop_after(stopped, 2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = begin(made, tmp_path / 'halves', 4)
    resumed.resume()
    assert resumed.progress.step == 2
    resumed.run()
    ends = []
    for name in ('whole', 'halves'):
        with safe_open(tmp_path / name / CHECKPOINT, 'pt') as stored:
            ends.append({key: stored.get_tensor(key) for key in stored.keys()})
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(value, ends[1][key]) for key, value in ends[0].items())


def stop_after(run: EventTrainer, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(save: bool = True) -> None:
        if run.progress.step == steps and save:
            run._save()
            raise KeyboardInterrupt
    monkeypatch.setattr(run, '_end_if_asked', ask)


def test_a_step_learns_everything_and_offsets_slowly(made: list[EventClip],
                                                     tmp_path: Path) -> None:
    run = begin(made, tmp_path, 10, weight_decay=0.0)
    before = {name: value.clone() for name, value in run._learnt.named_parameters()}
    values = run.step(run._load(0, 0), 0, 0.0)
    assert all(np.isfinite(value) for value in values.values())
    moved = {name: float((value - before[name]).abs().max().detach())
             for name, value in run._learnt.named_parameters()}
    # AdamW's first step is the rate for whatever has a gradient.
    offsets = moved['network.decoder.read.offsets.bias']
    assert offsets == pytest.approx(0.1 * moved['network.decoder.depth.2.bias'], rel=1e-2)
    still = [name for name, by in moved.items() if not by]
    assert still == []


def test_half_precision_goes_through(made: list[EventClip], tmp_path: Path) -> None:
    """As on a GPU, where the network runs in bfloat16."""
    run = begin(made, tmp_path, 1)
    with torch.autocast('cpu', torch.bfloat16):
        parts = run._losses(run._load(0, 0), torch.Generator().manual_seed(0))
    assert all(torch.isfinite(value) for value in parts.values())


def test_the_memory_is_carried_through_a_clip(made: list[EventClip]) -> None:
    torch.manual_seed(0)
    learned = Learned(CONFIG).eval()
    events = made[0].read(0, 3)['events'][:, None]
    with torch.no_grad():
        one, two, three = learned.contexts(events)
        later, = learned.contexts(events[2:], hidden=two.l4)
        fresh, = learned.contexts(events[2:])
    torch.testing.assert_close(later.l4, three.l4)
    assert not torch.allclose(fresh.l4, three.l4)


def test_windows_without_depth_only_hand_the_memory_on(sparse: list[EventClip]) -> None:
    torch.manual_seed(0)
    learned = Learned(CONFIG).eval()
    events = sparse[0].read(0, WINDOWS)['events'][:, None].requires_grad_()
    every = learned.contexts(events)
    second, fourth = learned.contexts(events, wanted=sparse[0].labelled)
    torch.testing.assert_close(second.l4, every[1].l4)
    torch.testing.assert_close(fourth.l4, every[3].l4)
    touched, = torch.autograd.grad((second.l4 + fourth.l4).sum(), events)
    assert [bool(window.any()) for window in touched] == [False, True, False, True]


def test_what_is_learned_ends_with_a_window_that_has_depth(sparse: list[EventClip],
                                                           tmp_path: Path) -> None:
    run = begin(sparse, tmp_path, 1, labelled_every=2, unroll=3,
                augmentation=Augmentation(0, 0, 0))
    originals = [clip.read(0, WINDOWS) for clip in sparse if not clip.validation]
    batch = run._load(0, 0)
    assert batch.labelled == [0, 2]
    for index in range(run._events.batch):
        part = {name: value[:, index] for name, value in batch.tensors.items()}
        assert any(torch.equal(part['events'], clip['events'][1:])
                   and torch.equal(part['depth'], clip['depth']) for clip in originals)
    values = run.step(batch, 0, 0.0)
    assert all(np.isfinite(value) for value in values.values())


def test_a_batch_mirrors_everything_or_nothing(made: list[EventClip], tmp_path: Path) -> None:
    run = begin(made, tmp_path, 1)
    originals = [clip.read(0, WINDOWS) for clip in made if not clip.validation]
    mirrored = set()
    for step in range(8):
        batch: EventBatch = run._load(0, step)
        for index in range(run._events.batch):
            part = {name: value[:, index] for name, value in batch.tensors.items()}
            matches = [flip for clip in originals for first in range(WINDOWS - 1)
                       for flip in (False, True)
                       if all(torch.equal(part[name], clip[name][first:first + 2].flip(-1) if flip
                                          else clip[name][first:first + 2]) for name in part)]
            assert len(matches) == 1
            mirrored |= set(matches)
    assert mirrored == {False, True}


def test_without_clips_for_both_sides_it_says_so(made: list[EventClip], tmp_path: Path) -> None:
    for wrong, words in ((True, 'nothing is left to train on'), (False, 'to validate on')):
        same = [clip for clip in made if clip.validation == wrong]
        with pytest.raises(TrainingError, match=words):
            begin(same, tmp_path, 1)
    with pytest.raises(TrainingError, match='the shares of these are 0'):
        begin(made, tmp_path, 1, shares={'video': 1.0})._load(0, 0)


def test_weights_say_which_network_they_are_of(tmp_path: Path) -> None:
    learned, path = Learned(CONFIG), tmp_path / 'weights.safetensors'
    save(learned.network, learned.dense, path)
    with safe_open(path, 'pt') as stored:
        assert stored.metadata()[CONFIG_KEY] == 'tiny'
        assert {name for name in stored.keys() if not name.startswith('dense.')} == set(
            learned.network.state_dict())
    found = load(path)
    for ours, theirs in zip(found, (learned.network, learned.dense), strict=True):
        assert not ours.training
        assert all(torch.equal(value, theirs.state_dict()[name].half().float())
                   for name, value in ours.state_dict().items())


def test_other_files_are_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned, path = Learned(CONFIG), tmp_path / 'weights.safetensors'
    for content in (None, b'', safetensors.torch.save({'x': torch.ones(1)}),
                    safetensors.torch.save({'x': torch.ones(1)}, {CONFIG_KEY: 'tiny'})):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(WeightsError, match=r'weights\.safetensors has no weights of EventSPD'):
            load(path)
    save(learned.network, learned.dense, path)
    monkeypatch.setitem(CONFIGS, TINY.name, replace(TINY, anchors=3, adaptive=3))
    with pytest.raises(WeightsError, match='size mismatch'):
        load(path)


def test_the_configuration_goes_into_a_checkpoint() -> None:
    assert json.loads(json.dumps(dataclasses.asdict(CONFIG)))['events']['network'] == 'tiny'


class TestComparison:
    """What is put beside the network, and how all are scored."""

    def test_aligned_truth_has_no_error_and_a_constant_one(self) -> None:
        rng = np.random.default_rng(0)
        truth = rng.uniform(0.1, 1, (6, 9)).astype(np.float32)
        assert _score(3 * truth + 1, truth, True) == pytest.approx((0, 0, 0), abs=1e-3)
        error, absrel, rmse = _score(np.ones_like(truth), truth, True)
        assert error == pytest.approx(1, rel=1e-3)
        depth, guess = 1 / truth.astype(np.float64), 1 / truth.mean()
        assert absrel == pytest.approx(np.mean(np.abs(guess - depth) / depth), rel=1e-3)
        assert rmse == pytest.approx(np.sqrt(np.mean((guess - depth) ** 2)), rel=1e-3)
        assert _score(truth, truth, False)[1:] == (None, None), 'relative depth has no metres'

    def test_the_sky_counts_for_the_error_and_has_no_metres(self) -> None:
        truth = np.full((4, 4), 0.5, np.float32)
        truth[0], truth[1] = 0, 0.25
        guess = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
        _, absrel, _ = _score(guess, truth, True)
        _, below, _ = _score(guess[1:], truth[1:], True)
        assert absrel == pytest.approx(below)

    def test_other_clips_choose_the_weights(self, made: list[EventClip],
                                            monkeypatch: pytest.MonkeyPatch) -> None:
        """As long as there are enough held-out ones."""
        held = [clip for clip in made if clip.validation]
        monkeypatch.setattr(comparison, 'CLIPS', len(held) - 1)
        monkeypatch.setattr(trainer, 'HELD_OUT', 1)
        chosen, scored = [], []
        monkeypatch.setattr(EventTrainer, '_clip_errors', lambda run, learned, clip: (
            chosen.append(clip) or torch.zeros(2, 1)))
        monkeypatch.setattr(comparison, '_predictions', lambda learned, clip, *others: (
            scored.append(clip) or []))
        run = begin(made, Path(), 1)
        run.measure(run._learnt, lambda: None)
        compare(run._learnt, made, TEACHER)
        assert chosen == held[:1]
        assert scored == held[1:]

    def test_every_method_is_scored_on_the_same_windows(
            self, made: list[EventClip], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(comparison, 'WARM_UP', 1)
        # Depth Anything that sees perfectly, of pictures as of events.
        monkeypatch.setattr(comparison, '_foundation', lambda pictures, teacher: [
            picture[4::8, 4::8, 0].astype(np.float32) for picture in pictures])
        torch.manual_seed(0)
        rows = compare(Learned(CONFIG).eval(), made, TEACHER)
        assert [row.method for row in rows] == [
            'mean depth', 'mean map', 'queries', 'dense head', 'event picture', 'picture']
        held = sum(clip.validation for clip in made)
        assert {(row.kind, row.windows) for row in rows} == {('rendered', held * (WINDOWS - 1))}
        assert rows[0].error == pytest.approx(1, abs=1e-3)
        assert all(0 < row.error <= 1.5 and row.absrel is not None for row in rows)
