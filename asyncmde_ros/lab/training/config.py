"""What a training run is: every choice in one file, checked before anything slow starts."""

import dataclasses
import math
import sys
import types
import typing
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.training.augment import Appearance
from asyncmde_ros.lab.training.quality import Thresholds
from asyncmde_ros.model.config import CONFIGS, DECODERS, DEFAULT_MODEL
from asyncmde_ros.model.geometry import PATCH, Size, parse_size
from asyncmde_ros.pipeline.settings import MotionCompensation, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENCODER_WIDTHS = (0.75, 1.0)
MEMORIES = ('foundation', 'encoder', 'none')
GATES = ('full', 'level1', 'level4')
WHOLE = ('sizes', 'shares')
"""Tables that are one value: a new one replaces the old, entry for entry."""

KINDS = ('photo', 'video', 'virtual', 'rendered')
"""Of clips."""


class ConfigError(AsyncMDEError):
    """A training configuration that cannot be used; names the key."""


@dataclass(frozen=True)
class Range:
    """Which finite numbers a setting takes: from ``low``, or above it, to ``high``."""

    low: float
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (self.low <= value <= self.high and value < math.inf
                and not (self.above and value == self.low))

    def __str__(self) -> str:
        if self.high < math.inf:
            return f'in [{self.low}, {self.high}]'
        return f'a finite number {"above" if self.above else "of at least"} {self.low}'


_MOST = 2**31 - 1
_SHARE, _POSITIVE, _NOT_NEGATIVE = Range(0, 1), Range(0, above=True), Range(0)
_COUNT, _COUNT_OR_NONE = Range(1, _MOST), Range(0, _MOST)
RANGES = {
    'seed': Range(0, 2**63 - 1),
    'validation_minutes': _NOT_NEGATIVE, 'checkpoint_minutes': _NOT_NEGATIVE,
    **{f'data.{name}': _SHARE for name in (
        'validation_share', 'gate_share', 'crop_min', 'frame_drop', 'reverse', 'quality.valid',
        'quality.distribution', 'quality.continuity')},
    **{f'data.{name}': _COUNT for name in ('segment_frames', 'video_every', 'virtual_frames',
                                           'rendered_frames')},
    **{f'data.{name}': _COUNT_OR_NONE for name in ('photo_views', 'virtual_clips',
                                                   'rendered_clips')},
    'model.encoder_width': _POSITIVE, 'model.initial_trust': _SHARE,
    'unroll.frames': Range(2, _MOST), 'unroll.max_delay': _COUNT_OR_NONE, 'unroll.beta': _SHARE,
    'unroll.k': _POSITIVE, 'unroll.decoded_frames': _COUNT,
    **{f'loss.{name}': _NOT_NEGATIVE for name in ('ssi', 'gradient', 'memory', 'relative', 'fused',
                                                  'observed', 'alone')},
    # What errors are divided by is this and more, or, of a still camera, this alone.
    'loss.tau': _SHARE, 'loss.relative_corrected': _POSITIVE,
    **{f'optimiser.{name}': _POSITIVE for name in ('rate', 'gradient_clip')},
    **{f'optimiser.{name}': _NOT_NEGATIVE for name in (
        'encoder_rate', 'gate_rate', 'clip_rate_share', 'weight_decay', 'distil_rate',
        'decoder_rate')},
    'optimiser.warmup_steps': _COUNT_OR_NONE, 'student.warmup_steps': _COUNT_OR_NONE,
    **{f'student.{name}': _COUNT for name in ('shrink', 'rank', 'batch')},
    **{f'student.{name}': _POSITIVE for name in ('rate', 'gradient_clip')},
    **{f'student.{name}': _NOT_NEGATIVE for name in ('head_rate', 'other_rate', 'weight_decay',
                                                     'gradient', 'scale')},
    **{f'student.{name}': _SHARE for name in ('final_rate_share', 'average', 'crop_share')},
    'student.crop_min': Range(0, 1, above=True),
    **{f'optimiser.{name}': _SHARE for name in ('final_rate_share', 'average', 'decoder_share',
                                                'frame_encoder_share')},
    **{f'optimiser.{name}': _COUNT
       for name in ('frame_encoder_batch', 'frame_encoder_decoded', 'batch')},
}
"""Of every number, but for those of data.appearance, which checks its own."""


