"""What a robot's camera does to its images, on a clip: light, colour, blur, noise, compression.

Geometry is never changed, so that depth which a teacher gave for the clean frames stays true.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt

RGB = npt.NDArray[np.uint8]

GAMMA = 2.2
"""Of the images' encoding: gains are of light, and a gain g of light is g ** (1 / GAMMA) here."""

DRIFT_FRAMES = 12
"""A drift goes from one random value to the next in so many frames: 0.4 s at 30 Hz, about what
automatic exposure takes."""

BLUR_TURN = np.pi / 6
"""How far, in radians, the direction of motion blur turns over a clip, to either side."""

MAX_STRENGTH = 2.0
SUBPIXELS = 4
"""Points per pixel of which a blur kernel's line is made."""

_GREY = 127.5
_NOISE_SHIFTS = 1 << 15
"""Places in a clip's noise at which a frame's own noise can start."""

# Luma and two axes of chroma; hue and saturation turn and stretch the latter.  Source: NTSC's YIQ.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


@dataclass(frozen=True)
class Appearance:
    """How often, per clip, and how much at most; every clip draws its own amount.

    Probabilities lie in [0, 1]; ``strength`` in [0, 2] multiplies the amounts, and 0 changes
    nothing.  Amounts, drawn from plus to minus the value unless it says otherwise:
    ``brightness`` and ``exposure`` (which drifts) in stops, ``contrast``, ``saturation`` and
    ``white_balance`` (red and blue against green, drifting) in octaves, ``hue`` in degrees.
    ``blur`` is the longest motion blur as a share of the image's short side.  ``read_noise`` and
    ``shot_noise`` are the largest standard deviations, in grey levels: everywhere, and of white,
    where shot noise is at its most.  ``jpeg_quality`` is (lowest, highest), of 1 to 100.
    """

    strength: float = 1.0
    colour_probability: float = 0.8
    brightness: float = 0.6
    contrast: float = 0.3
    saturation: float = 0.5
    hue: float = 8.0
    exposure_probability: float = 0.4
    exposure: float = 0.8
    white_balance_probability: float = 0.4
    white_balance: float = 0.25
    blur_probability: float = 0.3
    blur: float = 0.035
    noise_probability: float = 0.5
    read_noise: float = 4.0
    shot_noise: float = 8.0
    jpeg_probability: float = 0.4
    jpeg_quality: tuple[int, int] = (35, 95)

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, for a value out of its range."""
        for name, top in _LARGEST.items():
            if not 0 <= getattr(self, name) <= top:
                raise ValueError(f'{name} must be in [0, {top:g}], not {getattr(self, name)}')
        quality = self.jpeg_quality
        if len(quality) != 2 or not 1 <= quality[0] <= quality[1] <= 100:
            raise ValueError('jpeg_quality must be two numbers, 1 <= low <= high <= 100, not '
                             f'{list(quality)}')


_LARGEST = {'strength': MAX_STRENGTH, 'brightness': 2, 'contrast': 1, 'saturation': 2, 'hue': 90,
            'exposure': 2, 'white_balance': 1, 'blur': 0.2, 'read_noise': 32, 'shot_noise': 64,
            **{field.name: 1 for field in fields(Appearance)
               if field.name.endswith('_probability')}}


def augment(frames: Sequence[RGB], settings: Appearance, rng: np.random.Generator) -> list[RGB]:
    """Return new frames, (H, W, 3) uint8 as the given ones, which share one size.

    In a camera's order: motion blur, exposure and colour, noise, compression.
    """
    out = [frame.copy() for frame in frames]
    if not out or not settings.strength:
        return out
    if rng.random() < settings.blur_probability:
        length = settings.strength * settings.blur * min(out[0].shape[:2])
        kernels = _blur_kernels(len(out), length, rng)
        out = [_uint8(cv2.filter2D(frame, -1, kernel)) if kernel.size > 1 else frame
               for frame, kernel in zip(out, kernels, strict=True)]
    colours = _colours(len(out), settings, rng)
    if colours is not None:
        out = [_uint8(cv2.transform(frame, matrix))
               for frame, matrix in zip(out, colours, strict=True)]
    if rng.random() < settings.noise_probability:
        out = _with_noise(out, settings, rng)
    if rng.random() < settings.jpeg_probability:
        loss = settings.strength * (100 - rng.uniform(*settings.jpeg_quality))
        out = [_compressed(frame, max(1, round(100 - loss))) for frame in out]
    return out


def _drift(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return (count,) in [-1, 1] that vary smoothly: random values, cosines between them."""
    time = rng.random() + np.arange(count) / DRIFT_FRAMES
    values = rng.uniform(-1, 1, int(time[-1]) + 2)
    before = time.astype(int)
    share = (1 - np.cos(np.pi * (time - before))) / 2
    return values[before] * (1 - share) + values[before + 1] * share


