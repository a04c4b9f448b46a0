"""``asyncmde bench``: what the whole system costs, and each of its parts."""

import argparse
import dataclasses
import importlib.util
import json
import sys
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncmde_ros import weights
from asyncmde_ros.cli.ros import load_run
from asyncmde_ros.engine.choice import AUTO_BACKEND, BACKENDS
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.files import ensure_writable, write_atomically
from asyncmde_ros.lab.arguments import positive_number
from asyncmde_ros.lab.bench.summary import markdown
from asyncmde_ros.model.config import DEFAULT_MODEL
from asyncmde_ros.model.geometry import AUTO_SIZE, Size, network_size, parse_size
from asyncmde_ros.pipeline.settings import DEFAULT_FAST_PATH, FastPathModel

SECONDS = 10.0
QUICK_SECONDS = 1.0
PARTS = ('startup', 'engines', 'saturation', 'roofline', 'motion', 'parts', 'query', 'pipeline',
         'ros')
STARTUPS = 3
NEEDS = 'this part needs'
CAMERA_RATE_HZ = 30.0
CAMERA_IMAGE = '480x640'

DESCRIPTION = """\
Measures, one after the other, on this machine and in one run:

  startup     import, load, first depth and memory, in fresh processes
  engines     the foundation model, one fast step of the spatial memory, and with the fast
              path "glance" each size of refresh and a glance, in turn (A B A B)
  saturation  fast steps of the spatial memory as fast as they can be, the slow path on and
              off in turn
  roofline    arithmetic and traffic of both networks, and the bound they set (needs torch)
  motion      the estimation of the camera's motion
  parts       decoding, preprocessing, moving a memory of depth and mixing in a glance,
              upsampling and messages, and what metres cost, each apart
  query       depth at 1 to 4,096 points of a frame, against its whole map; over ROS 2, what
              the node uses of the CPU if points are all that somebody listens to
  pipeline    the whole at the camera's rate, the slow path on and off in turn: latency,
              refreshes by size, glances
  ros         a camera process and depth_node over ROS 2: latency, drops, duplicates, use of
              the CPU; and the same with a camera that stands still

and writes everything to DIR/bench.json.  Absolute times are this machine's and suffer from
whatever else it does; the ratios hold better.  Pictures are generated, the same in every run."""

