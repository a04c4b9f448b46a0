"""Pictures of events to a pipeline, and when it is not asked."""

import numpy as np
import pytest

from asyncmde_ros.events.depth import DepthOfEvents
from asyncmde_ros.events.packets import Events, no_events
from asyncmde_ros.events.reconstruction import Reconstruction
from asyncmde_ros.events.window import Window
from asyncmde_ros.images.codec import RGB
from asyncmde_ros.pipeline.results import DepthResult, PipelineState

SIZE = (24, 32)


def moving(begin_ns: int, anew: bool = False) -> Window:
    rows, cols = np.mgrid[:16, :16].astype(np.uint16)
    events = Events(cols.ravel(), rows.ravel(), np.full(256, begin_ns + 5), np.ones(256, np.bool_),
                    SIZE)
    return Window(events, begin_ns, begin_ns + 10, anew)


def still(begin_ns: int, lasted_ns: int) -> Window:
    return Window(no_events(SIZE), begin_ns, begin_ns + lasted_ns, False)


class Asked:
    """Stands for a pipeline; writes down what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.pictures: list[RGB] = []

    def process(self, rgb: RGB, stamp_ns: int) -> DepthResult:
        self.calls.append(str(stamp_ns))
        self.pictures.append(rgb)
        return DepthResult(PipelineState.WAITING_FOR_MEMORY, stamp_ns)

    def reset(self) -> None:
        self.calls.append('reset')


def test_a_pipeline_gets_each_picture_with_the_time_of_its_windows_end() -> None:
    asked = Asked()
    depth = DepthOfEvents(Reconstruction(SIZE), asked.process, asked.reset)
    found = [depth.see(moving(100, True)), depth.see(moving(110))]
    assert asked.calls == ['reset', '110', '120']
    assert asked.pictures[0].shape == (*SIZE, 3)
    np.testing.assert_array_equal(asked.pictures[1][..., 0], found[1].picture.grey)
    assert [each.result and each.result.stamp_ns for each in found] == [110, 120]


@pytest.mark.proves('event-stillness')
def test_depth_is_withheld_where_nothing_moves_and_what_was_known_is_forgotten() -> None:
    asked = Asked()
    depth = DepthOfEvents(Reconstruction(SIZE, decay_ns=1000), asked.process, asked.reset)
    found = [depth.see(window) for window in (
        moving(0, True), still(10, 100), still(110, 9000), still(9110, 10), moving(9120))]
    assert [each.result is None for each in found] == [False, False, True, True, False]
    assert asked.calls == ['reset', '10', '110', 'reset', '9130']
