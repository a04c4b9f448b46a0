"""Clips of made-up rooms and outdoor places, with exact depth: a small ray caster.

Metres; world axes as the camera's: x right, y down, z forward, the floor at y = 0.  A rotation
(3, 3) takes a solid's or the camera's own axes to the world's.  Nothing here is anyone's asset.

MuJoCo (4.0) renders such scenes too, and faster: a frame of 392x532 with depth, 20 textured solids
and a shadow took it 73 to 78 ms of CPU time with Mesa's software renderer, against 353 to 394 ms
here (three runs each, in turn, on two cores that were busy).  But pip alone does not make it
render: without libEGL, libOSMesa or a display, which are packages of the system, each of its three
ways to get an OpenGL context fails.  Training has to run where only pip can install something.
"""

from enum import Enum
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.lab.training.virtual_camera import draw_log, rotation, wander
from asyncmde_ros.model.geometry import Size

Picture = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]
Field = npt.NDArray[np.float32]

SAMPLES = 2
"""Rays per pixel and side; the image is their mean, the depth is the pixel centre's."""

TILE = 256
"""Side of a texture in texels."""

LEVELS = 7
TEXTURES = 12
FIELD_OF_VIEW_DEG = (45.0, 100.0)
PERIOD_FRAMES = (25.0, 400.0)
SHARE_OUTDOORS = 0.4
SHARE_MOVING = 0.6
"""Share of the clips in which solids move; in those, each does with a probability of its own."""

SHARE_WITH_SHADOWS = 0.7
CLEARANCE_M = 0.25
"""How near a solid may come to the camera."""

NEAREST_M = 0.02
OTHER_AXES = np.array([[2, 1], [0, 2], [0, 1]])


class Shape(Enum):
    """A solid's form; in its own axes it fills [-1, 1] times its half extents."""

    BOX = 'box'
    BALL = 'ball'
    TUBE = 'tube'


class Solid(NamedTuple):
    """Something in the world, with its pose in every frame."""

    shape: Shape
    half_m: Matrix
    """(3,) half extents."""
    places_m: Matrix
    """(frames, 3)"""
    turns: Matrix
    """(frames, 3, 3)"""
    texture: int
    tile_m: float
    """What one repetition of the texture measures."""
    hollow: bool = False
    """Seen from within: a room."""


class Light(NamedTuple):
    """The main light: a lamp, or the sun, far away."""

    place_m: Matrix
    power: float
    fades_m: float
    """Distance at which the power has halved."""
    ambient: float
    color: Matrix
    shadows: bool


class Scene(NamedTuple):
    """All that a frame is rendered from; the camera's and the solids' paths are as long."""

    size: Size
    focal_px: float
    places_m: Matrix
    """(frames, 3), the camera's."""
    turns: Matrix
    """(frames, 3, 3), the camera's."""
    solids: tuple[Solid, ...]
    atlas: Picture
    """What :func:`texture_atlas` returns; the last texture is the sky."""
    light: Light
    haze_m: float


class RenderedClip(NamedTuple):
    """Frames and what is known about them."""

    images: list[Picture]
    """(rows, cols, 3) uint8 RGB."""
    depth_m: list[Field]
    """(rows, cols), along the optical axis at the pixels' centres; infinite in the sky."""
    focal_px: float
    """Of a pinhole camera whose axis meets the image's middle."""
    places_m: Matrix
    """(frames, 3), of the camera in the world."""
    turns: Matrix
    """(frames, 3, 3), from the camera's axes to the world's."""


def rendered_clip(frames: int, size: Size, rng: np.random.Generator) -> RenderedClip:
    """Return a clip of ``size`` (rows, cols) in a random world, with exact depth."""
    scene = random_scene(frames, size, rng)
    exposure = 0.0
    images, depths = [], []
    for index in range(frames):
        light, depth = render(scene, index)
        if not exposure:
            exposure = rng.uniform(0.3, 0.9) / max(float(np.mean(light)), 1e-3)
        images.append(develop(light, exposure))
        depths.append(depth)
    return RenderedClip(images, depths, scene.focal_px, scene.places_m, scene.turns)


