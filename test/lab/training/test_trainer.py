"""The training loop: it learns, repeats itself, and goes on after a kill.

It keeps its hands off what is not to be trained on.
"""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

import itertools
import json
import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file, save_file
from support.curves import rows
from torch import Tensor

from asyncmde_ros.engine.torch import load_weights
from asyncmde_ros.errors import AsyncMDEError, WeightsError
from asyncmde_ros.lab.training import curves, loop, phases
from asyncmde_ros.lab.training.augment import Appearance
from asyncmde_ros.lab.training.cache import Clip
from asyncmde_ros.lab.training.config import (
    DataConfig,
    LossConfig,
    ModelChoice,
    OptimiserConfig,
    TrainConfig,
    UnrollConfig,
)
from asyncmde_ros.lab.training.interruption import SIGNALS
from asyncmde_ros.lab.training.loop import CHECKPOINT, Budget, TrainingError
from asyncmde_ros.lab.training.trainer import Trainer
from asyncmde_ros.lab.training.validation import Validation
from asyncmde_ros.lab.training.windows import Batch, Sampler
from asyncmde_ros.model.config import VITS
from asyncmde_ros.model.geometry import Size, memory_sizes, patch_grid
from asyncmde_ros.network.graphs import FastNetwork
from asyncmde_ros.pipeline.settings import MotionCompensation

pytestmark = pytest.mark.usefixtures('one_core', 'no_curves')

SIZE: Size = (56, 84)
SIZES = memory_sizes(patch_grid(SIZE))
SMALL = replace(VITS, channels=8)
CLIP_FRAMES = 6
CPU = torch.device('cpu')
NEVER = 1e9
ALWAYS = 0.0
CONFIG = TrainConfig(
    data=DataConfig(sizes={'56x84': 1.0}, appearance=Appearance(strength=0.5)),
    model=ModelChoice(initial_trust=0.9),
    loss=LossConfig(relative=0.0, fused=0.5),
    unroll=UnrollConfig(frames=3, max_delay=1, decoded_frames=2),
    optimiser=OptimiserConfig(rate=2e-3, encoder_rate=1.0, gate_rate=1.0, clip_rate_share=0.4,
                              average=0.0, warmup_steps=1, decoder_share=0.0,
                              distil_rate=0.5, frame_encoder_share=0.5,
                              frame_encoder_batch=2, batch=2),
    validation_minutes=NEVER, checkpoint_minutes=NEVER)

BUDGET_S = 1.5
TICK_S = 0.1
"""What passes each time that the training looks at the clock."""
OVERRUN_S = 4 * TICK_S
"""The budget leaves out the last step, the last validation and the checkpoint."""

State = dict[str, Tensor]
draw_curves = curves.plot


@pytest.fixture(scope='module')
def start(fast_weights: dict[str, np.ndarray]) -> State:
    """Weights to begin with: the shipped encoder, and a decoder that shows something."""
    torch.manual_seed(0)
    network = FastNetwork(SMALL)
    load_weights(network.frame_encoder.encoder, {
        name.removeprefix('frame_encoder.encoder.'): value
        for name, value in fast_weights.items()})
    with torch.no_grad():
        for gate in (network.unit.gates.level1, network.unit.gates.level4):
            torch.nn.init.normal_(gate.score.weight, std=0.1)
            gate.score.bias.fill_(2)
        network.decoder.output_conv2[2].weight.mul_(20)
        network.decoder.output_conv2[2].bias.fill_(20)
    return network.state_dict()


def fresh(start: State) -> FastNetwork:
    network = FastNetwork(SMALL)
    network.load_state_dict(start)
    return network


def make_clip(path: Path, start: State, seed: int, validation: bool, still: bool = False,
              kind: str = 'video') -> Clip:
    """Write a clip of a view that moves, with a foundation model that is a linear map."""
    rng = np.random.default_rng(seed)
    wide = F.interpolate(torch.from_numpy(rng.random((1, 3, 9, 16))),
                         (SIZE[0], SIZE[1] + 4 * CLIP_FRAMES), mode='bicubic').clamp(0, 1)
    shown = torch.cat([wide[..., (0 if still else 4 * i):][..., :SIZE[1]]
                       for i in range(CLIP_FRAMES)])
    images = (255 * shown).to(torch.uint8)
    mixing = torch.randn(4, SMALL.channels, 3, generator=torch.Generator().manual_seed(1))
    levels = [torch.einsum('cd,ndij->ncij', mix, F.interpolate(
        images / 255 - 0.5, size, mode='area')) for mix, size in zip(mixing, SIZES, strict=True)]
    with torch.inference_mode():
        depth = fresh(start).decoder.decode(levels, SIZE)[:, 0]
    assert depth.std() > 0.05
    header = {'kind': kind, 'name': path.name,
              'frames': str(CLIP_FRAMES), 'size': json.dumps(SIZE)}
    save_file({'images': images.permute(0, 2, 3, 1).contiguous().numpy(),
               **{f'm{index}': np.ascontiguousarray(level.numpy().astype(np.float16))
                  for index, level in enumerate(levels, start=1)},
               'depth': np.ascontiguousarray(depth.numpy().astype(np.float16))}, path, header)
    return Clip(path, header, validation)


