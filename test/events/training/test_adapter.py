"""Adapting the foundation model to pictures of events: a whole run, and what it leaves."""

import pytest

pytest.importorskip('av', reason='left out: needs av')
pytest.importorskip('torch', reason='left out: needs torch')

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from asyncmde_ros import weights
from asyncmde_ros.cli import events_train
from asyncmde_ros.cli.main import main
from asyncmde_ros.engine.interface import Graph, Precision
from asyncmde_ros.engine.loader import Model
from asyncmde_ros.events.depth import as_rgb
from asyncmde_ros.events.foundation import UNADAPTED, adapter
from asyncmde_ros.events.reconstruction import Reconstruction
from asyncmde_ros.events.simulator import Simulator, StampedGrey, simulated
from asyncmde_ros.events.training import adapter_config
from asyncmde_ros.events.training.adapter import ADAPTER
from asyncmde_ros.events.training.adapter_config import AdapterTrainConfig
from asyncmde_ros.events.training.clips import FRAME_NS
from asyncmde_ros.events.window import Window
from asyncmde_ros.lab.evaluation.predict import Foundation
from asyncmde_ros.lab.training.config import DataConfig, StudentConfig
from asyncmde_ros.lab.training.losses import aligned_error
from asyncmde_ros.lab.training.quality import Thresholds
from asyncmde_ros.lab.training.rendered import rendered_clip
from asyncmde_ros.lab.training.run import REPORT

STEPS = 2
WORTH_IT = 0.85
"""Share of the error as it is; 0.72 was measured."""

KEY = 'pretrained.blocks.3.attn.qkv.weight'


@pytest.fixture(scope='module')
def trained(foundation_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on rendered clips alone; return the run's folder."""
    folder = tmp_path_factory.mktemp('adapter')
    (folder / 'footage').mkdir()

    small = AdapterTrainConfig(
        data=DataConfig(sizes={'56x70': 1.0}, rendered_clips=6, rendered_frames=5,
                        virtual_clips=0, photo_views=0, quality=Thresholds(0, 0, 0),
                        validation_share=0.5),
        student=StudentConfig(shrink=1, rank=2, batch=2, warmup_steps=1,
                              shares={'rendered': 1.0}),
        pictures=adapter_config.PictureConfig(clips={'rendered': 6}, every=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter_config, 'AdapterTrainConfig', lambda seed: small)
        assert main(['events', 'train', '--network', events_train.FOUNDATION, '--data',
                     str(folder / 'footage'), '--out', str(folder / 'run'), '--cache',
                     str(folder / 'kept'), '--steps', str(STEPS), '--device', 'cpu']) == 0
    return folder / 'run'


@pytest.mark.slow
def test_a_run_leaves_an_adapter_and_says_how_good_it_is(trained: Path) -> None:
    report = json.loads((trained / REPORT).read_text())
    assert (report['weights'], report['steps']) == (ADAPTER, STEPS)
    assert 0 < report['validation']['error_rendered'] < 3
    clips = report['data']['clips']
    assert sum(side['rendered'] for side in clips.values()) + sum(
        report['data']['dropped'].values()) == 6


@pytest.mark.slow
def test_what_was_learned_fits_the_foundation_model(
        trained: Path, foundation_weights: dict[str, np.ndarray]) -> None:
    learned = load_file(trained / ADAPTER)
    assert f'{KEY}.lora_a' in learned
    adapted = weights.adapter.apply(foundation_weights, learned)
    assert {name: value.shape for name, value in adapted.items()} == {
        name: value.shape for name, value in foundation_weights.items()}


def test_the_adapted_model_is_another_and_glances_are_its_too(
        tmp_path: Path, foundation_path: Path,
        foundation_weights: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    rows, cols = foundation_weights[KEY].shape
    change = {f'{KEY}.lora_a': rng.normal(0, 0.1, (2, cols)).astype(np.float16),
              f'{KEY}.lora_b': rng.normal(0, 0.1, (rows, 2)).astype(np.float16)}
    save_file(change, tmp_path / 'change.safetensors')
    expected = weights.adapter.apply(foundation_weights, change)
    plain, adapted = (Model('vits', 'openvino', Precision.FP32, foundation=foundation_path,
                            adapter=found) for found in (None, tmp_path / 'change.safetensors'))

    def weight(model: Model, graph: Graph) -> np.ndarray:
        return model.specification(graph, (28, 42)).weights[f'foundation.{KEY}']
    for graph in (Graph.FOUNDATION, Graph.GLANCE):
        np.testing.assert_array_equal(weight(adapted, graph), expected[KEY])
        assert not np.array_equal(weight(plain, graph), expected[KEY])
        assert adapted.digest(graph) != plain.digest(graph)
    assert not np.array_equal(weight(plain, Graph.GLANCE), weight(plain, Graph.FOUNDATION))


@pytest.mark.slow
def test_the_shipped_adapter_sees_events_better(tmp_path: Path, foundation_path: Path) -> None:
    """On rendered rooms that it has not seen, and a sensor with the default pixels."""
    size, frames = (140, 182), 9
    errors: dict[bool, list[float]] = {False: [], True: []}
    networks = {adapted: Foundation(Model(
        'vits', 'openvino', Precision.FP32, foundation=foundation_path,
        adapter=adapter('vits') if adapted else None), size) for adapted in errors}
    for seed in range(9001, 9007):
        shown = rendered_clip(frames, size, np.random.default_rng(seed))
        grey = [StampedGrey(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8),
                            index * FRAME_NS) for index, image in enumerate(shown.images)]
        reconstruction = Reconstruction(size)
        for index, events in enumerate(simulated(grey, Simulator(size, seed=seed))):
            picture = reconstruction.add(Window(events, index * FRAME_NS + 1,
                                                (index + 1) * FRAME_NS + 1, index == 0))
        truth = torch.from_numpy(np.float32(1 / shown.depth_m[-1]))[None, None]
        for adapted, network in networks.items():
            depth = torch.from_numpy(network.depth(as_rgb(picture)).astype(np.float32))
            errors[adapted].append(float(aligned_error(depth[None, None], truth)))
    plain, better = np.mean(errors[False]), np.mean(errors[True])
    assert better < WORTH_IT * plain, errors


def test_none_is_no_adapter_and_a_file_has_to_be_one(tmp_path: Path) -> None:
    assert adapter('vits', UNADAPTED) is None
    assert adapter('vitb') is None
    with pytest.raises(weights.lookup.WeightsError, match='does not exist'):
        adapter('vits', tmp_path / 'absent.safetensors')
