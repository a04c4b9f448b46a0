"""What is published in metres, and that nothing is computed that nobody listens to."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from std_msgs.msg import Header
from support.publishers import PublishingNode

from asyncmde_ros.ros import metric_outputs
from asyncmde_ros.ros.metric_outputs import MetricOutputs, scale_message
from asyncmde_ros.ros.metric_settings import Encoding, MetricSettings
from asyncmde_ros.ros.point_cloud import points_of
from asyncmde_ros.scale.estimator import Scale
from asyncmde_ros.scale.lens import Lens

SIZE = (48, 64)
LENS = Lens(np.array([[100.0, 0, 63.5], [0, 100, 47.5], [0, 0, 1]]), (96, 128))
"""Of images twice the depth's size."""

SCALE = Scale(0.5, 0.25, np.diag([1e-4, 4e-4]), 0.5, 10, 8, 0.1, False, ('points', 'scan'))
RGB = np.full((96, 128, 3), (10, 20, 30), np.uint8)


def relative() -> np.ndarray:
    values = np.tile(np.linspace(1, 2, SIZE[1], dtype=np.float32), (SIZE[0], 1))
    values[0, 0] = np.nan
    return values


def published(listened: set[str], lens: Lens | None = LENS,
              settings: MetricSettings | None = None, largest_m: float = math.inf
              ) -> dict[str, list]:
    node = PublishingNode()
    outputs = MetricOutputs(node)  # type: ignore[arg-type]
    for name, publisher in node.publishers.items():
        publisher.subscribers = int(name in listened)
    outputs.publish(Header(frame_id='camera'), relative(), RGB, lens, SCALE,
                    settings or MetricSettings(), largest_m)
    assert outputs.wanted is bool(listened & {'metric', 'points'})
    return {name: publisher.sent for name, publisher in node.publishers.items()}


@pytest.mark.parametrize('listened', [
    set(), {'metric'}, {'points'}, {'scale'}, {'metric', 'points', 'scale'}])
def test_each_topic_is_made_exactly_while_somebody_listens(
        listened: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object) -> object:
            made.append(name)
            return function(*arguments)
        return wrapped
    for name in ('metric', 'cloud', 'scale_message', 'float_image'):
        monkeypatch.setattr(metric_outputs, name, counted(name, getattr(metric_outputs, name)))
    sent = published(listened)
    assert set(sent) == {'metric', 'points', 'scale'}
    assert {name for name, messages in sent.items() if messages} == listened
    assert set(made) == ({'scale_message'} if 'scale' in listened else set()) | (
        {'metric'} if listened & {'metric', 'points'} else set()) | (
        {'float_image'} if 'metric' in listened else set()) | (
        {'cloud'} if 'points' in listened else set())


def test_metres_are_where_the_relation_says_and_nan_where_nothing_is_known() -> None:
    (image,) = published({'metric'})['metric']
    assert (image.encoding, image.header.frame_id) == ('32FC1', 'camera')
    values = np.frombuffer(image.data, np.float32).reshape(SIZE)
    assert np.isnan(values[0, 0])
    assert values[1:] == pytest.approx(1 / (0.5 * relative()[1:] + 0.25))
    (image,) = published({'metric'}, settings=MetricSettings(
        encoding=Encoding.MILLIMETRES), largest_m=1.0)['metric']
    values = np.frombuffer(image.data, np.uint16).reshape(SIZE)
    assert (image.encoding, image.step) == ('16UC1', 2 * SIZE[1]) and values[0, 0] == 0
    truth = 1 / (0.5 * relative()[1:] + 0.25)
    assert values[1:] == pytest.approx(np.where(truth <= 1, 1000 * truth, 0), abs=0.51)


def test_the_cloud_lies_on_the_images_rays_whatever_the_depths_size() -> None:
    settings = MetricSettings(stride=4, organised=True, color=True)
    (message,) = published({'points'}, settings=settings)['points']
    assert (message.height, message.width) == (12, 16)
    points = points_of(message).reshape(12, 16, 3)
    assert np.isnan(points[0, 0]).all()
    known = points[1:]
    # As depth_image_proc has it with depth/camera_info, whose K is scaled.
    cols = known[..., 0] / known[..., 2] * 100 + 63.5
    rows = known[..., 1] / known[..., 2] * 100 + 47.5
    assert cols == pytest.approx(np.tile(np.arange(16) * 8, (11, 1)), abs=1e-3)
    assert rows == pytest.approx(np.tile(np.arange(1, 12)[:, None] * 8, (1, 16)), abs=1e-3)
    colors = np.frombuffer(message.data, np.uint8).reshape(12, 16, 16)[1:, :, 12:]
    assert colors.reshape(-1, 4).tolist() == [[30, 20, 10, 0]] * (11 * 16)


def test_without_a_lens_there_are_metres_and_no_cloud() -> None:
    sent = published({'metric', 'points', 'scale'}, lens=None)
    assert sent['metric'] and sent['scale'] and not sent['points']


def test_the_rays_are_found_once_for_a_lens(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    rays = Lens.ray_map
    monkeypatch.setattr(Lens, 'ray_map', lambda self, stride: found.append(stride)
                        or rays(self, stride))
    node = PublishingNode()
    outputs = MetricOutputs(node)  # type: ignore[arg-type]
    node.publishers['points'].subscribers = 1
    for stride, lens in ((1, LENS), (1, LENS), (2, LENS), (2, replace(LENS, model=''))):
        outputs.publish(Header(), relative(), RGB, lens, SCALE, MetricSettings(stride=stride),
                        math.inf)
    assert found == [1, 2, 2]


def test_what_is_known_of_the_scale_is_said_in_full() -> None:
    status = scale_message(Header(frame_id='camera'), SCALE).status[0]
    said = {value.key: value.value for value in status.values}
    assert {key: float(said[key]) for key in ('a', 'b', 'a_sigma', 'b_sigma', 'age_s')} == {
        'a': 0.5, 'b': 0.25, 'a_sigma': 0.01, 'b_sigma': 0.02, 'age_s': 0.5}
    assert (said['observations'], said['inliers'], said['residual']) == ('10', '8', '0.1')
    assert (said['degenerate'], said['source']) == ('false', 'points,scan')
    nothing = replace(SCALE, residual=None, degenerate=True, sources=())
    said = {value.key: value.value for value in scale_message(Header(), nothing).status[0].values}
    assert (said['residual'], said['degenerate'], said['source']) == ('', 'true', '')