EPILOG = """\
the default, about four minutes on two cores:
  asyncmde bench --out results

one part, in half a minute: is a camera of 60 Hz answered, and how soon?
  asyncmde bench --out results --only ros --rate 60

as on a robot: its own video, its rate and size, a longer look at the tails:
  asyncmde bench --out results --video drive.mp4 --rate 60 --image 720x1280 --seconds 60

the tables of an earlier run, in Markdown:
  asyncmde bench --markdown results/bench.json
"""


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser(
        'bench', help='measure speed, latency and memory on this machine',
        description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--out', type=Path, metavar='DIR', help='measure; folder for bench.json')
    what.add_argument('--markdown', type=Path, metavar='FILE',
                      help='measure nothing; print the tables of this bench.json')
    parser.add_argument('--model', default=DEFAULT_MODEL, metavar='NAME',
                        help='which networks (default: %(default)s)')
    parser.add_argument('--backend', default=AUTO_BACKEND, choices=BACKENDS,
                        help='what computes them (default: %(default)s)')
    parser.add_argument('--fast-path', default=DEFAULT_FAST_PATH.value,
                        choices=[item.value for item in FastPathModel],
                        help="what every frame goes through, as the node's fast_path.model "
                             '(default: %(default)s)')
    parser.add_argument('--only', type=_parts, default=PARTS, metavar='PART,PART',
                        help='measure these parts alone (default: all)')
    parser.add_argument('--size', type=network_size_argument, default=AUTO_SIZE,
                        metavar='HxW',
                        help="the network's size, multiples of 14 (default: auto, as the node)")
    parser.add_argument('--image', type=_image_size, default=CAMERA_IMAGE, metavar='HxW',
                        help="the camera's size (default: %(default)s)")
    parser.add_argument('--rate', type=positive_number, default=CAMERA_RATE_HZ, metavar='HZ',
                        help="the camera's rate (default: %(default)g)")
    parser.add_argument('--seconds', type=positive_number, metavar='S',
                        help=f'how long each measurement lasts (default: {SECONDS:g})')
    parser.add_argument('--video', type=Path, metavar='FILE',
                        help='show the first frames of this video instead of generated pictures')
    parser.add_argument('--no-ros', action='store_true', help='leave the ROS 2 part out')
    parser.add_argument('--quick', action='store_true',
                        help=f'{QUICK_SECONDS:g} s for each measurement and one start: to see '
                             'that it works, not to quote')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.markdown is not None:
        print(_tables(args.markdown), end='')
        return 0
    from asyncmde_ros.engine.choice import choose
    from asyncmde_ros.lab import machine
    from asyncmde_ros.lab.bench.options import BenchOptions
    from asyncmde_ros.lab.bench.pictures import open_pictures
    from asyncmde_ros.pipeline.session import resolved
    choice = choose(args.backend)
    size = args.size or network_size(args.image, choice.short_side)
    options = BenchOptions(
        size, args.image, args.rate,
        args.seconds or (QUICK_SECONDS if args.quick else SECONDS), 1 if args.quick else STARTUPS,
        args.model, choice.backend, args.video, resolved(FastPathModel(args.fast_path), choice))
    weights.fetch(weights.registry.model(args.model).foundation)
    pictures = open_pictures(options.video, options.image)  # fails early, with one clear error
    path = args.out / 'bench.json'
    ensure_writable(path)
    ros = find_ros(args.no_ros)
    left_out = _left_out(args.only, ros.reason)
    bench = {
        'meta': {**dataclasses.asdict(machine.describe(sys.argv[1:])),
                 'options': dataclasses.asdict(options)},
        **_measure(options, pictures, ros.session, left_out),
        'left_out': left_out,
    }
    text = json.dumps(bench, indent=2, default=str, allow_nan=False) + '\n'
    write_atomically(path, text.encode())
    print(markdown(json.loads(text)))
    print(path)
    return 0


def _left_out(only: Sequence[str], no_ros: str | None) -> dict[str, str]:
    """Return why each part that is not measured is not.

    Raises AsyncMDEError for one that is asked for by name and cannot be.
    """
    reasons = {}
    if no_ros is not None:
        reasons['ros'] = no_ros
    if importlib.util.find_spec('torch') is None:
        reasons['roofline'] = 'it needs PyTorch to count'
    for part, reason in reasons.items():
        if part in only and only != PARTS:
            raise AsyncMDEError(f'--only {part}: {reason}')
    return {part: reasons.get(part, 'not asked for (--only)')
            for part in PARTS if part in reasons or part not in only}


def _measure(options: Any, pictures: Any, ros: Any, left_out: Container[str]) -> dict[str, Any]:
    """Return every section, None for those left out; ``ros`` is the module that measures it."""
    from asyncmde_ros.lab.bench import (
        engines,
        motion,
        parts,
        pipeline,
        query,
        saturation,
        startup,
    )
    rows: list[Any] = []

    def compare() -> dict[str, Any]:
        rows.extend(engines.compare(options, pictures))
        return {'note': engines.NOTE, 'rows': rows}

    def count() -> dict[str, Any]:
        from asyncmde_ros.lab.bench import roofline
        peaks, bounds = roofline.measure(options, rows)
        return {'note': roofline.NOTE, 'peaks': peaks, 'rows': bounds}

    def time_parts() -> Any:
        extra = {} if ros is None else {'depth_message': ros.depth_message_work(options)}
        return parts.measure(options, pictures, extra)

    def ask() -> dict[str, Any]:
        load = None if ros is None else load_run('bench_queries', NEEDS, local=True)
        return {**_plain(query.measure(options, pictures)),
                'load': load and _plain(load.measure(options))}
    sections: dict[str, Callable[[], Any]] = {
        'startup': lambda: {'note': startup.NOTE, **_plain(startup.measure(options))},
        'engines': compare,
        'saturation': lambda: {'note': saturation.NOTE,
                               **saturation.measure(options, pictures)},
        'roofline': count,
        'motion': lambda: motion.measure(options, pictures),
        'parts': time_parts,
        'query': ask,
        'pipeline': lambda: pipeline.measure(options, pictures),
        'ros': lambda: ros.measure(options),
        'ros_still': lambda: ros.measure(options, still=True),
    }
    return {name: None if name.removesuffix('_still') in left_out else _plain(measure())
            for name, measure in sections.items()}


def _plain(value: Any) -> Any:
    """Return records, in lists and dictionaries too, as JSON has them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class _Ros:
    """The module that measures over ROS 2, or the reason why there is none."""

    session: Any
    reason: str | None


def find_ros(unwanted: bool) -> _Ros:
    if unwanted:
        return _Ros(None, 'not wanted (--no-ros)')
    try:
        return _Ros(load_run('bench', NEEDS, local=True), None)
    except AsyncMDEError as error:
        return _Ros(None, str(error))


def _tables(path: Path) -> str:
    try:
        return markdown(json.loads(path.read_text(encoding='utf-8')))
    except (OSError, ValueError) as error:
        raise AsyncMDEError(f'{path} cannot be read as JSON: {error}') from error
    except (KeyError, TypeError) as error:
        raise AsyncMDEError(f'{path} was not written by asyncmde bench ({error!r})') \
            from error


def _parts(text: str) -> tuple[str, ...]:
    wanted = {part.strip() for part in text.split(',')}
    for part in sorted(wanted - set(PARTS)):
        raise argparse.ArgumentTypeError(f'{part!r} is no part; there are {", ".join(PARTS)}')
    return tuple(part for part in PARTS if part in wanted)


def network_size_argument(text: str) -> Size | None:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _image_size(text: str) -> Size:
    rows, _, cols = text.lower().partition('x')
    if not (rows.isdecimal() and cols.isdecimal() and int(rows) and int(cols)):
        raise argparse.ArgumentTypeError(f'{text!r}: write HxW, for example {CAMERA_IMAGE}')
    return int(rows), int(cols)