@dataclass(frozen=True)
class DataConfig:
    """Which clips there are.

    ``sizes`` are network sizes and their weights; a source is cropped to the aspect of its size.
    ``licences`` keeps only sources whose licence in videos.csv or photos.csv contains one of
    these texts and none of ``licences_without``; empty keeps all.  Of the videos one frame in
    ``video_every`` is kept.

    ``gate_share`` of the videos, of the photos that a virtual camera moves over and of what is
    rendered are kept from the frame encoder: the gates have to learn how good it is on what it
    never saw.
    """

    sizes: dict[str, float] = field(default_factory=lambda: {'252x336': 0.75, '196x252': 0.25})
    crop_min: float = 0.75
    segment_frames: int = 32
    videos: bool = True
    video_every: int = 1
    photo_views: int = 2
    virtual_clips: int = 200
    virtual_frames: int = 16
    rendered_clips: int = 80
    rendered_frames: int = 16
    licences: tuple[str, ...] = ()
    licences_without: tuple[str, ...] = ()
    validation_share: float = 0.1
    gate_share: float = 0.4
    frame_steps: tuple[int, ...] = (1, 1, 1, 2, 3)
    frame_drop: float = 0.05
    reverse: float = 0.5
    quality: Thresholds = Thresholds()
    appearance: Appearance = Appearance()


@dataclass(frozen=True)
class ModelChoice:
    """Which network: the foundation model's name, and what of the fast network is varied.

    ``memory`` and ``gates`` are the paper's table V: a memory from the ``foundation`` model, from
    the ``encoder`` itself or ``none``; both gates, or one of them.  ``correction`` (ours): what
    the light features lacked in the keyframe is added to every observation.  ``decoder``: the
    foundation model's (``dpt``), or one distilled from it (``light``).
    """

    name: str = DEFAULT_MODEL
    encoder_width: float = 0.75
    projector_context: bool = True
    decoder: str = 'light'
    correction: bool = True
    memory: str = 'foundation'
    gates: str = 'full'
    initial_trust: float = 0.9


FOOTAGE_MOTION = ('off', 'homography', 'image')
"""How footage can be followed; it has no IMU."""


@dataclass(frozen=True)
class UnrollConfig:
    """How the memory is carried through a clip.

    ``decoded_frames`` of each clip, drawn anew, give depth to compare; all give features.
    """

    frames: int = 10
    max_delay: int = 4
    beta: float = Settings.temporal_smoothing
    k: float = Settings.gate_temperature
    motion: MotionCompensation = Settings.motion_compensation
    decoded_frames: int = 3


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses.

    ``ssi``, ``gradient``, ``memory`` and ``tau`` are eqs. 11-14.  With ``relative`` above 0 eq. 11
    of a clip's frame is divided by ``relative`` plus what the first frame's depth, warped, would
    score there: so that a still camera's small errors count, too.  ``fused`` and ``observed`` are
    ours: smooth L1 of O_l and Phi_l to the foundation model's own M_l of that frame; ``alone`` is
    eq. 11 for the depth of Phi without memory.  In pairs of frames the losses are those of Phi
    with what it lacked in the first one, eq. 11 relative in the same way to
    ``relative_corrected``.
    """

    ssi: float = 1.0
    gradient: float = 0.5
    memory: float = 0.1
    tau: float = 0.4
    relative: float = 0.02
    fused: float = 0.0
    observed: float = 0.25
    alone: float = 0.25
    relative_corrected: float = 0.1


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW with a warm-up and a cosine over each of three phases.

    ``decoder_share`` of the budget goes to the decoder, at ``distil_rate`` times the rate: it
    learns the foundation model's depth from its features.  ``frame_encoder_share`` goes to
    encoder and projector alone, before clips (``batch``) train all: on single frames
    (``frame_encoder_batch``, of which ``frame_encoder_decoded`` are decoded and the others give
    only features to compare) and, in three of four steps, on pairs of frames (half as many), of
    which the first is a keyframe for the second.

    Encoder, gates and decoder learn at ``encoder_rate``, ``gate_rate`` and ``decoder_rate`` times
    the rate; with 0 the decoder learns in the first phase only.  In the clips the frame encoder
    slows down to ``clip_rate_share``; 0 freezes it.  Validated and kept is an exponential average
    of the weights: each step ``average`` of it stays.
    """

    rate: float = 6e-4
    encoder_rate: float = 0.2
    gate_rate: float = 0.1
    final_rate_share: float = 0.02
    clip_rate_share: float = 0.0
    average: float = 0.995
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    warmup_steps: int = 50
    decoder_share: float = 0.15
    distil_rate: float = 0.1
    frame_encoder_share: float = 0.55
    frame_encoder_batch: int = 16
    frame_encoder_decoded: int = 8
    batch: int = 4
    decoder_rate: float = 0.0


