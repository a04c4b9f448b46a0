"""``asyncmde events train``: what it asks for, what it says."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asyncmde_ros.cli.main import EXIT_INTERRUPTED, main
from asyncmde_ros.events.training import adapter, run
from asyncmde_ros.events.training.adapter_config import AdapterTrainConfig
from asyncmde_ros.events.training.config import EventTrainConfig
from asyncmde_ros.lab.training.run import TrainingRequest

COMMAND = ['events', 'train', '--data', 'footage', '--out', 'out', '--cache', 'kept']
ROW = {'kind': 'rendered', 'method': 'queries', 'windows': 40, 'error': 0.512, 'absrel': 0.25,
       'rmse_m': None}


def test_what_is_asked_for_reaches_the_run(monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[EventTrainConfig, TrainingRequest]] = []

    def train(config: EventTrainConfig, request: TrainingRequest,
              arguments: Sequence[str]) -> dict[str, Any]:
        seen.append((config, request))
        return {'weights': run.WEIGHTS, 'steps': 7, 'minutes': 1.5, 'comparison': [ROW]}
    monkeypatch.setattr(run, 'train_events', train)
    assert main([*COMMAND, '--minutes', '30', '--size', '280x336', '--queries', '64', '--batch',
                 '3', '--seed', '5', '--network', 'published', '--device', 'cpu',
                 '--resume']) == 0
    (config, request), = seen
    assert (config.seed, config.events.queries, config.events.batch) == (5, 64, 3)
    assert (config.network.dim, config.sizes()) == (192, [((280, 336), 1.0)])
    assert (request.budget.minutes, request.budget.steps, request.resume) == (30, None, True)
    assert (request.data, request.out, request.cache) == tuple(
        Path(name) for name in ('footage', 'out', 'kept'))
    out = capsys.readouterr().out
    assert 'eventspd.safetensors: 7 steps in 1.5 minutes' in out
    assert out.splitlines()[3].split() == ['rendered', 'queries', '40', '0.512', '0.250', '-']


def test_an_adapter_is_asked_for_by_the_network_that_it_adapts(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[AdapterTrainConfig, TrainingRequest]] = []

    def train(config: AdapterTrainConfig, request: TrainingRequest,
              arguments: Sequence[str]) -> dict[str, Any]:
        seen.append((config, request))
        return {'weights': adapter.ADAPTER, 'steps': 7, 'minutes': 1.5,
                'validation': {'error': 0.3, 'error_video': 0.25, 'error_rendered': 0.35}}
    monkeypatch.setattr(adapter, 'train_adapter', train)
    assert main([*COMMAND, '--steps', '9', '--network', 'foundation', '--size', '140x182',
                 '--batch', '3', '--start', 'before.safetensors', '--device', 'cpu']) == 0
    (config, request), = seen
    assert (config.adapter.batch, config.sizes()) == (3, [((140, 182), 1.0)])
    assert (request.budget.steps, request.start) == (9, Path('before.safetensors'))
    out = capsys.readouterr().out
    assert 'events_vits.safetensors: 7 steps' in out
    assert '0.300 (video 0.250, rendered 0.350)' in out


@pytest.mark.parametrize(('network', 'option', 'words'), [
    ('foundation', ('--queries', '5'), 'EventSPD is asked queries'),
    ('small', ('--start', 'a.safetensors'), 'EventSPD begins from nothing')])
def test_options_of_the_other_network_are_refused(network: str, option: tuple[str, str],
                                                  words: str, capsys: pytest.CaptureFixture[str]
                                                  ) -> None:
    assert main([*COMMAND, '--steps', '1', '--network', network, *option]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(('held', 'words'), [
    (True, 'has what was learned: the same command with --resume goes on'),
    (False, 'what was prepared is kept: the same command goes on')])
def test_an_interrupted_run_says_how_to_go_on(
        held: bool, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    def train(*_: object) -> dict[str, Any]:
        if held:
            (tmp_path / 'checkpoint.safetensors').write_bytes(b'')
        raise KeyboardInterrupt
    monkeypatch.setattr(run, 'train_events', train)
    assert main(['events', 'train', '--data', 'd', '--out', str(tmp_path), '--steps', '3',
                 '--device', 'cpu']) == EXIT_INTERRUPTED
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(('extra', 'words'), [
    (['--steps', '1', '--size', '196x252'], 'multiples of 56'),
    (['--steps', '1'], 'footage is not a folder')])
def test_what_cannot_be_used_is_told_in_one_line(extra: list[str], words: str,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, '--device', 'cpu', *extra]) == 1
    assert words in capsys.readouterr().err
