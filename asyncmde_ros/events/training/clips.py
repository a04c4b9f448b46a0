"""Clips as an event camera sees them, with what is known of their depth; made once and kept."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from asyncmde_ros.errors import MediaError
from asyncmde_ros.events.network.inputs import StemInput
from asyncmde_ros.events.packets import Events
from asyncmde_ros.events.simulator import Simulator, StampedGrey, simulated
from asyncmde_ros.events.training.config import COARSEST_SAMPLED, EventTrainConfig
from asyncmde_ros.events.window import Window
from asyncmde_ros.lab.training.cache import (
    Arrays,
    Header,
    Recipe,
    kept,
    pictures_of,
    recipes,
)
from asyncmde_ros.lab.training.config import TrainConfig
from asyncmde_ros.lab.training.quality import reason_to_drop
from asyncmde_ros.lab.training.rendered import rendered_clip
from asyncmde_ros.lab.training.sources import TrainingSource
from asyncmde_ros.lab.training.teacher import Picture, Teacher
from asyncmde_ros.model.preprocess import normalise

logger = logging.getLogger(__name__)

VERSION = 2
"""Raised when the same recipe gives other clips."""

FRAME_NS = 33_333_333
"""Between two pictures, and so the length of a window: most videos have 30 a second."""

TEACHER_TAPS = (1, 3)
"""Of the four that Depth Anything V2 Small taps: after the 6th and the 12th block."""

DEPTH = 'depth'
EVENTS = 'events'
LABELS = ('counts', DEPTH, 'features3', 'features4')
NAMES = (EVENTS, *LABELS)


class Footage(NamedTuple):
    """A clip's pictures, (H, W, 3) uint8 RGB each, and its depth.

    ``inverse_m``: exact inverse depth (H, W), 1/m, 0 in the sky; empty where it is not known.
    """

    pictures: list[Picture]
    inverse_m: list[npt.NDArray[np.float32]]


def drawn_recipes(sources: Sequence[TrainingSource], config: TrainConfig,
                  clips: Mapping[str, int], windows: int) -> list[Recipe]:
    """Return which clips there are to make: of each kind as many as asked for, drawn at random.

    All have more than ``windows`` pictures.
    """
    found = recipes(sources, config)
    chosen: list[Recipe] = []
    for number, (kind, count) in enumerate(clips.items()):
        long = [recipe for recipe in found if recipe.kind == kind and recipe.frames > windows]
        order = np.random.default_rng([config.seed, 5, number]).permutation(len(long))
        chosen += [long[index] for index in order[:count]]
    return chosen


def footage(recipe: Recipe, teacher: Teacher) -> Footage:
    """Return what the sensor is shown.  MediaError where the source is unreadable."""
    if recipe.kind != 'rendered':
        return Footage(pictures_of(recipe, teacher), [])
    clip = rendered_clip(recipe.frames, recipe.size, np.random.default_rng(recipe.seed))
    return Footage(clip.images, [np.asarray(1 / depth, np.float32) for depth in clip.depth_m])


def seen(pictures: Sequence[Picture], seed: int) -> list[Window]:
    """Return the windows between each two pictures, one less than those."""
    grey = [StampedGrey(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8),
                        index * FRAME_NS) for index, picture in enumerate(pictures)]
    return [Window(events, index * FRAME_NS, (index + 1) * FRAME_NS, index == 0) for index, events
            in enumerate(simulated(grey, Simulator(grey[0].grey.shape, seed=seed)))]


class EventClip:
    """One cached clip, read window by window from its file.

    ``metric``: its depth is exact, in 1/m; else it is Depth Anything V2's of the picture at the
    window's end, of unknown scale and shift.  ``labelled``: which windows have depth.
    """

    def __init__(self, path: Path, header: dict[str, str], recipe: Recipe, every: int) -> None:
        self.path, self.recipe = path, recipe
        self.kind, self.name = recipe.kind, recipe.name
        self.validation, self.size = recipe.validation, recipe.size
        self.metric = recipe.kind == 'rendered'
        self.frames = self.windows = int(header['windows'])
        self._every = every
        self.labelled = labelled(self.windows, every)

    def read(self, first: int, count: int) -> dict[str, Tensor]:
        """Return ``events`` of windows, (count, inputs, H, W), and what the L labelled ones have.

        ``counts`` of events (L, H/8, W/8); ``depth``: inverse depth (L, H, W); ``features3`` and
        ``features4``: Depth Anything's after its 6th and 12th block, (L, 384, H/14, W/14).  All
        float32.
        """
        end = first + count
        with safe_open(self.path, 'pt') as tensors:
            found = {EVENTS: tensors.get_slice(EVENTS)[first:end].float()}
            return found | {name: tensors.get_slice(name)[
                first // self._every:end // self._every].float() for name in LABELS}


def labelled(windows: int, every: int) -> list[int]:
    """Return which of ``windows`` have depth: one in ``every``, the last of those each time."""
    return list(range(every - 1, windows, every))


class PreparedEvents(NamedTuple):
    """The clips of a run; ``dropped`` counts why others were left out."""

    clips: list[EventClip]
    dropped: dict[str, int]


def prepare(wanted: Sequence[Recipe], teacher: Teacher, directory: Path,
            config: EventTrainConfig) -> PreparedEvents:
    """Make the clips that ``directory`` does not hold yet; return all that are good enough.

    An interrupted run goes on where it stopped.
    """
    directory.mkdir(parents=True, exist_ok=True)
    clips: list[EventClip] = []
    dropped: Counter[str] = Counter()
    for recipe in tqdm(wanted, unit='clip', desc='events and targets', mininterval=1.0):
        path = directory / f'events-{_key(recipe, teacher, config)}.safetensors'
        header = kept(path, partial(_make, recipe, teacher, config))
        if 'dropped' in header:
            dropped[header['dropped']] += 1
        else:
            clips.append(EventClip(path, header, recipe, config.events.labelled_every))
    return PreparedEvents(clips, dict(dropped))


def _key(recipe: Recipe, teacher: Teacher, config: EventTrainConfig) -> str:
    described = {'clip': recipe.key(teacher.id, config.data.quality), 'version': VERSION,
                 'bins': config.network.bins, 'least': config.events.least_events,
                 'every': config.events.labelled_every}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:24]


def _make(recipe: Recipe, teacher: Teacher,
          config: EventTrainConfig) -> tuple[Arrays, Header]:
    """Return a clip's arrays and header; none where the header says why it is dropped."""
    try:
        shown = footage(recipe, teacher)
    except MediaError as error:
        logger.warning('%s', error)
        return {}, {'dropped': 'cannot be read'}
    if len(shown.pictures) <= config.events.windows:
        return {}, {'dropped': 'too short'}
    windows = seen(shown.pictures, recipe.seed)
    counts = np.stack([_counts(window.events) for window in windows])
    if counts.sum() < config.events.least_events * len(windows) * np.prod(recipe.size):
        return {}, {'dropped': 'hardly any events'}
    chosen = labelled(len(windows), config.events.labelled_every)
    found = [_teacher_sees(shown.pictures[1 + window], teacher) for window in chosen]
    inverse = ([shown.inverse_m[1 + window] for window in chosen] if shown.inverse_m
               else [depth for depth, *_ in found])
    reason = reason_to_drop(found[len(found) // 2][0], config.data.quality)
    if reason is not None:
        return {}, {'dropped': reason}
    inputs = StemInput(windows[0].events.size, config.network.bins)
    events = np.stack([inputs.add(window) for window in windows])
    features = [np.stack([levels[1 + number] for levels in found])
                for number in range(len(TEACHER_TAPS))]
    arrays = (events, counts[chosen], np.stack(inverse), *features)
    return ({name: array.astype(np.float16) for name, array in zip(NAMES, arrays, strict=True)},
            {'windows': str(len(windows))})


def _counts(events: Events) -> npt.NDArray[np.float32]:
    """Return how many events (rows / 8, cols / 8) squares have."""
    rows, cols = events.size
    by_pixel = np.bincount(events.pixels, minlength=rows * cols).astype(np.float32)
    side = COARSEST_SAMPLED
    return by_pixel.reshape(rows // side, side, cols // side, side).sum((1, 3))


@torch.inference_mode()
def _teacher_sees(picture: Picture, teacher: Teacher) -> list[npt.NDArray[np.float32]]:
    """Return inverse depth (H, W) and the features of TEACHER_TAPS, (384, H/14, W/14) each."""
    size = picture.shape[:2]
    image = np.empty((1, 3, *size), np.float32)
    normalise(picture, image)
    device = next(teacher.module.parameters()).device
    positions = torch.from_numpy(teacher.positions(size)).to(device)
    taps = teacher.module.pretrained(torch.from_numpy(image).to(device), positions,
                                     teacher.config.taps)
    head = teacher.module.depth_head
    depth = head.scratch.decode(head.memory(taps), size)
    return [depth[0, 0].cpu().numpy(), *(taps[tap][0].cpu().numpy() for tap in TEACHER_TAPS)]