@pytest.fixture(scope='module')
def clips(start: State, tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Three clips to train on and one to validate on."""
    directory = tmp_path_factory.mktemp('clips')
    return [make_clip(directory / f'clip_{seed}', start, seed, validation=seed == 3)
            for seed in range(4)]


def prepared(start: State, clips: Sequence[Clip], out: Path, steps: int,
             config: TrainConfig = CONFIG,
             frozen_norm: bool = True) -> tuple[FastNetwork, Trainer]:
    network = fresh(start)
    return network, Trainer(network, clips, config, Budget(steps=steps), out, CPU, frozen_norm)


def trained(start: State, clips: Sequence[Clip], out: Path, steps: int,
            config: TrainConfig = CONFIG) -> State:
    network, training = prepared(start, clips, out, steps, config)
    training.run()
    return network.state_dict()


def different(a: State, b: State) -> set[str]:
    """Return the names of tensors that are not alike to the last bit."""
    assert a.keys() == b.keys()
    return {name for name in a if not torch.equal(a[name], b[name])}


def with_optimiser(**changes: float) -> TrainConfig:
    return replace(CONFIG, optimiser=replace(CONFIG.optimiser, **changes))


def part_of(name: str) -> str:
    """Return which of the trained parts a tensor belongs to."""
    return name.removeprefix('unit.').partition('.')[0]


# It learns


@pytest.mark.parametrize(('frame_encoder_share', 'correction'), [(0.0, True), (1.0, False)],
                         ids=['clips', 'single frames'])
def test_the_loss_goes_down(start: State, clips: list[Clip], tmp_path: Path,
                            frame_encoder_share: float, correction: bool,
                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, 'LOG_EVERY', 1)
    monkeypatch.setattr(loop, 'VALIDATIONS', 1)
    # A trained encoder whose normalisation was folded away bears no larger steps than these.
    config = with_optimiser(frame_encoder_share=frame_encoder_share, rate=5e-4, encoder_rate=0.1)
    trained(start, clips, tmp_path, 60, replace(config, model=replace(config.model,
                                                                     correction=correction)))
    loss = [row['loss'] for row in rows(tmp_path / 'train.csv')]
    assert len(loss) == 60 and all(map(math.isfinite, loss))
    assert np.mean(loss[-6:]) < 0.75 * np.mean(loss[:6])


def test_the_loss_of_a_pair_goes_down(start: State, clips: list[Clip], tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same pairs again and again: these clips are too small for general laws."""
    monkeypatch.setattr(loop, 'LOG_EVERY', 1)
    monkeypatch.setattr(loop, 'VALIDATIONS', 1)
    pairs = Sampler(clips, CONFIG).pairs(1, 2)
    assert pairs.images.shape[1] == 2
    monkeypatch.setattr(Sampler, 'pairs', lambda self, step, count: pairs)
    trained(start, clips, tmp_path, 40, with_optimiser(frame_encoder_share=1.0, rate=5e-4,
                                                       encoder_rate=0.1))
    loss = [row['loss_corrected'] for row in rows(tmp_path / 'train.csv')
            if math.isfinite(row['loss_corrected'])]
    assert len(loss) == 30, 'three of four steps have pairs'
    assert np.mean(loss[-6:]) < 0.75 * np.mean(loss[:6])


def test_a_frames_error_is_told_against_that_of_the_first_ones_depth(clips: list[Clip]) -> None:
    """Reference: eq. 11 in numpy, of the first frame's depth where nothing moves."""
    still = replace(CONFIG, unroll=replace(CONFIG.unroll, motion=MotionCompensation.OFF))
    batch = Sampler(clips, still).windows(0, 2)
    target = batch.depth[:, 1:].flatten(0, 1)
    found = phases.warped_hold_score(batch, [0, 1], 1, target)

    def normal(depth: np.ndarray) -> np.ndarray:
        return (depth - depth.mean()) / depth.std()
    depth = batch.depth[:, :, 0].float().numpy()
    expected = [np.square(normal(clip[0]) - normal(clip[frame])).mean()
                for clip in depth for frame in (1, 2)]
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert min(expected) > 1e-3, 'the clips do not move'


def test_what_is_learned_holds_on_the_clip_left_out(start: State, clips: list[Clip],
                                                    tmp_path: Path) -> None:
    # Without pairs: these pictures are too small for a warp to tell frames apart.
    # With larger steps of the encoder a change of the last bits decides how much is learned.
    config = replace(with_optimiser(rate=5e-3, encoder_rate=0.1),
                     model=replace(CONFIG.model, correction=False))
    _, training = prepared(start, clips, tmp_path, 80, config)
    after = training.run()
    before = rows(tmp_path / 'validation.csv')[0]
    assert after['error_alone'] < 0.95 * before['error_alone']
    assert after['error'] < before['error']
    assert after['error_held'] == pytest.approx(before['error_held'], rel=1e-5)


@pytest.mark.parametrize(('frame_encoder_share', 'learns', 'rests'), [
    (1.0, {'frame_encoder', 'correction'}, {'gates', 'decoder'}),
    (0.0, {'frame_encoder', 'correction', 'gates'}, {'decoder'}),
    (0.5, {'frame_encoder', 'correction', 'gates'}, {'decoder'})])
def test_each_phase_trains_its_parts(start: State, clips: list[Clip], tmp_path: Path,
                                     frame_encoder_share: float, learns: set[str],
                                     rests: set[str]) -> None:
    network, training = prepared(start, clips, tmp_path, 4,
                                 with_optimiser(frame_encoder_share=frame_encoder_share))
    training.run()
    stored = load_file(tmp_path / CHECKPOINT)
    changed = {name for name in start
               if not np.array_equal(start[name].numpy(), stored[f'network.{name}'])}
    assert {part_of(name) for name in changed} == learns
    # Folded normalisation is frozen with its encoder in evaluation mode.
    assert not any('running' in name or 'num_batches' in name for name in changed)
    # To the last bit, in what is kept as best too.
    assert different({n: v for n, v in start.items() if part_of(n) in rests},
                     {n: v for n, v in network.state_dict().items()
                      if part_of(n) in rests}) == set()


def test_what_is_validated_and_kept_is_the_running_average(
        start: State, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = 'frame_encoder.projector.convs.0.weight'
    passed: list[Tensor] = []
    network, training = prepared(start, clips, tmp_path, 4,
                                 with_optimiser(frame_encoder_share=0.0, average=0.75))
    original = training.step

    def recorded(*arguments: object) -> dict[str, float]:
        values = original(*arguments)
        passed.append(network.state_dict()[name].clone())
        return values
    monkeypatch.setattr(training, 'step', recorded)
    training.run()
    expected = passed[0]
    for weights in passed[1:]:
        expected = 0.75 * expected + 0.25 * weights
    stored = torch.from_numpy(load_file(tmp_path / CHECKPOINT)[f'averaged.module.{name}'])
    torch.testing.assert_close(stored, expected)
    assert not torch.allclose(stored, passed[-1])


def test_a_decoder_with_a_rate_learns(start: State, clips: list[Clip], tmp_path: Path) -> None:
    network, training = prepared(start, clips, tmp_path, 2, with_optimiser(decoder_rate=1.0))
    training.run()
    stored = load_file(tmp_path / CHECKPOINT)
    decoder = {name for name in start if name.startswith('decoder.')
               and not np.array_equal(start[name].numpy(), stored[f'network.{name}'])}
    assert any('refinenet1' in name for name in decoder)


def test_normalisation_that_is_not_folded_keeps_count(start: State, clips: list[Clip],
                                                      tmp_path: Path) -> None:
    # One phase: the second goes on from the first one's best, with its count.
    _, training = prepared(start, clips, tmp_path, 2, with_optimiser(frame_encoder_share=0.0),
                           frozen_norm=False)
    training.run()
    stored = load_file(tmp_path / CHECKPOINT)
    assert stored['network.frame_encoder.encoder.bn1.num_batches_tracked'] == 2


def test_the_rate_warms_up_and_falls_in_each_phase(start: State, clips: list[Clip],
                                                   tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[dict[str, float]] = []
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW) -> None:
        used.append({group['name']: group['lr'] for group in self.param_groups})
        original(self)
    monkeypatch.setattr(torch.optim.AdamW, 'step', step)
    settings = with_optimiser(warmup_steps=3, encoder_rate=0.2, gate_rate=0.3, decoder_share=0.25,
                              distil_rate=0.7, decoder_rate=0.5).optimiser
    trained(start, clips, tmp_path, 16, replace(CONFIG, optimiser=settings))
    low = settings.final_rate_share
    for index, rates in enumerate(used):
        phase, length = (0, 4) if index < 4 else (1, 8) if index < 12 else (2, 4)
        step_of_phase = index - (0, 4, 12)[phase]
        rate = settings.rate * min(1, (step_of_phase + 1) / 3) * (
            low + (1 - low) * (1 + math.cos(math.pi * step_of_phase / length)) / 2)
        frame_encoder = settings.clip_rate_share if phase == 2 else 1
        assert rates == pytest.approx({'encoder': 0.2 * frame_encoder * rate, 'gates': 0.3 * rate,
                                       'projector': frame_encoder * rate, 'correction': rate,
                                       'decoder': (0.5 if phase else 0.7) * rate})
    assert len(used) == 16


def test_the_decoder_learns_first_and_alone(start: State, clips: list[Clip],
                                            tmp_path: Path) -> None:
    torch.manual_seed(0)
    worse = {name: value * (1 + 0.2 * torch.randn_like(value))
             if name.startswith('decoder.output_conv') else value for name, value in start.items()}
    config = with_optimiser(decoder_share=1.0, frame_encoder_share=0.0, decoder_rate=0.0,
                            rate=2e-3)
    trained(worse, clips, tmp_path, 20, config)
    stored = load_file(tmp_path / CHECKPOINT)
    changed = different(worse, {name: torch.from_numpy(stored[f'network.{name}'])
                                for name in worse})
    assert changed and all(name.startswith('decoder.') for name in changed)
    learned = [row['loss_decoder'] for row in rows(tmp_path / 'train.csv')]
    assert np.mean(learned[-3:]) < 0.7 * learned[0]


def test_after_its_phase_the_decoder_rests(start: State, clips: list[Clip],
                                           tmp_path: Path) -> None:
    config = with_optimiser(decoder_share=0.25, frame_encoder_share=0.75, decoder_rate=0.0)
    network, training = prepared(start, clips, tmp_path, 8, config)
    seen: list[dict[str, Tensor]] = []
    original = training.step

    def step(*arguments: Any) -> dict[str, float]:
        values = original(*arguments)
        seen.append({name: value.clone() for name, value in network.decoder.state_dict().items()})
        return values
    training.step = step  # type: ignore[method-assign]
    training.run()
    assert different(seen[0], seen[1]) and not different(seen[2], seen[-1])


def test_only_kernels_decay(start: State, clips: list[Clip], tmp_path: Path) -> None:
    """With no gradient, all that is left of a step is the decay."""
    config = replace(CONFIG, loss=LossConfig(
        ssi=0, gradient=0, memory=0, fused=0, observed=0, alone=0), optimiser=replace(
            CONFIG.optimiser, weight_decay=0.5, decoder_rate=1.0, frame_encoder_share=0.0))
    trained(start, clips, tmp_path, 1, config)
    stored = load_file(tmp_path / CHECKPOINT)
    for name, value in start.items():
        after = torch.from_numpy(stored[f'network.{name}'])
        if value.dim() < 2:
            torch.testing.assert_close(after, value, rtol=0, atol=0)
        elif 'resConfUnit1' not in name or 'refinenet4' not in name:  # that one never runs
            assert float(after.norm()) < float(value.norm())


@pytest.mark.parametrize(('memory', 'gates'), [('none', 'full'), ('encoder', 'full'),
                                               ('foundation', 'level1'),
                                               ('foundation', 'level4')])
def test_every_ablation_trains(start: State, clips: list[Clip], tmp_path: Path, memory: str,
                               gates: str) -> None:
    config = replace(CONFIG, model=ModelChoice(memory=memory, gates=gates))
    trained(start, clips, tmp_path, 4, replace(
        config, optimiser=replace(config.optimiser, frame_encoder_share=0.0, rate=1e-4)))
    stored = load_file(tmp_path / CHECKPOINT)  # the last weights, be they the best or not
    changed = different(start, {name: torch.from_numpy(stored[f'network.{name}'])
                                for name in start})
    unused = {'none': ('level1', 'level4'), 'encoder': (), 'foundation': (
        'level4' if gates == 'level1' else 'level1',)}[memory]
    assert changed
    assert not any(f'gates.{gate}' in name for name in changed for gate in unused)


# It repeats itself


def test_the_same_seed_gives_the_same_weights(start: State, clips: list[Clip],
                                              tmp_path: Path) -> None:
    first, second = (trained(start, clips, tmp_path / name, 4) for name in 'ab')
    assert different(first, second) == set()
    other = trained(start, clips, tmp_path / 'c', 4, replace(CONFIG, seed=1))
    assert different(first, other)


def test_a_slower_machine_gives_the_same_weights(start: State, clips: list[Clip], tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget is in steps.

    Validations, which choose the best weights, must not depend on the clock either.
    """
    original = Validation.measure

    def getting_worse(self: Validation, network: FastNetwork, *check: Callable[[], None]
                      ) -> dict[str, float]:
        """The farther from the start the worse: the last weights are never the best."""
        moved = sum(float((value - start[name]).abs().sum())
                    for name, value in network.state_dict().items() if name.startswith('unit.'))
        return original(self, network) | {'ratio_warped': moved}
    monkeypatch.setattr(Validation, 'measure', getting_worse)
    config = replace(with_optimiser(frame_encoder_share=0.0), validation_minutes=5.0)
    results = []
    for minutes in (0.0, 6.0):
        clock = itertools.count(0, 60 * minutes)
        monkeypatch.setattr(loop.time, 'monotonic', partial(next, clock))
        results.append(trained(start, clips, tmp_path / f'{minutes}', 6, config))
    assert different(*results) == set()


def without_curves(start: State, clips: list[Clip], out: Path, steps: int,
                   config: TrainConfig = CONFIG) -> State:
    """Train for what several tests compare with; each step is logged, and no curve drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, 'LOG_EVERY', 1)
        patch.setattr(curves, 'plot', lambda directory: None)
        return trained(start, clips, out, steps, config)


class Killed(Exception):
    """Stands for the machine going away."""


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Trainer.step

    def dies(self: Trainer, *arguments: object) -> dict[str, float]:
        if self.progress.step == step:
            raise Killed
        return original(self, *arguments)
    monkeypatch.setattr(Trainer, 'step', dies)


SAVED = replace(CONFIG, validation_minutes=ALWAYS, checkpoint_minutes=ALWAYS)


@pytest.fixture(scope='module')
def saved_run(start: State, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory
              ) -> tuple[State, Path]:
    """A run with a checkpoint after each step."""
    out = tmp_path_factory.mktemp('saved')
    return without_curves(start, clips, out, 8, SAVED), out


@pytest.mark.proves('training-killed')
@pytest.mark.parametrize('killed_at', [1, 3, 4, 6], ids=['frame_encoder', 'last of frame encoder',
                                                         'first clip', 'clips'])
def test_an_interrupted_run_ends_as_if_it_had_not_been(
        saved_run: tuple[State, Path], start: State, clips: list[Clip], tmp_path: Path,
        killed_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, 'LOG_EVERY', 1)
    whole, out = saved_run
    with monkeypatch.context() as patch:
        kill_at(killed_at, patch)
        with pytest.raises(Killed):
            prepared(start, clips, tmp_path, 8, SAVED)[1].run()
    network, training = prepared(start, clips, tmp_path, 8, SAVED)
    training.resume()
    assert training.progress.step == killed_at
    training.run()
    assert different(whole, network.state_dict()) == set()
    folders = (out, tmp_path)
    ends = [load_file(folder / CHECKPOINT) for folder in folders]
    assert ends[0].keys() == ends[1].keys()
    for name, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][name], err_msg=name)
    # The log is as if nothing had happened, but for the time.
    logs = [[{name: value for name, value in row.items() if name != 'minutes'}
             for row in rows(folder / 'train.csv')] for folder in folders]
    np.testing.assert_equal(*logs)
    assert [row['step'] for row in rows(tmp_path / 'train.csv')] == list(range(8))