@dataclass(frozen=True)
class StudentConfig:
    """The foundation model, adapted to see with few tokens; its targets are its own depth.

    A picture's sides, those of ``data.sizes``, are divided by ``shrink`` for the student.  The
    transformer's linear layers learn differences of ``rank`` at ``rate``, the decoding head
    all of its weights at ``head_rate`` times that, and what else there is (patch embedding,
    norms, biases) at ``other_rate`` times that.  ``shares``: how often each kind of clip is
    drawn.  In ``crop_share`` of the pictures only a window is seen, of sides of at least
    ``crop_min``.  The losses are L1 after the median and the mean deviation are taken out,
    ``gradient`` times that of gradients, and ``scale`` times L1 in the teacher's own scale.
    """

    shrink: int = 2
    rank: int = 16
    batch: int = 8
    rate: float = 1e-4
    head_rate: float = 0.3
    other_rate: float = 0.2
    warmup_steps: int = 100
    final_rate_share: float = 0.02
    average: float = 0.99
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    shares: dict[str, float] = field(
        default_factory=lambda: {'photo': 0.4, 'video': 0.3, 'rendered': 0.3})
    crop_share: float = 0.5
    crop_min: float = 0.6
    gradient: float = 0.5
    scale: float = 0.2


@dataclass(frozen=True)
class TrainConfig:
    """A whole run; ``seed`` fixes every draw.

    With ``student`` that is trained, and the fast network's settings (``unroll``, ``loss``,
    ``optimiser``) have no part in it.
    """

    seed: int = 0
    data: DataConfig = DataConfig()
    model: ModelChoice = ModelChoice()
    unroll: UnrollConfig = UnrollConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    student: StudentConfig | None = None
    validation_minutes: float = 5.0
    checkpoint_minutes: float = 5.0

    def sizes(self) -> list[tuple[Size, float]]:
        """Return the network sizes and their shares, which sum to one."""
        total = sum(self.data.sizes.values())
        return [(_size(text), weight / total) for text, weight in self.data.sizes.items()]


def load(path: Path) -> TrainConfig:
    """Read a TOML file; ``base = "other.toml"`` builds on one beside it.

    Raises ConfigError for a file that cannot be read, an unknown key or a value out of range.
    """
    return from_tables(_tables(path, ()))


def to_tables(config: TrainConfig) -> dict[str, Any]:
    """Return a configuration as nested tables, as :func:`from_tables` takes them."""
    return dataclasses.asdict(config)


def from_tables(tables: dict[str, Any]) -> TrainConfig:
    """Rebuild what :func:`to_tables` gave; ConfigError for unknown keys or values."""
    config = _build(TrainConfig, tables, '')
    _check(config)
    return config