def _blur_kernels(count: int, longest: float,
                  rng: np.random.Generator) -> list[npt.NDArray[np.float32]]:
    """Return a kernel per frame: as the camera moves and rests, the blur comes and goes."""
    angles = rng.uniform(0, np.pi) + BLUR_TURN * _drift(count, rng)
    lengths = longest * np.maximum(_drift(count, rng), 0)
    # Every blurred clip has some: of short ones, half would have none.
    if not lengths.any():
        lengths = np.full(count, longest * rng.random())
    return [_line(length, angle) for length, angle in zip(lengths, angles, strict=True)]


def _line(length: float, angle: float) -> npt.NDArray[np.float32]:
    """Return a kernel of sum 1: a line in px and radians through its centre, antialiased.

    Only as large as the line is: OpenCV skips its zeros, and takes small kernels the fast way.
    """
    along = np.linspace(-length / 2, length / 2, round(SUBPIXELS * length) + 2)
    x, y = along * np.cos(angle), along * np.sin(angle)
    columns, rows = (int(np.ceil(np.abs(v).max() - 1e-6)) for v in (x, y))
    kernel = np.zeros((2 * rows + 1, 2 * columns + 1))
    for row in range(-rows, rows + 1):
        for column in range(-columns, columns + 1):
            near = np.maximum(1 - np.abs(x - column), 0) * np.maximum(1 - np.abs(y - row), 0)
            kernel[row + rows, column + columns] = near.sum()
    return (kernel / kernel.sum()).astype(np.float32)


def _colours(count: int, settings: Appearance,
             rng: np.random.Generator) -> npt.NDArray[np.float64] | None:
    """Return an affine map of RGB in 0..255 for each frame, (count, 3, 4); None: no change."""
    jitter, exposure, balance = (
        rng.random(3) < (settings.colour_probability, settings.exposure_probability,
                         settings.white_balance_probability))
    if not (jitter or exposure or balance):
        return None
    strength = settings.strength
    stops = np.zeros((count, 3))
    colour, contrast = np.eye(3), 1.0
    if jitter:
        brightness, contrast, saturation, hue = strength * rng.uniform(-1, 1, 4) * (
            settings.brightness, settings.contrast, settings.saturation, settings.hue)
        stops += brightness
        contrast = 2 ** contrast
        cos, sin = 2 ** saturation * np.array([np.cos(np.radians(hue)), np.sin(np.radians(hue))])
        colour = _FROM_YIQ @ [[1, 0, 0], [0, cos, -sin], [0, sin, cos]] @ _TO_YIQ
    if exposure:
        stops += strength * settings.exposure * _drift(count, rng)[:, None]
    if balance:
        for channel in (0, 2):
            stops[:, channel] += strength * settings.white_balance * _drift(count, rng)
    linear = contrast * colour * 2 ** (stops / GAMMA)[:, None]
    return np.concatenate([linear, np.full((count, 3, 1), _GREY * (1 - contrast))], axis=2)


def _with_noise(frames: Sequence[RGB], settings: Appearance,
                rng: np.random.Generator) -> list[RGB]:
    """Add read and shot noise: a standard deviation of sqrt(read^2 + shot^2 * grey / white)."""
    read, shot = settings.strength * rng.random(2) * (settings.read_noise, settings.shot_noise)
    deviation = np.sqrt(read ** 2 + shot ** 2 * np.arange(256) / 255).astype(np.float32)
    # Drawn once for the clip, which is most of the time; every frame starts elsewhere in it.
    normal = rng.standard_normal(frames[0].size + _NOISE_SHIFTS, np.float32)
    starts = rng.integers(_NOISE_SHIFTS, size=len(frames))
    noisy = []
    for frame, start in zip(frames, starts, strict=True):
        noise = cv2.LUT(frame, deviation)
        noise = cv2.multiply(noise, normal[start:start + frame.size].reshape(frame.shape))
        noisy.append(_uint8(cv2.add(frame, noise, dtype=cv2.CV_8U)))
    return noisy


def _compressed(frame: RGB, quality: int) -> RGB:
    _, data = cv2.imencode('.jpg', cv2.cvtColor(frame, cv2.COLOR_RGB2BGR),
                           [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _uint8(cv2.cvtColor(_uint8(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB))


def _uint8(image: npt.ArrayLike | None) -> RGB:
    """Tell the type checker what OpenCV's own declarations leave open; nothing is copied."""
    return np.asarray(image, np.uint8)