WHOLE_STEPS = 4
"""Two of each phase, with a validation after each."""


@pytest.fixture(scope='module')
def whole_run(start: State, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory
              ) -> tuple[State, Path]:
    out = tmp_path_factory.mktemp('whole')
    return without_curves(start, clips, out, WHOLE_STEPS), out


def signal_at(call: int, owner: type, name: str, number: signal.Signals,
              monkeypatch: pytest.MonkeyPatch) -> None:
    """Signal this process at the start of the given call, counted from 0."""
    original, calls = getattr(owner, name), itertools.count()

    def signalled(*arguments: object) -> object:
        if next(calls) == call:
            os.kill(os.getpid(), number)
        return original(*arguments)
    monkeypatch.setattr(owner, name, signalled)


@pytest.mark.proves('training-interrupted')
@pytest.mark.parametrize(('owner', 'name', 'call', 'number'), [
    (Trainer, 'step', 0, signal.SIGINT), (Trainer, 'step', 1, signal.SIGTERM),
    (Trainer, 'step', 2, signal.SIGHUP), (Trainer, 'step', 3, signal.SIGINT),
    (Validation, 'measure', 0, signal.SIGINT), (Validation, 'measure', 1, signal.SIGTERM),
    (Validation, 'measure', 3, signal.SIGINT), (Validation, 'measure', 6, signal.SIGINT),
    (Validation, 'measure', 7, signal.SIGINT)])
