"""Is what a vendor's builder made right?  Compared with the reference on a real picture.

TensorRT 10.3 (JetPack 6), for one, builds engines of DINOv2 in half precision that run and give
wrong features.  So nothing built is used before it was compared.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.interface import Buffer, DepthEngine, Engine, Engines
from asyncmde_ros.errors import EngineError, MediaError
from asyncmde_ros.images.picture import read_picture
from asyncmde_ros.model.graph_tensors import (
    GATE_TEMPERATURE,
    KEYFRAME,
    KEYFRAME_OF_STATE,
    TEMPORAL_SMOOTHING,
)
from asyncmde_ros.model.preprocess import shrink, write_image
from asyncmde_ros.resources import share_directory

logger = logging.getLogger(__name__)

PICTURE = 'validation.jpg'
SHIFT_PX = 6
"""The camera's motion from the keyframe to the frame that is compared."""

LIMITS = {**dict.fromkeys(KEYFRAME, 0.05), 'depth': 0.02}
"""Largest root mean square difference, relative to the reference's.  Half precision done right
has 0.003 for features and 0.0004 for depth (docs/nvidia.md)."""

Pixels = npt.NDArray[np.uint8]


def bind(engines: Engines, keyframe: Pixels, frame: Pixels
         ) -> tuple[dict[str, Buffer], dict[str, Buffer]]:
    """Run both engines once on pictures at network size; return the bindings of slow and fast.

    The fast engine reads the keyframe's features where the slow one wrote them, as the second step
    after a swap, with a camera that does not move.
    """
    slow = {**_allocate(engines.slow), 'positions': engines.positions}
    write_image(keyframe, slow['image'].array)
    written = engines.slow.run(slow)
    fast = {**_allocate(engines.fast), **{name: slow[name] for name in KEYFRAME}}
    write_image(frame, fast['image'].array)
    for name, value in (('a2', 1), ('a3', 1), ('a4', 1), ('trust', 1),
                        ('beta', TEMPORAL_SMOOTHING), ('k', GATE_TEMPERATURE), ('fresh', 0),
                        ('step', np.eye(3)), ('keyframe', np.eye(3))):
        fast[name].write(value)
    for name, observed in KEYFRAME_OF_STATE.items():
        fast[name].write(slow[observed].read())
    engines.fast.run(fast, after=written)
    return slow, fast


def _allocate(engine: Engine) -> dict[str, Buffer]:
    return {name: engine.allocate(name) for name in (*engine.inputs, *engine.outputs)}


def validate(engines: Engines, reference: Engines) -> None:
    """Let new engines pass if their numbers are the reference's; else EngineError."""
    keyframe, frame = _pictures(engines.size)
    slow, fast = bind(engines, keyframe, frame)
    right_slow, right_fast = bind(reference, keyframe, frame)
    for engine, given, right, names in (
            (engines.slow, slow, right_slow, KEYFRAME),
            (engines.fast, fast, right_fast, ('depth',))):
        _judge(engine, given, right, names)
    logger.info('the new engines give the reference\'s numbers')


def validate_depth(network: DepthEngine, reference: DepthEngine) -> None:
    """Let a new network pass if its depth is the reference's; else EngineError."""
    _, picture = _pictures(network.size)
    given, right = (_run(either, picture) for either in (network, reference))
    _judge(network.engine, given, right, ('depth',))
    logger.info('the new engine gives the reference\'s numbers')


def _run(network: DepthEngine, picture: Pixels) -> dict[str, Buffer]:
    buffers = {**_allocate(network.engine), 'positions': network.positions}
    write_image(picture, buffers['image'].array)
    network.engine.run(buffers)
    return buffers


def _judge(engine: Engine, given: Mapping[str, Buffer], right: Mapping[str, Buffer],
           names: Sequence[str]) -> None:
    if engine.pending_validation is None:
        return
    errors = {name: difference(given[name].read(), right[name].read()) for name in names}
    wrong = {name: error for name, error in errors.items() if not error <= LIMITS[name]}
    if wrong:
        engine.pending_validation.failed()
        raise EngineError(_verdict(wrong))
    engine.pending_validation.passed(errors)
    engine.pending_validation = None


def difference(given: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> float:
    """Return the root mean square difference, relative to that of ``right``."""
    scale = float(np.sqrt(np.mean(np.square(right, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(given - right, dtype=np.float64)))) / scale


def _pictures(size: tuple[int, int]) -> tuple[Pixels, Pixels]:
    path = share_directory() / 'models' / PICTURE
    try:
        rgb = read_picture(path, oriented=False)
    except MediaError as error:
        raise EngineError(f'{error}: install the package again') from error
    return (shrink(np.ascontiguousarray(rgb[:, SHIFT_PX:]), size),
            shrink(np.ascontiguousarray(rgb[:, :-SHIFT_PX]), size))


def _verdict(wrong: Mapping[str, float]) -> str:
    worst = max(wrong, key=lambda name: (not np.isfinite(wrong[name]), wrong[name]))
    off = ('is not finite' if not np.isfinite(wrong[worst]) else
           f'is off by {wrong[worst]:.1%} (at most {LIMITS[worst]:.0%})')
    return (f'the engine that was built is wrong: {worst} {off} on a real picture. A newer '
            'TensorRT may be right (10.3 is known not to be); precision: fp32 is slow and safe; '
            'backend: torch or openvino do without it')
