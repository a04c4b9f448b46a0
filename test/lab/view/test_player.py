"""A video through the pipeline in this process: it ends, whatever hangs."""

import pytest

pytest.importorskip('av', reason='left out: needs av')
pytest.importorskip('rerun', reason='left out: needs rerun')

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from support.fakes import FakeEngine, FakeModel

from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import EngineError
from asyncmde_ros.lab.media.frames import FrameSource, VideoFrame
from asyncmde_ros.lab.view import player
from asyncmde_ros.lab.view.recording import Recording

HANG_S = 60
"""The thread that hangs ends by itself, should the test not release it."""


def test_a_refresh_that_hangs_ends_in_an_error_and_a_complete_file(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, began, model = threading.Event(), threading.Event(), FakeModel()
    rng = np.random.default_rng(0)

    def hang(arrays: object) -> None:
        began.set()
        release.wait(HANG_S)

    def frames() -> Iterator[VideoFrame]:
        deadline = time.monotonic() + HANG_S
        for stamp_ns in itertools.count(0, 10**8):
            yield VideoFrame(stamp_ns, rng.integers(0, 255, (240, 320, 3), np.uint8))
            for refresher in model.refreshers.values():  # compiled and tried by now
                cast(FakeEngine, refresher.engine).compute = hang
            if began.wait(0.01):
                return
            assert time.monotonic() < deadline
    monkeypatch.setattr(player, 'CLOSE_TIMEOUT_S', 0.1)
    file = tmp_path / 'out.rrd'
    try:
        with pytest.raises(EngineError, match='hangs'), Recording(file) as recording:
            player.play(cast(FrameSource, frames()), True, cast(Model, model), recording,
                        threading.Event())
    finally:
        release.set()
    assert file.stat().st_size > 0
