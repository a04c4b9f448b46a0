"""Scores of simulated events: which frames count, and what is compared with what."""

import json
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest

from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.events import evaluation
from asyncmde_ros.events.evaluation import WARM_UP, Request, Score
from asyncmde_ros.lab.evaluation import latency
from asyncmde_ros.lab.evaluation.schedule import parse
from asyncmde_ros.resources import share_directory

FRAMES = WARM_UP + 4
SIZE = (60, 80)


def sequence(folder: Path, moving: int = FRAMES, frames: int = FRAMES) -> Path:
    """Write a plane that is nearer to the right; the picture moves in the first frames."""
    for name in ('rgb', 'depth'):
        (folder / name).mkdir(parents=True)
    rows, cols = np.mgrid[:SIZE[0], :SIZE[1]]
    for index in range(frames):
        shift = 3 * min(index, moving)
        grey = 128 + 60 * np.sin((cols - shift) / 5) + 50 * np.cos(rows / 9)
        cv2.imwrite(str(folder / 'rgb' / f'{index:06}.jpg'), grey.astype(np.uint8))
        cv2.imwrite(str(folder / 'depth' / f'{index:06}.png'),
                    (1000 * 4 / (1 + cols / 40)).astype(np.uint16))
    (folder / 'meta.json').write_text(json.dumps(
        {'name': folder.name, 'frames': frames, 'fps': 2, 'max_depth_m': 10}))
    return folder


class Perfect:
    """A stage that sees inverse depth as it is in grey, and of events only an adapted model."""

    def __init__(self, model: object, settings: object, latencies: object, path: Path,
                 footage: Any, sizes: object) -> None:
        slope = np.tile(np.linspace(1, 3, SIZE[1]), (SIZE[0], 1))
        flat = np.ones(SIZE)
        blind = 'events' in footage.name and model is None
        self.teacher = np.stack([flat if blind else slope] * footage.length)


class Late:
    """A pipeline that has no depth until the frame after the first that is scored."""

    def __init__(self, name: str) -> None:
        assert name == 'async'

    def predict(self, stage: Perfect, schedule: object) -> Any:
        maps = stage.teacher.copy()
        maps[:WARM_UP + 1] = np.nan
        return type('Predicted', (), {'maps': maps})()


def scores(path: Path, monkeypatch: pytest.MonkeyPatch, adapted: object = None
           ) -> dict[tuple[str, str], Score]:
    monkeypatch.setattr(evaluation, 'Stage', Perfect)
    monkeypatch.setattr(evaluation, 'MovedRow', Late)
    request = Request([path], None, 252, parse('async:30'), latency.read(
        share_directory() / 'config' / 'latencies' / 'two_cores.json'))
    return {(score.input, score.schedule): score
            for score in evaluation.evaluate(cast(Model, None), request,
                                             cast(Model | None, adapted))}


def test_an_adapted_model_looks_at_the_same_events(tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    path = sequence(tmp_path / 'a')
    plain, both = scores(path, monkeypatch), scores(path, monkeypatch, 'adapted')
    added = {key: score for key, score in both.items() if key not in plain}
    assert {key: both[key] for key in plain} == plain
    assert list(added) == [('events, adapted', 'every frame'), ('events, adapted', 'async:30')]
    for (_, schedule), score in added.items():
        assert score.absrel == plain['grey', schedule].absrel
        assert score.frames == plain['events', schedule].frames


def test_all_inputs_are_scored_on_the_same_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                  ) -> None:
    found = scores(sequence(tmp_path / 'a'), monkeypatch)
    assert list(found) == [*((name, schedule) for name in ('grey', 'events')
                             for schedule in ('every frame', 'async:30')),
                           ('flat', '-'), ('ramp', '-')]
    # The plane's depth does not depend on the row, and is scored as flat events are.
    flat, ramp = found.pop(('flat', '-')), found.pop(('ramp', '-'))
    assert flat.absrel == pytest.approx(ramp.absrel, rel=1e-3)
    assert flat.absrel == pytest.approx(found['events', 'every frame'].absrel)
    for (name, schedule), score in found.items():
        assert score.sequence == 'a'
        missing = 0 if schedule == 'every frame' else 1
        assert (score.frames, score.withheld) == (FRAMES - WARM_UP - missing, missing)
        assert score.absrel == pytest.approx(0, abs=0.01) or name == 'events'
    assert cast(float, found['events', 'every frame'].absrel) > 0.1


def test_frames_at_which_nothing_had_moved_are_withheld(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scores(sequence(tmp_path / 'a', moving=2), monkeypatch)
    nothing = found['events', 'every frame']
    assert (nothing.frames, nothing.withheld) == (0, FRAMES - WARM_UP)
    assert nothing.absrel is None
    assert found['grey', 'every frame'].withheld == 0


def test_a_sequence_that_is_too_short_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                               ) -> None:
    with pytest.raises(AsyncMDEError, match=r'a has 10 frames, and the first 10'):
        scores(sequence(tmp_path / 'a', frames=WARM_UP), monkeypatch)
