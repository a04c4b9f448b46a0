"""``asyncmde train`` from a folder of footage to weights that the node loads."""

import pytest

pytest.importorskip('av', reason='left out: needs av')
pytest.importorskip('torch', reason='left out: needs torch')

import contextlib
import io
import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.numpy import load_file

from asyncmde_ros import weights
from asyncmde_ros.cli.main import main
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.engine.torch import NEVER_READ
from asyncmde_ros.lab.evaluation.predict import footage, spatial_memory
from asyncmde_ros.lab.media.video import VideoWriter
from asyncmde_ros.lab.training import run
from asyncmde_ros.lab.training.config import from_tables, load
from asyncmde_ros.lab.training.loop import CHECKPOINT
from asyncmde_ros.lab.training.rendered import rendered_clip
from asyncmde_ros.lab.training.sources import is_validation
from asyncmde_ros.model.config import VITS
from asyncmde_ros.network.graphs import FastNetwork
from asyncmde_ros.pipeline.settings import Settings
from asyncmde_ros.resources import share_directory
from asyncmde_ros.weights.adapter import LORA_A, LORA_B

QUICK = share_directory() / 'config' / 'training' / 'quick.toml'
STUDENT = share_directory() / 'config' / 'training' / 'student.toml'
WEIGHTS = 'asyncmde_vits.safetensors'
ADAPTER = 'glance_vits.safetensors'
STEPS = 4
VIDEO_FRAMES = 12
OURS = ('frame_encoder.projector.context.', 'unit.correction.')

EXPORT_TOLERANCE = 1e-4
"""Relative to the largest depth: two libraries' float32 sums in another order."""


@pytest.fixture(scope='module', autouse=True)
def _one_core() -> Iterator[None]:
    """Several cores add up in any order, and no two runs would be alike to the last bit."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('OMP_NUM_THREADS', '1')
        yield
    torch.set_num_threads(before)


def named(stem: str, suffix: str, validation: bool, share: float) -> str:
    """Return a file name on the side of the split that is asked for."""
    return next(name for index in itertools.count()
                if is_validation(name := f'{stem}_{index}{suffix}', share) == validation)


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two photos and two short videos, one of each held out."""
    folder = tmp_path_factory.mktemp('footage')
    share = load(QUICK).data.validation_share
    for seed, validation in enumerate((False, True)):
        # Scenes with depth: what looks flat is left out.
        shown = rendered_clip(VIDEO_FRAMES, (144, 192), np.random.default_rng(seed)).images
        photo = folder / named('photo', '.png', validation, share)
        assert cv2.imwrite(str(photo), cv2.cvtColor(shown[0], cv2.COLOR_RGB2BGR))
        with VideoWriter(folder / named('video', '.mp4', validation, share), 20) as writer:
            for frame in shown:
                writer.write(frame)
    (folder / 'videos.csv').write_text(
        f'file,license\n{named("video", ".mp4", False, share)},CC BY 4.0\n')
    return folder


@dataclass(frozen=True)
class Done:
    """A finished run."""

    code: int
    printed: str
    out: Path
    cache: Path

    def tensors(self) -> dict[str, np.ndarray]:
        return load_file(self.out / WEIGHTS)


def train(*arguments: object) -> tuple[int, str]:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = main(['train', *map(str, arguments)])
    return code, printed.getvalue()