def test_ctrl_c_leaves_a_checkpoint_and_the_end_is_the_same(
        whole_run: tuple[State, Path], start: State, clips: list[Clip], tmp_path: Path,
        owner: type, name: str, call: int, number: signal.Signals,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any other checkpoint; validations are at every step, at phases and at both ends."""
    monkeypatch.setattr(loop, 'LOG_EVERY', 1)
    handlers = [signal.getsignal(each) for each in SIGNALS]
    whole, out = whole_run
    parts = tmp_path / 'parts'
    with monkeypatch.context() as patch:
        signal_at(call, owner, name, number, patch)
        with pytest.raises(KeyboardInterrupt):
            prepared(start, clips, parts, WHOLE_STEPS)[1].run()
    assert [signal.getsignal(each) for each in SIGNALS] == handlers
    assert not list(parts.glob('*.tmp')) and (parts / CHECKPOINT).is_file()
    network, training = prepared(start, clips, parts, WHOLE_STEPS)
    training.resume()
    training.run()
    assert different(whole, network.state_dict()) == set()
    folders = (out, parts)
    ends = [load_file(folder / CHECKPOINT) for folder in folders]
    for tensor, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][tensor], err_msg=tensor)
    for log in ('train.csv', 'validation.csv'):
        steps = [[row['step'] for row in rows(folder / log)] for folder in folders]
        assert set(steps[0]) >= set(steps[1]) and (log, steps[0]) == (log, sorted(steps[0]))
    assert [row['step'] for row in rows(parts / 'train.csv')] == list(range(WHOLE_STEPS))


def test_a_finished_run_resumed_does_nothing_more(start: State, clips: list[Clip],
                                                  tmp_path: Path) -> None:
    first = trained(start, clips, tmp_path, 4)
    network, training = prepared(start, clips, tmp_path, 4)
    training.resume()
    training.run()
    assert training.progress.step == 4
    assert different(first, network.state_dict()) == set()


def test_another_configuration_is_not_resumed(start: State, clips: list[Clip],
                                              tmp_path: Path) -> None:
    trained(start, clips, tmp_path, 1)
    _, training = prepared(start, clips, tmp_path, 2, with_optimiser(rate=1e-3))
    with pytest.raises(TrainingError, match='another configuration'):
        training.resume()


@pytest.mark.parametrize('damage', [
    lambda path: path.write_bytes(path.read_bytes()[:-100]), lambda path: path.write_bytes(b''),
    lambda path: path.write_bytes(b'\xff' * 1000), lambda path: path.unlink(),
    lambda path: save_file({'network.x': np.zeros(1)}, path),
    lambda path: save_file({'network.x': np.zeros(1)}, path, {'state': '{}'}),
    lambda path: save_file({}, path, {'state': '{'})],
    ids=['truncated', 'empty', 'other bytes', 'absent', 'no state', 'other tensors', 'half state'])
def test_a_checkpoint_that_cannot_be_used_is_named_in_a_line(
        start: State, clips: list[Clip], tmp_path: Path,
        damage: Callable[[Path], object]) -> None:
    trained(start, clips, tmp_path, 1)
    damage(tmp_path / CHECKPOINT)
    _, training = prepared(start, clips, tmp_path, 2)
    with pytest.raises(WeightsError) as caught:
        training.resume()
    message = str(caught.value)
    assert CHECKPOINT in message and 'without --resume' in message
    assert '\n' not in message and len(message) < 500


# Bad steps


@pytest.fixture
def bad_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """A set of steps whose clips hold a NaN; all of them while it is empty."""
    steps: set[int] = set()
    original = Sampler.windows

    def windows(self: Sampler, step: int, count: int) -> Batch:
        batch = original(self, step, count)
        if not steps or step in steps:
            batch.depth[0, -1, 0, 3, 5] = math.nan
        return batch
    monkeypatch.setattr(Sampler, 'windows', windows)
    yield steps


ALL_FRAMES = replace(CONFIG, unroll=replace(CONFIG.unroll, decoded_frames=3),
                     optimiser=replace(CONFIG.optimiser, frame_encoder_share=0.0))


def test_a_bad_step_changes_nothing_and_is_reported(start: State, clips: list[Clip],
                                                    tmp_path: Path, bad_steps: set[int],
                                                    caplog: pytest.LogCaptureFixture) -> None:
    _, training = prepared(start, clips, tmp_path, 3, ALL_FRAMES)
    training.run()
    assert training.progress.step == 3
    assert sum('left out' in message for message in caplog.messages) == 3
    stored = load_file(tmp_path / CHECKPOINT)
    for name, value in start.items():
        np.testing.assert_array_equal(stored[f'network.{name}'], value.numpy())


def test_training_goes_on_after_a_bad_step(start: State, clips: list[Clip], tmp_path: Path,
                                           bad_steps: set[int]) -> None:
    bad_steps.add(1)
    state = trained(start, clips, tmp_path, 4, replace(
        ALL_FRAMES, validation_minutes=ALWAYS))
    stored = load_file(tmp_path / CHECKPOINT)
    assert all(np.isfinite(stored[f'network.{name}']).all() for name in state)
    assert not np.array_equal(stored['network.unit.gates.level1.score.weight'],
                              start['unit.gates.level1.score.weight'].numpy())


def test_nothing_but_bad_steps_ends_the_run(start: State, clips: list[Clip], tmp_path: Path,
                                            bad_steps: set[int],
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, 'MAX_BAD_STEPS', 2)
    with pytest.raises(TrainingError, match='3 steps in a row'):
        trained(start, clips, tmp_path, 10, ALL_FRAMES)


# What is held out


def test_held_out_clips_are_never_trained_on(start: State, clips: list[Clip], tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    _, training = prepared(start, clips, tmp_path, 8)
    read: set[str] = set()
    original = Clip.pictures

    def recorded(self: Clip, indices: Sequence[int]) -> list[np.ndarray]:
        read.add(self.name)
        return original(self, indices)
    monkeypatch.setattr(Clip, 'pictures', recorded)
    training.run()
    assert read == {clip.name for clip in clips if not clip.validation}


def test_spread_is_of_the_training_clips(start: State, clips: list[Clip], tmp_path: Path) -> None:
    trained(start, clips, tmp_path, 0)
    spread = load_file(tmp_path / CHECKPOINT)['extra.spread']
    for level in range(4):
        maps = [clip.targets([CLIP_FRAMES // 2])[f'm{level + 1}'][0].double().numpy()
                for clip in clips if not clip.validation]
        variance = [((m - m.mean((1, 2), keepdims=True))**2).mean() for m in maps]
        assert spread[level] == pytest.approx(np.sqrt(np.mean(variance)), rel=1e-4)


def test_nothing_held_out_or_nothing_else_is_a_plain_error(start: State, clips: list[Clip],
                                                           tmp_path: Path) -> None:
    with pytest.raises(AsyncMDEError, match='held-out'):
        prepared(start, [clip for clip in clips if not clip.validation], tmp_path, 1)
    with pytest.raises(AsyncMDEError, match='train on'):
        prepared(start, [clip for clip in clips if clip.validation], tmp_path, 1)[1].run()


@pytest.fixture
def held_out(clips: list[Clip]) -> list[Clip]:
    return [clip for clip in clips if clip.validation]


@torch.inference_mode()
def test_a_network_that_keeps_the_memory_scores_as_the_warped_hold(start: State,
                                                                   held_out: list[Clip]
                                                                   ) -> None:
    network = fresh(start).eval()
    for gate in (network.unit.gates.level1, network.unit.gates.level4):
        torch.nn.init.zeros_(gate.score.weight)
        torch.nn.init.constant_(gate.score.bias, 1e4)
    unmoved = replace(CONFIG, unroll=replace(CONFIG.unroll, motion=MotionCompensation.OFF))
    scores = Validation(held_out, unmoved, CPU).measure(network)
    assert scores['error_warped'] == pytest.approx(scores['error_held'], rel=1e-3)
    assert scores['error_held'] > 0.05
    assert scores['ratio_held'] == pytest.approx(1, abs=0.01)
    assert scores['ratio_warped'] == pytest.approx(1, abs=0.01)
    assert scores['trust'] == 1
    alone = Validation(held_out, replace(unmoved, model=ModelChoice(memory='none')), CPU)
    scores = alone.measure(network)
    assert scores['error'] == pytest.approx(scores['error_alone'], rel=1e-5)
    assert scores['trust'] == 0


@torch.inference_mode()
def test_a_clip_that_stands_still_does_not_outweigh_the_others(
        start: State, held_out: list[Clip], tmp_path: Path) -> None:
    """Its baselines are perfect: a ratio to them says nothing about the network."""
    still = make_clip(tmp_path / 'still', start, 7, validation=True, still=True)
    network = fresh(start).eval()
    alone = Validation(held_out, CONFIG, CPU).measure(network)
    both = Validation([*held_out, still], CONFIG, CPU).measure(network)
    for name in ('ratio_warped', 'ratio_held'):
        assert both[name] < 10 * max(1, alone[name])


def test_windows_are_chosen_from_every_kind(start: State, tmp_path: Path) -> None:
    held_out = [make_clip(tmp_path / f'{kind}_{index}', start, index, True, kind=kind)
                for kind, count in (('video', 25), ('virtual', 2), ('rendered', 1))
                for index in range(count)]
    seen: list[str] = []
    original = Clip.targets
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clip, 'targets', lambda self, *arguments: (
            seen.append(self.kind), original(self, *arguments))[1])
        Validation(held_out, CONFIG, CPU)
    assert len(seen) == 20
    assert seen.count('virtual') == 2 and seen.count('rendered') == 1


# The best, and the end


def test_the_best_weights_by_validation_are_handed_back(
        start: State, clips: list[Clip], held_out: list[Clip], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The scores are given: which of eight steps is the best is no matter of their rounding.

    Each phase has a score of its own, by which the other phase would have chosen differently.
    """
    frame_encoder = [(0.5, 0.1), (0.3, 0.1), (0.4, 0.1), (0.4, 0.1)]  # steps 0 to 3
    gates = [(0.2, 0.9), (0.1, 0.8), (0.1, 0.7), (0.05, 0.75), (0.05, 0.8), (0.05, 0.85),
             (0.05, 0.85)]  # steps 3 to 8, and the end
    given, seen = iter(frame_encoder + gates), []
    original = Validation.measure

    def scored(self: Validation, network: FastNetwork, *check: Callable[[], None]
               ) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        values = original(self, network)
        return values | dict(zip(('error_corrected', 'ratio_warped'), next(given, ()),
                                 strict=False))
    config = with_optimiser(frame_encoder_share=0.3)
    network, training = prepared(start, clips, tmp_path, 8, config)
    monkeypatch.setattr(Validation, 'measure', scored)
    scores = training.run()  # none is given for what is handed back: that one is measured
    validated = rows(tmp_path / 'validation.csv')
    assert [row['step'] for row in validated] == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 8]
    assert [(row['error_corrected'], row['ratio_warped']) for row in validated] == [
        *frame_encoder, *gates]
    best = seen[len(frame_encoder) + 2]
    assert different(best, network.state_dict()) == set()
    assert different(best, seen[-2]) and different(best, start), 'nothing was learned'
    # The gates begin from the best of the phase before, which is not its last either.
    learned = {name for name in start if name.startswith('frame_encoder.')}
    begun = different(seen[len(frame_encoder)], seen[1])
    assert not begun & learned and different(seen[len(frame_encoder)], seen[3]) & learned
    assert scores == pytest.approx(
        original(Validation(held_out, config, CPU), network.eval()), rel=1e-4)