def develop(light: Field, exposure: float) -> Picture:
    """Return linear light (rows, cols, 3) as an 8-bit picture, highlights rolled off."""
    return np.rint(255 * (1 - np.exp(-exposure * light)) ** (1 / 2.2)).astype(np.uint8)


def render(scene: Scene, frame: int) -> tuple[Field, Field]:
    """Return linear light (rows, cols, 3) and depth (rows, cols), metres, of one frame."""
    turn, place = scene.turns[frame], scene.places_m[frame]
    depth = _trace(scene, frame, 1).depth
    shaded = _trace(scene, frame, SAMPLES)
    rows, cols = scene.size
    ahead = turn.astype(np.float32) @ _rays(scene, SAMPLES)
    lit = np.isfinite(shaded.depth).ravel()
    points = ahead * np.where(lit, shaded.depth.ravel(), 1) + place[:, None].astype(np.float32)
    light = scene.light
    to_light = light.place_m[:, None].astype(np.float32) - points
    distance = np.sqrt(np.einsum('ij,ij->j', to_light, to_light))
    lambert = np.einsum('ij,ij->j', shaded.normals, to_light) / np.maximum(distance, 1e-3)
    direct = light.power * np.maximum(lambert, 0) / (1 + (distance / light.fades_m) ** 2)
    if light.shadows:
        direct *= _sunlit(scene, frame, depth).ravel()
    # Light from above is stronger than from below, as under any sky or ceiling.
    ambient = light.ambient * (1 - 0.3 * shaded.normals[1])
    strength = ambient[:, None] + direct[:, None] * light.color.astype(np.float32)
    albedo = _colors(scene, shaded, ahead)
    image = np.where(lit[:, None], albedo * strength, 1.5 * albedo * (light.ambient + 0.5))
    if np.isfinite(scene.haze_m):
        haze = 1 - np.exp(-np.where(lit, shaded.depth.ravel(), 0) / np.float32(scene.haze_m))
        image += haze[:, None] * (np.float32(0.7 * (light.ambient + 0.5)) - image)
    image = image.reshape(rows * SAMPLES, cols * SAMPLES, 3)
    averaged = cv2.resize(image, (cols, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(averaged, np.float32), depth


def texture_atlas(count: int, rng: np.random.Generator) -> Picture:
    """Return ``count`` random tiles below one another, each with its smaller levels beside it.

    Every level has a border of one texel that continues it.  The last tile is a sky.
    """
    rows = []
    for index in range(count):
        level, parts = (_sky(rng) if index == count - 1 else texture(rng)), []
        for _ in range(LEVELS):
            padded = cv2.copyMakeBorder(level, 1, 1, 1, 1, cv2.BORDER_WRAP)
            parts.append(np.pad(padded, ((0, TILE + 2 - len(padded)), (0, 0), (0, 0))))
            level = np.asarray(cv2.resize(level, None, fx=0.5, fy=0.5,
                                          interpolation=cv2.INTER_AREA), np.uint8)
        rows.append(np.hstack(parts))
    return np.vstack(rows)


def texture(rng: np.random.Generator) -> Picture:
    """Return a random pattern (TILE, TILE, 3) of albedo whose opposite sides continue."""
    noise, fine = _noise(rng.uniform(1, 2.2), rng), _noise(rng.uniform(0.3, 1.2), rng)
    y, x = np.mgrid[:TILE, :TILE] / TILE
    bent = rng.uniform(0, 0.12) * rng.integers(2) * noise
    kind, across, down = rng.integers(6), rng.integers(1, 9), rng.integers(1, 9)
    if kind == 0:
        field = 0.5 + 0.25 * noise
    elif kind == 1:
        field = 0.5 + rng.uniform(0.5, 3) * np.sin(2 * np.pi * (across * x + down * y + bent))
    elif kind == 2:
        field = (np.floor(2 * across * (x + bent)) + np.floor(2 * down * (y + bent))) % 2
    elif kind == 3:
        row = np.floor(2 * down * y)
        joint = 0.04 * max(across, down)
        field = ((((across * x + 0.5 * row) % 1) > joint)
                 & (((2 * down * y) % 1) > 2 * joint)).astype(np.float64)
    elif kind == 4:
        field = rng.uniform(2, 8) * (noise - rng.uniform(-1, 1)) + 0.5
    else:
        field = (rng.integers(2, 5) * (0.5 + 0.25 * noise)) % 1
    field = np.clip(field, 0, 1)[..., None]
    first, second = rng.uniform(0.03, 0.9, (2, 3)) ** rng.uniform(0.7, 2)
    if rng.random() < 0.5:  # most surfaces have one colour, more or less
        second = np.clip(first * rng.uniform(0.5, 1.6), 0, 1)
    grey = rng.random()
    color = first + field * (second - first)
    color = grey * color.mean(-1, keepdims=True) + (1 - grey) * color
    color *= 1 + rng.uniform(0.02, 0.3) * fine[..., None]
    return np.rint(255 * np.clip(color, 0.01, 1)).astype(np.uint8)


def random_scene(frames: int, size: Size, rng: np.random.Generator) -> Scene:
    """Return a random world and a camera's path through it."""
    outdoors = rng.random() < SHARE_OUTDOORS
    view = np.deg2rad(rng.uniform(*FIELD_OF_VIEW_DEG))
    half_room = (np.array([500.0, 0.0, 500.0]) if outdoors
                 else np.array([rng.uniform(1.5, 6), rng.uniform(1.1, 2), rng.uniform(1.5, 7)]))
    period = draw_log(*PERIOD_FRAMES, rng)
    heading = rng.uniform(0, 2 * np.pi)
    angles = rng.random(3) * np.array([0.2, 0.9, 0.1]) * wander(frames, 3, period, rng)
    angles += 0.006 * rng.random() * wander(frames, 3, 7, rng)
    angles += np.array([rng.uniform(-0.45, 0.15), heading, 0])
    turns = np.stack([rotation((0, yaw, 0)) @ rotation((pitch, 0, 0)) @ rotation((0, 0, roll))
                      for pitch, yaw, roll in angles])
    reach = 2.0 if outdoors else 0.6 * float(half_room.min())
    places = rng.random(3) * np.array([1, 0.3, 1]) * reach * wander(frames, 3, period, rng)
    speed = rng.integers(2) * rng.uniform(0, 0.3 if outdoors else 0.05)
    drive = speed * (np.arange(frames)[:, None] - frames / 2)
    places += drive * np.array([np.sin(heading), 0, np.cos(heading)])
    height = rng.uniform(0.25, 3) if outdoors else rng.uniform(0.15, 0.85) * 2 * half_room[1]
    places[:, 1] = -np.maximum(height + places[:, 1], 0.1)
    if outdoors:
        solids = [_still(Shape.BOX, (500, 5, 500), (0, 5, 0), 0, rng.uniform(1, 8), frames)]
    else:
        start = rng.uniform(-0.5, 0.5, 2) * half_room[[0, 2]]
        limit = 0.9 * half_room[[0, 2]]
        places[:, [0, 2]] = limit * np.tanh((places[:, [0, 2]] + start) / limit)
        ceiling = 2 * half_room[1]
        places[:, 1] = np.maximum(places[:, 1], 0.1 - ceiling)
        solids = _room(half_room, frames, rng)
    solids += _clutter(places, heading, half_room, outdoors, rng)
    return Scene(size, size[1] / (2 * np.tan(view / 2)), places, turns, tuple(solids),
                 texture_atlas(TEXTURES, rng), _light(half_room, outdoors, rng),
                 draw_log(30, 1000, rng) if outdoors else np.inf)


class _Traced(NamedTuple):
    # Per ray: depth (rows, cols); of what it meets, the normal (3, rays) in the world, the place
    # in the texture (2, rays), repetitions, the texture's index, and texels per ray.
    depth: Field
    normals: Field
    place: Field
    texture: npt.NDArray[np.int32]
    texels: Field


def _trace(scene: Scene, frame: int, samples: int) -> _Traced:
    rows, cols = scene.size[0] * samples, scene.size[1] * samples
    focal = scene.focal_px * samples
    camera, eye = scene.turns[frame], scene.places_m[frame]
    rays = _rays(scene, samples).reshape(3, rows, cols)
    count = rows * cols
    traced = _Traced(np.full((rows, cols), np.inf, np.float32), np.zeros((3, count), np.float32),
                     np.zeros((2, count), np.float32), np.full(count, TEXTURES - 1, np.int32),
                     np.ones(count, np.float32))
    numbers = np.arange(count).reshape(rows, cols)
    # Backwards: the walls come first in a scene, and what is hidden need not be worked out.
    for solid in reversed(scene.solids):
        turn, place = solid.turns[frame], solid.places_m[frame]
        part = _bounds(solid, camera.T @ (place - eye), focal, (rows, cols))
        if part is None:
            continue
        scale = (turn / solid.half_m).T  # from the world's axes to the solid's, half extents 1
        origin = (scale @ (eye - place)).astype(np.float32)[:, None]
        heads = (scale @ camera).astype(np.float32) @ rays[(slice(None), *part)].reshape(3, -1)
        near, far = _crossings(solid.shape, origin, heads)
        meets = (near <= far) & (far > NEAREST_M)
        depth = far if solid.hollow else near
        front = meets & (depth > NEAREST_M) & (depth < traced.depth[part].ravel())
        if not front.any():
            continue
        index, depth = numbers[part].ravel()[front], depth[front]
        traced.depth.ravel()[index] = depth
        if samples == 1:  # only the depth is wanted
            continue
        local = origin + depth * heads[:, front]
        axis = np.abs(local).argmax(0)
        at = np.arange(len(axis))
        if solid.shape is Shape.BOX:
            normal = np.zeros_like(local)
            normal[axis, at] = np.sign(local[axis, at]) * (-1 if solid.hollow else 1)
        else:
            normal = local / solid.half_m[:, None].astype(np.float32)
            if solid.shape is Shape.TUBE:
                normal[1] *= axis == 1
                normal[[0, 2]] *= axis != 1
            normal /= np.maximum(np.sqrt(np.einsum('ij,ij->j', normal, normal)), 1e-6)
        normal = turn.astype(np.float32) @ normal
        traced.normals[:, index] = normal
        measured = local * (solid.half_m[:, None] / solid.tile_m).astype(np.float32)
        traced.place[:, index] = measured[OTHER_AXES[axis].T, at]
        # Seen at a slant, a ray's footprint is longer; the square root is between too blurred
        # across and too sharp along.
        ray = camera.astype(np.float32) @ rays.reshape(3, -1)[:, index]
        slant = np.maximum(np.abs(np.einsum('ij,ij->j', normal, ray)), 0.01) ** 0.5
        traced.texture[index] = solid.texture
        traced.texels[index] = depth * (TILE / (focal * solid.tile_m)) / slant
    return traced


def _crossings(shape: Shape, origin: Field, heads: Field) -> tuple[Field, Field]:
    # Where rays enter and leave the unit shape; they miss it where that is the wrong way round.
    if shape is Shape.BOX:
        return _slabs(origin, heads)
    if shape is Shape.BALL:
        return _quadratic(origin, heads)
    near, far = _quadratic(origin[[0, 2]], heads[[0, 2]])
    top, bottom = _slabs(origin[1:2], heads[1:2])
    return np.maximum(near, top), np.minimum(far, bottom)


def _slabs(origin: Field, heads: Field) -> tuple[Field, Field]:
    inverse = 1 / np.where(np.abs(heads) < 1e-9, np.float32(1e-9), heads)
    middle, half = -origin * inverse, np.abs(inverse)
    return (middle - half).max(0), (middle + half).min(0)


def _quadratic(origin: Field, heads: Field) -> tuple[Field, Field]:
    a = np.maximum(np.einsum('ij,ij->j', heads, heads), 1e-12)
    middle = -np.einsum('ij,ij->j', np.broadcast_to(origin, heads.shape), heads) / a
    # From the point nearest to the centre: the textbook discriminant cancels at a distance.
    nearest = origin + middle * heads
    inside = (1 - np.einsum('ij,ij->j', nearest, nearest)) / a
    half = np.sqrt(np.maximum(inside, 0))
    hit = inside > 0
    return np.where(hit, middle - half, np.inf), np.where(hit, middle + half, -np.inf)


def _sunlit(scene: Scene, frame: int, depth: Field) -> Field:
    # The share of the main light that arrives, computed per pixel, spread over its samples.
    rows, cols = scene.size
    seen = np.isfinite(depth).ravel()
    points = (scene.turns[frame].astype(np.float32) @ _rays(scene, 1)[:, seen]
              * depth.ravel()[seen] + scene.places_m[frame][:, None].astype(np.float32))
    heads = scene.light.place_m[:, None].astype(np.float32) - points
    distance = np.sqrt(np.einsum('ij,ij->j', heads, heads))
    blocked = np.zeros(len(distance), bool)
    for solid in scene.solids:
        if solid.hollow:
            continue
        scale = (solid.turns[frame] / solid.half_m).T.astype(np.float32)
        place = solid.places_m[frame][:, None].astype(np.float32)
        near, far = _crossings(solid.shape, scale @ (points - place), scale @ heads)
        # A surface is within rounding of itself.
        start = (0.004 + 0.002 * depth.ravel()[seen]) / np.maximum(distance, 1e-3)
        blocked |= (near <= far) & (far > start) & (near < 1)
    arrives = np.ones(rows * cols, np.float32)
    arrives[seen] = 1 - blocked
    return np.asarray(cv2.resize(arrives.reshape(rows, cols), (cols * SAMPLES, rows * SAMPLES),
                                 interpolation=cv2.INTER_LINEAR), np.float32)


def _colors(scene: Scene, traced: _Traced, ahead: Field) -> Field:
    # Albedo (rays, 3) in [0, 1], from the atlas level that has about one texel a ray.
    place, level = traced.place, np.log2(np.maximum(traced.texels, 1e-6))
    sky = ~np.isfinite(traced.depth).ravel()
    place[:, sky] = 0.15 * ahead[[0, 2]][:, sky] / (np.abs(ahead[1, sky]) + 0.2)
    level = np.clip(np.rint(level), 0, LEVELS - 1).astype(np.int32)
    side = (TILE >> level).astype(np.float32)
    start = np.cumsum([0] + [(TILE >> step) + 2 for step in range(LEVELS - 1)])
    across, down = (place - np.floor(place)) * side + np.float32(0.5)
    x = across + start.astype(np.float32)[level]
    y = down + (traced.texture * (TILE + 2)).astype(np.float32)
    shape = traced.depth.shape
    colors = cv2.remap(scene.atlas, x.reshape(shape), y.reshape(shape), cv2.INTER_LINEAR)
    return colors.reshape(-1, 3) * np.float32(1 / 255)


def _rays(scene: Scene, samples: int) -> Field:
    # (3, rays) in the camera's axes, z = 1: a ray's parameter is its depth.
    axes = [((np.arange(side * samples) + 0.5) / samples - side / 2) / scene.focal_px
            for side in scene.size]
    down, across = np.meshgrid(*axes, indexing='ij')
    return np.stack([across, down, np.ones_like(down)]).reshape(3, -1).astype(np.float32)


def _bounds(solid: Solid, center: Matrix, focal: float,
            size: Size) -> tuple[slice, slice] | None:
    # The part of the image in which a solid's bounding sphere can be; None if in none.
    radius = float(np.linalg.norm(solid.half_m))
    if center[2] < -radius:
        return None
    if center[2] < 1.05 * radius + NEAREST_M:
        return slice(0, size[0]), slice(0, size[1])
    spans = []
    for along, side in ((center[1], size[0]), (center[0], size[1])):
        tangents = [(along + sign * radius) / (center[2] + other * radius)
                    for sign in (-1, 1) for other in (-1, 1)]
        low = int(np.floor(np.clip(side / 2 + focal * min(tangents), 0, side)))
        high = int(np.ceil(np.clip(side / 2 + focal * max(tangents), 0, side)))
        if low >= high:
            return None
        spans.append(slice(low, high))
    return spans[0], spans[1]


def _still(shape: Shape, half: npt.ArrayLike, place: npt.ArrayLike, pattern: int, tile: float,
           frames: int, hollow: bool = False) -> Solid:
    return Solid(shape, np.asarray(half, np.float64), np.tile(np.asarray(place), (frames, 1)),
                 np.tile(np.eye(3), (frames, 1, 1)), pattern, tile, hollow)


def _room(half: Matrix, frames: int, rng: np.random.Generator) -> list[Solid]:
    center = np.array([0, -half[1], 0])
    solids = [_still(Shape.BOX, half, center, 0, rng.uniform(1, 5), frames, hollow=True)]
    # Thin slabs give floor, ceiling and some walls textures of their own.
    for axis, sign, pattern in ((1, 1, 1), (1, -1, 2), (0, 1, 3), (2, -1, 4)):
        if rng.random() < 0.8:
            slab, place = half.copy(), center.copy()
            slab[axis] = 0.01
            place[axis] += sign * half[axis]
            solids.append(_still(Shape.BOX, slab, place, pattern, rng.uniform(0.5, 4), frames))
    return solids


def _clutter(camera: Matrix, heading: float, half_room: Matrix, outdoors: bool,
             rng: np.random.Generator) -> list[Solid]:
    frames, solids = len(camera), []
    moving = rng.random() < SHARE_MOVING
    often = rng.uniform(0.2, 0.9)
    far = 40.0 if outdoors else float(np.hypot(half_room[0], half_room[2]))
    largest = 6.0 if outdoors else 0.45 * float(half_room[[0, 2]].min())
    for _ in range(rng.integers(4, 36)):
        half = draw_log(0.05, largest, rng) * rng.uniform(0.25, 1, 3)
        direction = heading + rng.normal(0, 0.8)
        distance = draw_log(0.5, far, rng)
        middle = camera[frames // 2] + distance * np.array([np.sin(direction), 0,
                                                            np.cos(direction)])
        if not outdoors:
            middle[[0, 2]] = np.clip(middle[[0, 2]], -half_room[[0, 2]], half_room[[0, 2]])
        floats = rng.random() < 0.25
        top = 6.0 if outdoors else 2 * half_room[1]
        middle[1] = -half[1] - (rng.uniform(0, top) if floats else 0)
        turns = np.array([0, rng.uniform(0, 2 * np.pi), 0]) + np.zeros((frames, 3))
        places = np.tile(middle, (frames, 1))
        if floats:
            turns += rng.uniform(-1, 1, 3)
        if moving and rng.random() < often:
            period = draw_log(*PERIOD_FRAMES, rng)
            lift = 0.4 if floats else 0.0
            extent = rng.random(3) * np.array([1, lift, 1]) * (3 if outdoors else 1.2)
            places += extent * wander(frames, 3, period, rng)
            turns += rng.random() * np.array([lift, 2, lift]) * wander(frames, 3, period, rng)
        apart = float(np.linalg.norm(places - camera, axis=1).min())
        if apart > CLEARANCE_M + float(np.linalg.norm(half)):
            shape = (Shape.BOX, Shape.BOX, Shape.BALL, Shape.TUBE)[rng.integers(4)]
            solids.append(Solid(
                shape, half, places, np.stack([rotation(turn) for turn in turns]),
                int(rng.integers(TEXTURES - 1)), float(half.mean() * draw_log(0.5, 4, rng))))
    return solids


def _light(half_room: Matrix, outdoors: bool, rng: np.random.Generator) -> Light:
    if outdoors:
        sun = rng.normal(size=3) * (1, 0, 1) + (0, -rng.uniform(0.3, 2), 0)
        place, fades = 5000 * sun / np.linalg.norm(sun), 1e6
    else:
        place = rng.uniform(-0.8, 0.8, 3) * half_room
        place[1] = -rng.uniform(1.3, 1.95) * half_room[1]
        fades = rng.uniform(1, 8)
    return Light(place, rng.uniform(0.6, 2.5), fades, draw_log(0.05, 0.6, rng),
                 rng.uniform(0.7, 1, 3), bool(rng.random() < SHARE_WITH_SHADOWS))


def _sky(rng: np.random.Generator) -> Picture:
    clear = np.array([rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.9)])
    clouds = np.clip(rng.uniform(0, 1) + rng.uniform(0, 0.5) * _noise(1.7, rng), 0, 1)[..., None]
    color = clear + clouds * (rng.uniform(0.6, 0.95) - clear)
    return np.rint(255 * color).astype(np.uint8)


def _noise(slope: float, rng: np.random.Generator) -> Matrix:
    # (TILE, TILE), mean 0, deviation 1, amplitude falling with frequency to the power ``slope``.
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)) * TILE
    spectrum = np.fft.rfft2(rng.normal(size=(TILE, TILE))) / np.maximum(frequency, 1) ** slope
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, (TILE, TILE))
    return field / field.std()