@pytest.fixture(scope='module')
def done(foundation_path: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    out, cache = tmp_path_factory.mktemp('run') / 'out', tmp_path_factory.mktemp('cache') / 'clips'
    code, printed = train('--config', QUICK, '--data', data, '--steps', STEPS, '--out', out,
                          '--cache', cache, '--device', 'cpu')
    return Done(code, printed, out, cache)


def again(done: Done, data: Path, out: Path, *arguments: object,
          config: Path = QUICK) -> Done:
    """Train once more on the same cached clips."""
    code, printed = train('--config', config, '--data', data, '--out', out, '--cache', done.cache,
                          '--device', 'cpu', *arguments)
    return Done(code, printed, out, done.cache)


def assert_equal(ours: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


@pytest.fixture
def no_export_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """One run of it, at three sizes, is enough."""
    monkeypatch.setattr(run, 'export_difference', lambda *arguments: {})


@pytest.mark.slow
def test_a_run_says_what_it_did_and_leaves_everything(done: Done) -> None:
    assert done.code == 0
    assert str(done.out / WEIGHTS) in done.printed and f'{STEPS} steps' in done.printed
    assert {path.name for path in done.out.iterdir()} == {
        WEIGHTS, CHECKPOINT, run.REPORT, 'train.csv', 'validation.csv', 'curves.png'}


@pytest.mark.slow
def test_the_report_tells_data_settings_and_scores(done: Done, data: Path) -> None:
    report = json.loads((done.out / run.REPORT).read_text())
    assert from_tables(report['config']) == load(QUICK)
    assert report['weights'] == WEIGHTS and report['steps'] == STEPS
    assert report['minutes'] >= 0 and report['device'] == 'cpu'
    assert {'ratio_warped', 'ratio_held', 'worst_ratio_warped', 'error', 'error_alone',
            'error_warped', 'error_held', 'trust'} <= report['validation'].keys()
    assert all(np.isfinite(score) for score in report['validation'].values())
    clips = report['data']['clips']
    for side in ('training', 'validation'):
        assert (clips[side]['video'], clips[side]['video_frames']) == (1, VIDEO_FRAMES)
    assert report['data']['licences'] == {'unknown': 3, 'CC BY 4.0': 1}
    # A virtual or rendered clip whose depth looks like none may be left out, and is told.
    kept = sum(clips[side].get(kind, 0) for side in clips for kind in ('virtual', 'rendered'))
    assert 4 - len(report['data']['dropped']) <= kept <= 4
    assert report['machine']


@pytest.mark.slow
def test_the_shipped_graph_computes_what_was_trained(done: Done) -> None:
    differences = json.loads((done.out / run.REPORT).read_text())['export_difference']
    assert len(differences) == len(run.CHECKED_SIZES)
    assert max(differences.values()) < EXPORT_TOLERANCE


@pytest.mark.slow
def test_the_weights_are_the_best_of_the_checkpoint(done: Done) -> None:
    """In particular whatever order of axes training had them in."""
    best = {name.removeprefix('best.'): value.astype(np.float16)
            for name, value in load_file(done.out / CHECKPOINT).items()
            if name.startswith('best.') and not any(part in name for part in NEVER_READ)}
    assert_equal(done.tensors(), best)


@pytest.mark.slow
def test_the_pipeline_runs_the_weights(done: Done, foundation_path: Path) -> None:
    engines = Model('vits', threads=Threads(1, 1), foundation=foundation_path,
                    fast=done.out / WEIGHTS).compile((112, 154))
    shown = rendered_clip(3, (112, 154), np.random.default_rng(5)).images
    settings = Settings()
    track = footage(shown, settings.motion_compensation)
    for depth, trust in spatial_memory(engines, track, [0, 0, 0], settings):
        assert np.isfinite(depth).all() and depth.std() > 0
        assert 0 <= trust.min() and trust.max() <= 1


@pytest.mark.slow
def test_the_same_run_again_uses_the_cache_and_gives_the_same_weights(
        done: Done, data: Path, tmp_path: Path, no_export_check: None) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.cache.iterdir()}
    second = again(done, data, tmp_path / 'out', '--steps', STEPS)
    assert second.code == 0
    assert {path: path.stat().st_mtime_ns for path in done.cache.iterdir()} == before
    assert_equal(second.tensors(), done.tensors())


@pytest.mark.proves('bad-arguments')
@pytest.mark.slow
def test_a_finished_run_is_not_written_over(done: Done, data: Path, no_export_check: None) -> None:
    before = {path: path.read_bytes() for path in done.out.iterdir()}
    second = again(done, data, done.out, '--steps', STEPS)
    assert second.code == 1
    assert {path: path.read_bytes() for path in done.out.iterdir()} == before


@pytest.mark.slow
def test_a_finished_run_can_be_resumed(done: Done, data: Path, tmp_path: Path,
                                       no_export_check: None) -> None:
    shutil.copytree(done.out, tmp_path / 'out')
    resumed = again(done, data, tmp_path / 'out', '--steps', STEPS, '--resume')
    assert resumed.code == 0
    assert_equal(resumed.tensors(), done.tensors())


@pytest.mark.slow
def test_a_run_can_start_from_another_ones_weights(done: Done, data: Path, tmp_path: Path,
                                                   no_export_check: None) -> None:
    started = again(done, data, tmp_path / 'out', '--minutes', 0, '--start', done.out / WEIGHTS)
    assert started.code == 0
    assert_equal(started.tensors(), done.tensors())


@pytest.mark.slow
def test_the_decoder_leaves_as_the_foundation_models(
        done: Done, foundation_weights: dict[str, np.ndarray]) -> None:
    decoder = {name.removeprefix('decoder.'): value for name, value in done.tensors().items()
               if name.startswith('decoder.')}
    for name, value in decoder.items():
        np.testing.assert_array_equal(value, foundation_weights[f'depth_head.scratch.{name}'],
                                      err_msg=name)
    assert decoder


@pytest.mark.slow
def test_the_papers_network_stays_without_what_is_ours(done: Done, data: Path, tmp_path: Path,
                                                       no_export_check: None) -> None:
    config = tmp_path / 'papers.toml'
    config.write_text(f'base = "{QUICK}"\n[model]\nprojector_context = false\n'
                      'correction = false\n')
    result = again(done, data, tmp_path / 'out', '--steps', 2, config=config)
    ours = {name: value for name, value in result.tensors().items()
            if any(prefix in name for prefix in OURS)}
    assert result.code == 0 and len(ours) == 6 + 4
    assert not any(value.any() for value in ours.values())


def test_a_shipped_graph_of_other_weights_would_be_noticed(
        foundation_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is worth something only if it can fail."""
    torch.manual_seed(0)
    network = FastNetwork(VITS)
    run.save(network, tmp_path / 'own.safetensors')
    original = run.random_step
    calls: list[int] = []

    def disturbed(engine: object) -> np.ndarray:
        calls.append(1)
        return original(engine) * (1 + 0.01 * (len(calls) % 2))
    monkeypatch.setattr(run, 'CHECKED_SIZES', ((56, 84),))
    monkeypatch.setattr(run, 'random_step', disturbed)
    (difference,) = run.export_difference(VITS, network, tmp_path / 'own.safetensors',
                                          None).values()
    assert difference > EXPORT_TOLERANCE


# What is refused, in a line


def refused(capsys: pytest.CaptureFixture[str], arguments: Sequence[object]) -> str:
    assert main(['train', *map(str, arguments)]) == 1
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith('asyncmde: ')]
    assert len(lines) == 1 and 'Traceback' not in error
    assert error.rstrip().endswith(lines[0])
    return lines[0]


@pytest.fixture
def nothing_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(*arguments: object) -> None:
        raise AssertionError('the foundation model was asked before the error was seen')
    monkeypatch.setattr(run, 'prepare', begun)


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--steps', '1', '--data', 'absent'], 'absent is not a folder'),
    (['--steps', '1', '--resume'], 'nothing to resume'),
    (['--steps', '1', '--config', 'absent.toml'], 'absent.toml cannot be read'),
    (['--steps', '1', '--config', 'bad.toml'], 'no setting optimizer'),
    (['--steps', '1', '--out', 'file'], 'cannot write to file'),
    (['--steps', '1', '--cache', 'file'], 'file'),
    (['--steps', '1', '--start', 'absent.safetensors'], 'absent.safetensors'),
    (['--steps', '1', '--encoder', 'file'], 'file'),
    (['--steps', '1', '--device', 'cuda'], 'no CUDA device')])
def test_what_cannot_be_used_is_refused_in_a_line(
        foundation_path: Path, data: Path, tmp_path: Path, arguments: list[str], words: str,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        nothing_slow: None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    Path('file').write_text('not a folder')
    Path('bad.toml').write_text('[optimizer]\nrate = 1.0\n')
    Path('nan.toml').write_text('[optimiser]\nrate = nan\n')
    # Of an option that is given twice, the last one counts.
    line = refused(capsys, ['--config', QUICK, '--data', data, '--out', 'out', '--cache', 'cache',
                            *arguments])
    assert words in line


@pytest.mark.slow
def test_another_configuration_is_not_resumed(done: Done, data: Path, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(done.out, tmp_path / 'out')
    config = tmp_path / 'other.toml'
    config.write_text(f'base = "{QUICK}"\n[optimiser]\nrate = 1e-4\n')
    before = (tmp_path / 'out' / WEIGHTS).read_bytes()
    line = refused(capsys, ['--config', config, '--data', data, '--out', tmp_path / 'out',
                            '--cache', done.cache, '--steps', 8, '--resume', '--device', 'cpu'])
    assert 'another configuration' in line
    assert (tmp_path / 'out' / WEIGHTS).read_bytes() == before


@pytest.mark.parametrize('budget', [[], ['--minutes', '1', '--steps', '1']])
def test_there_is_one_budget(tmp_path: Path, budget: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(['train', '--data', str(tmp_path), '--out', str(tmp_path / 'out'), *budget])
    assert caught.value.code == 2


def test_the_shipped_encoder_is_complete(fast_weights: dict[str, np.ndarray]) -> None:
    """What a run without --encoder begins with."""
    own = {name for name in FastNetwork(VITS).state_dict() if name.startswith(run.ENCODER_PREFIX)
           and not any(part in name for part in NEVER_READ)}
    assert own <= fast_weights.keys()
    assert weights.registry.model('vits').fast is not None


# The student


@pytest.fixture
def student_config(tmp_path: Path) -> Path:
    config = tmp_path / 'small_student.toml'
    config.write_text(f'base = "{STUDENT}"\n'
                      '[data]\nsizes = { "56x84" = 1.0 }\nvideo_every = 4\nrendered_clips = 4\n'
                      'validation_share = 0.4\n[data.quality]\nvalid = 0\ndistribution = 0\n'
                      'continuity = 0\n[student]\nwarmup_steps = 1\nbatch = 2\nrank = 4\n')
    return config


@pytest.mark.slow
def test_a_student_leaves_an_adapter_that_another_can_start_from(
        data: Path, tmp_path: Path, student_config: Path,
        foundation_weights: dict[str, np.ndarray]) -> None:
    common = ('--config', student_config, '--data', data, '--cache', tmp_path / 'cache',
              '--device', 'cpu')
    code, printed = train(*common, '--steps', 2, '--out', tmp_path / 'first')
    assert code == 0 and 'held-out pictures' in printed and 'video 0' in printed
    first = load_file(tmp_path / 'first' / ADAPTER)
    merged = weights.adapter.apply(foundation_weights, first)
    assert all(np.isfinite(value).all() for value in merged.values())
    assert {name.removesuffix(LORA_A).removesuffix(LORA_B) for name in first} == (
        set(foundation_weights) - {'pretrained.pos_embed', 'pretrained.cls_token'})
    assert first['pretrained.blocks.3.mlp.fc1.weight.lora_a'].shape == (4, VITS.embed_dim)
    report = json.loads((tmp_path / 'first' / 'training.json').read_text())
    assert report['weights'] == ADAPTER and report['steps'] == 2
    assert from_tables(report['config']) == load(student_config)
    assert report['data']['licences'] == {'unknown': 3, 'CC BY 4.0': 1}

    code, _ = train(*common, '--steps', 0, '--out', tmp_path / 'second',
                    '--start', tmp_path / 'first' / ADAPTER)
    second = weights.adapter.apply(foundation_weights, load_file(tmp_path / 'second' / ADAPTER))
    assert code == 0
    for name, value in merged.items():
        # Two roundings to float16 of factors that are a thousandth of the weights.
        np.testing.assert_allclose(second[name], value, rtol=2e-3, atol=1e-5, err_msg=name)


def test_a_student_takes_no_encoder(data: Path, tmp_path: Path, student_config: Path,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = train('--config', student_config, '--data', data, '--cache', tmp_path / 'cache',
                    '--steps', 1, '--out', tmp_path / 'out', '--encoder', tmp_path / 'any')
    assert code == 1
    assert 'a student has none' in capsys.readouterr().err
