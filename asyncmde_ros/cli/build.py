"""``asyncmde build``: TensorRT engines, before the first start instead of at it."""

import argparse
import logging
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from asyncmde_ros.engine.interface import DEFAULT_PRECISION, Precision
from asyncmde_ros.model.config import DEFAULT_MODEL
from asyncmde_ros.model.geometry import parse_size

DESCRIPTION = """\
Builds the TensorRT engines of both networks.  Without it the node does so at its first start,
which takes seconds with TensorRT for RTX and minutes with TensorRT on a Jetson.

Without --compute-capability the engines are built for this machine's GPU, loaded, and compared
with the reference on a real picture.  With it they are built for GPUs of that kind, on any
machine, even one without a GPU; the comparison follows where they are first loaded.  Only
TensorRT for RTX can do that."""

EPILOG = """\
for this robot, once, into the folder that the node looks in:
  asyncmde build --backend tensorrt --size 518x686

for robots with an RTX 40 card, on a build machine; copy the folder to them, and give it to the
node as the parameter engine.directory:
  asyncmde build --backend tensorrt_rtx --compute-capability 8.9 --size 518x686 --out engines
"""


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser(
        'build', help='build TensorRT engines ahead of time', description=DESCRIPTION,
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--backend', required=True, choices=('tensorrt', 'tensorrt_rtx'))
    parser.add_argument('--size', required=True, type=_size, metavar='HxW',
                        help="the network's size, multiples of 14: 518x686 for a 4:3 camera, "
                             '518x924 for 16:9')
    parser.add_argument('--compute-capability', metavar='X.Y', type=_capability,
                        help='of the GPU that the engines are for, such as 8.6, 8.9 or 12.0 '
                             "(default: this machine's)")
    parser.add_argument('--model', default=DEFAULT_MODEL, metavar='NAME',
                        help='which networks (default: %(default)s)')
    parser.add_argument('--precision', choices=[item.value for item in Precision],
                        default=DEFAULT_PRECISION.value,
                        help='auto and half: float16, but float32 for warps and trust')
    parser.add_argument('--foundation-weights', type=Path, metavar='FILE')
    parser.add_argument('--fast-weights', type=Path, metavar='FILE')
    parser.add_argument('--out', type=Path, metavar='DIR',
                        help='where the engines go (default: the cache that the node looks in)')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from asyncmde_ros import weights
    from asyncmde_ros.engine.interface import EngineOptions, Graph
    from asyncmde_ros.engine.loader import Model
    from asyncmde_ros.engine.plans import PlanStore
    logging.getLogger('asyncmde_ros.engine').setLevel(logging.WARNING)  # the bar says it
    if args.foundation_weights is None:
        weights.fetch(weights.registry.model(args.model).foundation)
    precision = Precision(args.precision)
    with _Bar() as bar:
        if args.compute_capability is None:
            Model(args.model, args.backend, precision, foundation=args.foundation_weights,
                  fast=args.fast_weights, engines=args.out, progress=bar.show).compile(args.size)
        else:
            from asyncmde_ros.engine.tensorrt_build import prebuild
            model = Model(args.model, 'openvino', foundation=args.foundation_weights,
                          fast=args.fast_weights)
            for graph in (Graph.FAST, Graph.SLOW):
                prebuild(args.backend, model.specification(graph, args.size),
                         EngineOptions(precision, engines=args.out, progress=bar.show),
                         args.compute_capability)
    print(f'the engines are in {PlanStore(args.out).directory}')
    return 0


class _Bar:
    """A progress bar that begins with the first thing to show."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None

    def show(self, what: str, fraction: float) -> None:
        if self._bar is None:
            self._bar = tqdm(total=100, bar_format='{desc} {percentage:3.0f} %|{bar}| {elapsed}',
                             leave=False)
        self._bar.set_description_str(what, refresh=False)
        self._bar.update(100 * fraction - self._bar.n)

    def __enter__(self) -> '_Bar':
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _size(text: str) -> tuple[int, int]:
    try:
        size = parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if size is None:
        raise argparse.ArgumentTypeError("an engine has one size: write HxW, such as 518x686")
    return size


def _capability(text: str) -> str:
    major, _, minor = text.partition('.')
    if not (major.isdecimal() and minor.isdecimal()):
        raise argparse.ArgumentTypeError(f'{text!r}: write it with a dot, such as 8.9')
    return text