def _tables(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in seen:
        raise ConfigError(f'{path}: "base" leads back to itself')
    try:
        tables = tomllib.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(f'{path} cannot be read: {error.strerror}') from error
    except (ValueError, RecursionError) as error:  # a number of 5000 digits is the former
        raise ConfigError(f'{path} is not TOML: {error}') from error
    base = tables.pop('base', None)
    if base is None:
        return tables
    return _merge(_tables(path.parent / str(base), (*seen, path)), tables)


def _merge(base: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict) and key not in WHOLE:
            merged[key] = _merge(base[key], value)
        else:
            merged[key] = value
    return merged


def _build(kind: Any, tables: dict[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(tables) - set(hints))
    if unknown:
        raise ConfigError(f'no setting {prefix}{unknown[0]}; there are: '
                          + ', '.join(f'{prefix}{name}' for name in hints))
    values = {}
    for name, value in tables.items():
        values[name] = _value(hints[name], value, prefix + name)
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f'{prefix.rstrip(".") or "configuration"}: {error}') from error


def _value(hint: Any, value: Any, name: str) -> Any:
    if typing.get_origin(hint) is types.UnionType:  # of a table and None, which stands for none
        if value is None:
            return None
        hint = typing.get_args(hint)[0]
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ConfigError(f'{name} is a table, not {value!r}')
        return _build(hint, value, f'{name}.')
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f'{name} is a list, not {value!r}')
        element = typing.get_args(hint)[0]
        return tuple(_value(element, item, name) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f'{name} is a table, not {value!r}')
        element = typing.get_args(hint)[1]
        return {key: _value(element, item, f'{name}.{key}') for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError as error:
            raise ConfigError(f'{name} {value!r}: choose '
                              + ', '.join(item.value for item in hint)) from error
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ConfigError(f'{name}: a number of {len(str(value))} digits is none that can '
                              'be used') from error
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f'{name} is {hint.__name__}, not {value!r}')
    return value


def _check(config: TrainConfig) -> None:
    data, model, unroll = config.data, config.model, config.unroll
    one_of = [('model.name', model.name, tuple(CONFIGS)), ('model.memory', model.memory, MEMORIES),
              ('model.gates', model.gates, GATES),
              ('model.decoder', model.decoder, tuple(DECODERS)),
              ('model.encoder_width', model.encoder_width, ENCODER_WIDTHS),
              ('unroll.motion', unroll.motion.value, FOOTAGE_MOTION)]
    for name, value, choices in one_of:
        if value not in choices:
            raise ConfigError(f'{name} {value!r}: choose {", ".join(map(str, choices))}')
    tables = to_tables(config)
    for name, allowed in RANGES.items():
        if name.startswith('student.') and config.student is None:
            continue
        number: Any = tables
        for part in name.split('.'):
            number = number[part]
        if number not in allowed:
            raise ConfigError(f'{name} {number}: must be {allowed}')
    if config.optimiser.decoder_share + config.optimiser.frame_encoder_share > 1:
        raise ConfigError('optimiser.decoder_share and optimiser.frame_encoder_share: their sum '
                          'is at most 1')
    if not 0 <= unroll.max_delay < unroll.frames:
        raise ConfigError(f'unroll.max_delay {unroll.max_delay}: must be in '
                          f'[0, {unroll.frames - 1}]')
    if not data.sizes or not all(weight in _POSITIVE for weight in data.sizes.values()):
        raise ConfigError('data.sizes: at least one size, each with a weight above zero')
    if not data.frame_steps or not all(step in _COUNT for step in data.frame_steps):
        raise ConfigError(f'data.frame_steps: at least one number, each {_COUNT}')
    for text in data.sizes:
        _size(text)
    if config.student is not None:
        _check_student(config.student, data)


def _check_student(student: StudentConfig, data: DataConfig) -> None:
    if not student.shares or any(kind not in KINDS for kind in student.shares):
        raise ConfigError(f'student.shares: of {", ".join(KINDS)}')
    if not all(share in _POSITIVE for share in student.shares.values()):
        raise ConfigError('student.shares: each above zero')
    for text in data.sizes:
        if any(side % (PATCH * student.shrink) for side in _size(text)):
            raise ConfigError(f'data.sizes {text}: sides that are multiples of {PATCH} when '
                              f'divided by student.shrink {student.shrink}')


def _size(text: str) -> Size:
    try:
        size = parse_size(text)
    except ValueError as error:
        raise ConfigError(f'data.sizes: {error}') from error
    if size is None:
        raise ConfigError("data.sizes: 'auto' has no meaning here, write HxW")
    if min(size) < 2 * PATCH:
        raise ConfigError(f'data.sizes {text}: sides of at least {2 * PATCH}')
    return size
