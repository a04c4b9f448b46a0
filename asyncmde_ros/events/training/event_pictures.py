"""Pictures that events add up to, with the depth of what was seen; made once and kept.

Depth Anything V2's depth of the *image* is what it shall give for the *events* (cross-modal
distillation: Bartolomei et al., "Depth AnyEvent", ICCV 2025).  Of rendered clips depth is exact.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from asyncmde_ros.errors import MediaError
from asyncmde_ros.events.depth import LEAST_SEEN, as_rgb
from asyncmde_ros.events.reconstruction import Reconstruction
from asyncmde_ros.events.simulator import Pixel, Simulator, StampedGrey, simulated
from asyncmde_ros.events.training.adapter_config import (
    AdapterTrainConfig,
    DrawnSensor,
    PictureConfig,
)
from asyncmde_ros.events.training.clips import FRAME_NS, footage
from asyncmde_ros.events.window import Window
from asyncmde_ros.images.codec import RGB
from asyncmde_ros.lab.training.cache import Arrays, Clip, Header, Recipe, kept
from asyncmde_ros.lab.training.quality import reason_to_drop
from asyncmde_ros.lab.training.teacher import Picture, Teacher
from asyncmde_ros.lab.training.virtual_camera import draw_log
from asyncmde_ros.model.geometry import Size, network_size
from asyncmde_ros.model.preprocess import average

logger = logging.getLogger(__name__)

VERSION = 1
"""Raised when the same recipe gives other pictures."""


class PreparedPictures(NamedTuple):
    """The clips of a run; ``dropped`` counts why others were left out."""

    clips: list[Clip]
    dropped: dict[str, int]


def prepare(wanted: Sequence[Recipe], teacher: Teacher, directory: Path,
            config: AdapterTrainConfig) -> PreparedPictures:
    """Make the clips that ``directory`` does not hold yet; return all that are good enough.

    A clip's ``images`` are those of :func:`asyncmde_ros.events.depth.as_rgb`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    clips: list[Clip] = []
    dropped: Counter[str] = Counter()
    for recipe in tqdm(wanted, unit='clip', desc='events and depth', mininterval=1.0):
        path = directory / f'{_key(recipe, teacher, config)}.safetensors'
        header = kept(path, partial(_make, recipe, teacher, config))
        if 'dropped' in header:
            dropped[header['dropped']] += 1
        else:
            clips.append(Clip(path, header, recipe.validation))
    return PreparedPictures(clips, dict(dropped))


def _key(recipe: Recipe, teacher: Teacher, config: AdapterTrainConfig) -> str:
    described = {'clip': recipe.key(teacher.id, config.data.quality), 'version': VERSION,
                 'every': config.pictures.every, 'teacher': config.pictures.teacher_side,
                 'sensor': asdict(config.pictures.sensor)}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:24]


def _make(recipe: Recipe, teacher: Teacher,
          config: AdapterTrainConfig) -> tuple[Arrays, Header]:
    header = {'kind': recipe.kind, 'name': recipe.name, 'size': json.dumps(recipe.size)}
    exact = recipe.kind == 'rendered'
    # The teacher sees more pixels than the sensor has.
    size = recipe.size if exact else network_size(recipe.size, config.pictures.teacher_side)
    try:
        shown = footage(replace(recipe, size=size), teacher)
    except MediaError as error:
        logger.warning('%s', error)
        return {}, header | {'dropped': 'cannot be read'}
    images, depths = [], []
    for index, image in _added_up(shown.pictures, recipe, config.pictures):
        depth = (shown.inverse_m[index] if exact else
                 next(teacher.targets([shown.pictures[index]]))['depth'])
        images.append(image)
        depths.append(np.asarray(cv2.resize(depth.astype(np.float32), recipe.size[::-1],
                                            interpolation=cv2.INTER_AREA), np.float32))
    if not images:
        return {}, header | {'dropped': 'hardly any events'}
    reason = reason_to_drop(depths[len(depths) // 2], config.data.quality)
    if reason is not None:
        return {}, header | {'dropped': reason}
    return ({'images': np.stack(images), 'depth': np.stack(depths).astype(np.float16)},
            header | {'frames': str(len(images))})


def _added_up(pictures: Sequence[Picture], recipe: Recipe, config: PictureConfig
              ) -> list[tuple[int, RGB]]:
    """Return every so many windows the picture's number and what events have added up to."""
    rng = np.random.default_rng([recipe.seed, 7])
    simulator = Simulator(recipe.size, drawn_sensor(config.sensor, rng), recipe.seed)
    reconstruction = Reconstruction(recipe.size)
    found = []
    grey = [StampedGrey(_grey(picture, recipe.size), index * FRAME_NS)
            for index, picture in enumerate(pictures)]
    for index, events in enumerate(simulated(grey, simulator), start=1):
        added = reconstruction.add(Window(events, (index - 1) * FRAME_NS + 1,
                                          index * FRAME_NS + 1, index == 1))
        if index % config.every == 0 and added.seen >= LEAST_SEEN:
            found.append((index, as_rgb(added)))
    return found


def drawn_sensor(drawn: DrawnSensor, rng: np.random.Generator) -> Pixel:
    """Return pixels as one sensor or setting has them: the next one has others."""
    middle = draw_log(*drawn.threshold, rng)
    uneven = float(np.exp(rng.uniform(-1, 1) * np.log(drawn.imbalance)))
    return Pixel(brighter=middle * uneven, darker=middle / uneven,
                 deviation=middle * rng.uniform(*drawn.deviation),
                 shot_noise_hz=draw_log(*drawn.shot_noise_hz, rng),
                 leak_hz=draw_log(*drawn.leak_hz, rng))


def _grey(picture: Picture, size: Size) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(average(picture, size), cv2.COLOR_RGB2GRAY), np.uint8)
