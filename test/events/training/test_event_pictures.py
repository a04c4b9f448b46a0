"""Pictures that events add up to, and the depth they are to give."""

import pytest

pytest.importorskip('av', reason='left out: needs av')
pytest.importorskip('torch', reason='left out: needs torch')

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import texture
from support.teachers import FakeTeacher

from asyncmde_ros.events.reconstruction import Reconstruction
from asyncmde_ros.events.simulator import Simulator, StampedGrey, simulated
from asyncmde_ros.events.training import event_pictures
from asyncmde_ros.events.training.adapter_config import AdapterTrainConfig, DrawnSensor
from asyncmde_ros.events.training.clips import FRAME_NS, drawn_recipes
from asyncmde_ros.events.training.event_pictures import (
    drawn_sensor,
    prepare,
)
from asyncmde_ros.events.window import Window
from asyncmde_ros.lab.training.cache import Clip, Recipe
from asyncmde_ros.lab.training.config import ConfigError
from asyncmde_ros.lab.training.quality import Thresholds
from asyncmde_ros.lab.training.rendered import rendered_clip
from asyncmde_ros.lab.training.sources import find

SIZE = (56, 84)
TEACHER_SIZE = (84, 126)
PLAIN = AdapterTrainConfig()
CONFIG = replace(
    PLAIN, data=replace(PLAIN.data, sizes={f'{SIZE[0]}x{SIZE[1]}': 1.0}, rendered_clips=4,
                        virtual_clips=2, rendered_frames=6, virtual_frames=6,
                        quality=Thresholds(0, 0, 0), validation_share=0.5),
    pictures=replace(PLAIN.pictures, clips={'virtual': 2, 'rendered': 3}, every=2,
                     teacher_side=TEACHER_SIZE[0]))


@pytest.fixture(scope='module')
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('photos')
    for seed in range(2):
        cv2.imwrite(str(folder / f'{seed}.png'), texture((160, 200), (8, 10), seed))
    return folder


@pytest.fixture(scope='module')
def wanted(footage: Path) -> list[Recipe]:
    return drawn_recipes(find(footage, CONFIG.data), CONFIG, CONFIG.pictures.clips,
                         CONFIG.pictures.every)


def of_kind(kind: str, wanted: list[Recipe]) -> Recipe:
    return next(recipe for recipe in wanted if recipe.kind == kind)


def made(recipe: Recipe, folder: Path, teacher: FakeTeacher | None = None,
         config: AdapterTrainConfig = CONFIG) -> Clip:
    clip, = prepare([recipe], teacher or FakeTeacher(), folder, config).clips
    return clip


def test_of_each_kind_as_many_as_asked_for(wanted: list[Recipe]) -> None:
    assert [recipe.kind for recipe in wanted] == ['virtual'] * 2 + ['rendered'] * 3


def test_a_picture_is_what_the_node_would_see_of_the_same_sensor(wanted: list[Recipe],
                                                                 tmp_path: Path) -> None:
    recipe = of_kind('rendered', wanted)
    clip = made(recipe, tmp_path)
    shown = rendered_clip(recipe.frames, SIZE, np.random.default_rng(recipe.seed))
    grey = [StampedGrey(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8),
                        index * FRAME_NS) for index, image in enumerate(shown.images)]
    pixel = drawn_sensor(CONFIG.pictures.sensor, np.random.default_rng([recipe.seed, 7]))
    reconstruction, pictures = Reconstruction(SIZE), {}
    for index, events in enumerate(simulated(grey, Simulator(SIZE, pixel, recipe.seed)), 1):
        window = Window(events, (index - 1) * FRAME_NS + 1, index * FRAME_NS + 1, index == 1)
        pictures[index] = reconstruction.add(window).grey
    assert clip.frames == 2
    for number, index in enumerate((2, 4)):
        image, = clip.pictures([number])
        np.testing.assert_array_equal(image, np.repeat(pictures[index][..., None], 3, axis=2))
        depth = clip.targets([number], ('depth',))['depth'][0]
        np.testing.assert_allclose(depth, 1 / shown.depth_m[index], rtol=1e-3)


def test_the_teacher_sees_the_image_with_more_pixels_than_the_sensor(wanted: list[Recipe],
                                                                     tmp_path: Path) -> None:
    recipe = of_kind('virtual', wanted)
    clip = made(recipe, tmp_path, teacher := FakeTeacher())
    seen = [picture for picture in teacher.seen if picture.shape[:2] == TEACHER_SIZE][-2:]
    for number, image in enumerate(seen):
        expected = cv2.resize(image.astype(np.float32).mean(2) / 255, SIZE[::-1],
                              interpolation=cv2.INTER_AREA)
        depth = clip.targets([number], ('depth',))['depth'][0].numpy()
        np.testing.assert_allclose(depth, expected, atol=2e-3)
    assert clip.size == SIZE


def test_clips_are_made_once(wanted: list[Recipe], tmp_path: Path,
                             monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(wanted, FakeTeacher(), tmp_path, CONFIG)
    monkeypatch.setattr(event_pictures, 'footage', None)
    again = prepare(wanted, FakeTeacher(), tmp_path, CONFIG)
    assert [clip.path for clip in again.clips] == [clip.path for clip in first.clips]


def test_another_sensor_is_another_clip(wanted: list[Recipe], tmp_path: Path) -> None:
    recipe = of_kind('rendered', wanted)
    keen = replace(CONFIG, pictures=replace(CONFIG.pictures,
                                              sensor=DrawnSensor(threshold=(0.05, 0.06))))
    one, other = made(recipe, tmp_path), made(recipe, tmp_path, config=keen)
    assert one.path != other.path
    assert not np.array_equal(one.pictures([0])[0], other.pictures([0])[0])


def test_a_camera_at_rest_shows_nothing_to_learn_from(wanted: list[Recipe], tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    still = [np.full((*SIZE, 3), 90, np.uint8)] * 6
    monkeypatch.setattr(event_pictures, 'footage', lambda recipe, teacher: type(
        'Footage', (), {'pictures': still, 'inverse_m': [np.ones(SIZE, np.float32)] * 6}))
    quiet = replace(CONFIG, pictures=replace(CONFIG.pictures, sensor=DrawnSensor(
        shot_noise_hz=(1e-4, 2e-4))))
    prepared = prepare([of_kind('rendered', wanted)], FakeTeacher(), tmp_path, quiet)
    assert prepared == ([], {'hardly any events': 1})


@given(st.integers(0, 2**32 - 1))
def test_sensors_are_drawn_within_their_bounds(seed: int) -> None:
    drawn = DrawnSensor()
    pixel = drawn_sensor(drawn, np.random.default_rng(seed))
    middle = np.sqrt(pixel.brighter * pixel.darker)
    within = 1 + 1e-9
    assert drawn.threshold[0] / within <= middle <= drawn.threshold[1] * within
    assert max(pixel.brighter / pixel.darker, pixel.darker / pixel.brighter) <= (
        drawn.imbalance ** 2 * within)
    assert drawn.deviation[0] / within <= pixel.deviation / middle <= drawn.deviation[1] * within
    for low, high, value in ((*drawn.shot_noise_hz, pixel.shot_noise_hz),
                             (*drawn.leak_hz, pixel.leak_hz)):
        assert low / within <= value <= high * within


def test_an_adapter_without_its_table_is_refused() -> None:
    with pytest.raises(ConfigError, match='student'):
        _ = replace(PLAIN, student=None).adapter