def test_minutes_are_kept_and_everything_is_left(start: State, clips: list[Clip], tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, 'plot', draw_curves)
    monkeypatch.setattr(loop, 'LOG_EVERY', 1)
    draw_curves(tmp_path)  # matplotlib's own start
    training = Trainer(fresh(start), clips, CONFIG, Budget(minutes=BUDGET_S / 60), tmp_path, CPU,
                       True)
    ticks = itertools.count()
    monkeypatch.setattr(loop.time, 'monotonic', lambda: TICK_S * next(ticks))
    training.run()
    assert BUDGET_S <= 60 * training.progress.minutes < BUDGET_S + OVERRUN_S
    assert 60 * training.progress.minutes == pytest.approx(TICK_S * (next(ticks) - 1))
    assert {path.name for path in tmp_path.iterdir()} == {
        CHECKPOINT, 'train.csv', 'validation.csv', 'curves.png'}
    logged = rows(tmp_path / 'train.csv')
    assert training.progress.step == len(logged) > 0
    validated = [row['step'] for row in rows(tmp_path / 'validation.csv')]
    on_stills = sum(math.isnan(row['trust']) for row in logged)
    assert validated == [0, on_stills, len(logged)], 'start, start of the clips, end'


def test_no_budget_still_leaves_everything(start: State, clips: list[Clip],
                                           tmp_path: Path) -> None:
    for name, budget in (('steps', Budget(steps=0)), ('minutes', Budget(minutes=0.0))):
        network = fresh(start)
        scores = Trainer(network, clips, CONFIG, budget, tmp_path / name, CPU, True).run()
        assert math.isfinite(scores['error'])
        assert different(start, network.state_dict()) == set()
        assert (tmp_path / name / CHECKPOINT).is_file()
