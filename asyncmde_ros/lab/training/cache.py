"""Clips with the foundation model's targets, computed once and kept in half precision."""

import dataclasses
import hashlib
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tqdm import tqdm

from asyncmde_ros import files
from asyncmde_ros.errors import MediaError
from asyncmde_ros.images.picture import read_picture
from asyncmde_ros.lab.media.sources import open_video
from asyncmde_ros.lab.training.config import TrainConfig
from asyncmde_ros.lab.training.quality import Thresholds, reason_to_drop
from asyncmde_ros.lab.training.rendered import rendered_clip
from asyncmde_ros.lab.training.sources import TrainingSource, is_validation
from asyncmde_ros.lab.training.teacher import TARGETS, Picture, Targets, Teacher
from asyncmde_ros.lab.training.virtual_camera import photo_clip
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.preprocess import at_size, shrink

logger = logging.getLogger(__name__)

Arrays = dict[str, npt.NDArray[Any]]
Header = dict[str, str]

VERSION = 1
"""Raised when the same recipe gives other clips."""

MARGIN = 1.5
"""How much larger than the network's size a photo is when a virtual camera moves over it."""


@dataclass(frozen=True)
class Recipe:
    """How to make one clip.  ``crop`` is (top, left, height, width) as shares of the picture.

    ``every``: one in so many of the source's frames.  ``targets``: those that are kept.
    """

    kind: str
    name: str
    path: str
    licence: str
    validation: bool
    seed: int
    size: Size
    start: int
    frames: int
    crop: tuple[float, float, float, float]
    flip: bool
    every: int = 1
    targets: tuple[str, ...] = TARGETS

    def key(self, teacher: str, quality: Thresholds) -> str:
        """Return the name of the clip's file: what was done, to which bytes, by which teacher."""
        described = dataclasses.asdict(self) | {'version': VERSION, 'teacher': teacher,
                                                'quality': dataclasses.asdict(quality)}
        path = described.pop('path')
        for irrelevant in ('validation', 'licence'):
            described.pop(irrelevant)
        # Left out as they ordinarily are: clips that were made before there was a choice stay.
        for field in ('every', 'targets'):
            if getattr(self, field) == getattr(Recipe, field):
                described.pop(field)
        if path:
            status = Path(path).stat()
            described |= {'bytes': status.st_size, 'changed': status.st_mtime_ns}
        text = json.dumps(described, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def recipes(sources: Sequence[TrainingSource], config: TrainConfig) -> list[Recipe]:
    """List every clip of a run; the same sources and seed give the same list."""
    data = config.data
    found: list[Recipe] = []
    for source in sources:
        rng = np.random.default_rng([config.seed, *os.fsencode(source.path.name)])
        if source.kind == 'photo':
            found += [_draw(source, 'photo', 0, 1, rng, config) for _ in range(data.photo_views)]
        elif data.videos:
            try:
                length = _length(source.path)
            except MediaError:
                length = data.segment_frames  # making the clip says why it cannot be
            for start in range(0, length, data.segment_frames):
                count = min(data.segment_frames, length - start)
                if count >= min(config.unroll.frames, length):
                    found.append(_draw(source, 'video', start, -(-count // data.video_every), rng,
                                       config))
    photos = [source for source in sources if source.kind == 'photo']
    order = np.random.default_rng([config.seed, 1]).permutation(len(photos))[:data.virtual_clips]
    # Each clip its own draw, so that another photo in the folder changes no other clip.
    found += [_draw(photos[i], 'virtual', 0, data.virtual_frames, np.random.default_rng(
        [config.seed, 1, *os.fsencode(photos[i].path.name)]), config) for i in order]
    for index in range(data.rendered_clips):
        name = f'rendered_{index:05d}'
        own = TrainingSource(Path(name), 'rendered', 'rendered here',
                             is_validation(name, data.validation_share))
        rng = np.random.default_rng([config.seed, 2, index])
        found.append(_draw(own, 'rendered', 0, data.rendered_frames, rng, config))
    return found


def _draw(source: TrainingSource, kind: str, start: int, frames: int, rng: np.random.Generator,
          config: TrainConfig) -> Recipe:
    sizes = config.sizes()
    size = sizes[rng.choice(len(sizes), p=[share for _, share in sizes])][0]
    scale = rng.uniform(config.data.crop_min, 1)
    top, left = rng.random(2)
    return Recipe(kind, files.printable(source.path.name),
                  '' if kind == 'rendered' else str(source.path), source.licence,
                  source.validation, int(rng.integers(2**31)), size, start, frames,
                  (float(top), float(left), float(scale), float(scale)), bool(rng.random() < 0.5),
                  config.data.video_every if kind == 'video' else 1,
                  TARGETS if config.student is None else ('depth',))


def _length(path: Path) -> int:
    with open_video(path) as video:
        return video.length or sum(1 for _ in video)


class Clip:
    """One cached clip, read frame by frame from its file."""

    def __init__(self, path: Path, header: dict[str, str], validation: bool) -> None:
        self.validation = validation
        self.path = path
        self.kind = header['kind']
        self.name = header['name']
        self.frames = int(header['frames'])
        rows, cols = json.loads(header['size'])
        self.size: Size = (rows, cols)

    def pictures(self, indices: Sequence[int]) -> list[Picture]:
        """Return frames, (H, W, 3) uint8 RGB each."""
        with safe_open(self.path, 'np') as tensors:
            images = tensors.get_slice('images')
            return [images[int(i):int(i) + 1][0] for i in indices]

    def targets(self, indices: Sequence[int],
                names: Iterable[str] = TARGETS) -> dict[str, torch.Tensor]:
        """Return targets of frames, each (len(indices), ...) in half precision."""
        with safe_open(self.path, 'pt') as tensors:
            slices = {name: tensors.get_slice(name) for name in names}
            return {name: torch.cat([part[int(i):int(i) + 1] for i in indices])
                    for name, part in slices.items()}


@dataclass(frozen=True)
class Prepared:
    """The clips of a run; ``dropped`` tells why sources were left out, wholly or in part."""

    clips: list[Clip]
    dropped: dict[str, str]


def prepare(wanted: Sequence[Recipe], teacher: Teacher, directory: Path,
            quality: Thresholds) -> Prepared:
    """Make the clips that ``directory`` does not hold yet; return all that are good enough.

    An interrupted run goes on where it stopped.
    """
    directory.mkdir(parents=True, exist_ok=True)
    clips: list[Clip] = []
    dropped: dict[str, str] = {}
    with tqdm(total=sum(recipe.frames for recipe in wanted), unit='frame',
              desc='targets of the foundation model', mininterval=1.0) as bar:
        for recipe in wanted:
            path = directory / f'{recipe.key(teacher.id, quality)}.safetensors'
            header = kept(path, partial(_make, recipe, teacher, quality))
            if 'dropped' in header:
                dropped[recipe.name] = header['dropped']
            else:
                clips.append(Clip(path, header, recipe.validation))
            bar.update(recipe.frames)
    return Prepared(clips, dropped)


def kept(path: Path, make: Callable[[], tuple[Arrays, Header]]) -> Header:
    """Return the header of a clip's file; unless it is there and whole, ``make`` its content.

    The file is written whole or not at all.  A header with ``dropped`` says why a clip is not to
    be used; it has no arrays.
    """
    header = _header(path)
    if header is None:
        arrays, header = make()
        files.write_atomically(path, save(arrays, header))
    return header


def _header(path: Path) -> Header | None:
    try:
        with safe_open(path, 'np') as tensors:
            return dict(tensors.metadata())
    except FileNotFoundError:
        return None
    except SafetensorError:
        logger.warning('%s is damaged; made again', path)
        return None


def _make(recipe: Recipe, teacher: Teacher, quality: Thresholds) -> tuple[Arrays, Header]:
    header = {'kind': recipe.kind, 'name': recipe.name, 'size': json.dumps(recipe.size)}
    try:
        pictures = pictures_of(recipe, teacher)
    except MediaError as error:
        logger.warning('%s', error)
        return {}, header | {'dropped': 'cannot be read'}
    targets = list(teacher.targets(pictures))
    header['frames'] = str(len(pictures))
    middle = targets[len(targets) // 2]['depth'].astype(np.float32)
    reason = reason_to_drop(middle, quality)
    if reason is not None:
        return {}, header | {'dropped': reason}
    return _stacked(pictures, targets, recipe.targets), header


def _stacked(pictures: Sequence[Picture], targets: Sequence[Targets],
             names: Sequence[str]) -> Arrays:
    return {'images': np.stack(pictures)} | {
        name: np.stack([target[name] for target in targets]) for name in names}


def pictures_of(recipe: Recipe, teacher: Teacher) -> list[Picture]:
    """Return the clip's frames at its network size; MediaError where the source is unreadable."""
    if recipe.kind == 'rendered':
        return rendered_clip(recipe.frames, recipe.size,
                             np.random.default_rng(recipe.seed)).images
    if recipe.kind == 'video':
        with open_video(Path(recipe.path)) as video:
            frames = [frame.image for frame in itertools.islice(
                video, recipe.start, recipe.start + recipe.frames * recipe.every, recipe.every)]
        if not frames:
            raise MediaError(f'{recipe.path} ends before frame {recipe.start}')
        return [shrink(_cropped(frame, recipe), recipe.size) for frame in frames]
    photo = _cropped(read_picture(Path(recipe.path), oriented=True), recipe)
    view = shrink(photo, recipe.size)
    if recipe.kind == 'photo':
        return [view]
    depth = next(teacher.targets([view]))['depth'].astype(np.float32)
    larger = (round(MARGIN * recipe.size[0]), round(MARGIN * recipe.size[1]))
    return photo_clip(shrink(photo, larger), at_size(depth, larger),
                      recipe.frames, recipe.size, np.random.default_rng(recipe.seed))


def _cropped(rgb: Picture, recipe: Recipe) -> Picture:
    """Cut the recipe's share out of the largest window of the network size's aspect."""
    rows, cols = rgb.shape[:2]
    aspect = recipe.size[0] / recipe.size[1]
    height, width = (rows, rows / aspect) if rows / aspect <= cols else (cols * aspect, cols)
    top, left, tall, wide = recipe.crop
    height, width = max(1, round(height * tall)), max(1, round(width * wide))
    y, x = round(top * (rows - height)), round(left * (cols - width))
    window = rgb[y:y + height, x:x + width]
    return np.ascontiguousarray(window[:, ::-1] if recipe.flip else window)
