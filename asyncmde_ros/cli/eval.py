"""``asyncmde eval``: accuracy against lag, on the real schedule, against peers."""

import argparse
import sys
import textwrap
from pathlib import Path

from asyncmde_ros.engine.choice import CPU_SHORT_SIDE
from asyncmde_ros.engine.interface import DEFAULT_PRECISION, Precision
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.arguments import positive_count
from asyncmde_ros.lab.evaluation.glossary import ROWS
from asyncmde_ros.model.config import DEFAULT_MODEL
from asyncmde_ros.pipeline.settings import MotionCompensation, Settings

LISTED_WIDTH = 80


def _listed(meanings: dict[str, str]) -> str:
    """Return a line for each name, its meaning beside it."""
    left = 4 + max(map(len, meanings))
    return '\n'.join(textwrap.fill(meaning, LISTED_WIDTH + left, subsequent_indent=left * ' ',
                                   initial_indent=f'  {name}'.ljust(left))
                     for name, meaning in meanings.items())


DESCRIPTION = """\
Scores depth on sequences with ground truth, with the protocols of the field: per-frame and
per-sequence alignment in inverse depth, AbsRel, RMSE, delta; temporal consistency; a curve per
lag; and the schedule that this machine would really run. Writes results.json, CSV, plots and one
self-contained report.html."""
EPILOG = f"""\
a sequence is
  a folder with meta.json, rgb/, depth/ (see docs/evaluation.md),
  a TUM RGB-D folder, or
  a video: without ground truth the foundation model on every frame is the reference

rows
{_listed(ROWS)}

schedules
  fixed:N       a refresh every N frames, there at once (the paper's protocol)
  async:HZ      the real thing: a camera at HZ, every stage's latency as measured here or stated
                by --latencies
  async:HZ:MS   the same, the foundation model's latency at --short-side stated

example
  asyncmde eval kitchen/ --schedule fixed:10,async:30 --rows teacher,hold,hold_mc,async --out out
"""
SHORTEST, LONGEST = 28, 2044
"""Short sides of the network [px]: two patches, and what no machine has the memory for."""


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser(
        'eval', help='score depth against ground truth, lag and peers', description=DESCRIPTION,
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('sequences', nargs='+', type=Path, metavar='SEQ')
    parser.add_argument('--schedule', default='fixed:4,fixed:10,fixed:20,async:30',
                        metavar='S,S', help='schedules, by commas (default: %(default)s)')
    parser.add_argument('--rows', default='teacher,hold,hold_mc,async,spatial_memory',
                        metavar='R,R', help='rows, by commas (default: %(default)s)')
    parser.add_argument('--frames', type=positive_count, default=None, metavar='N',
                        help='at most so many frames of each sequence')
    parser.add_argument('--short-side', type=short_side_argument, default=CPU_SHORT_SIDE,
                        metavar='PX',
                        help='short side of the network (default: %(default)s)')
    parser.add_argument('--onnx', action='append', default=[], metavar='FILE[,depth][,unit]',
                        help='another model as a row: an ONNX file with one image input that '
                             'gives inverse depth ("depth": gives depth) from an ImageNet-'
                             'normalised image ("unit": from [0, 1]); may be repeated')
    parser.add_argument('--foundation-weights', type=Path, metavar='FILE')
    parser.add_argument('--fast-weights', type=Path, metavar='FILE')
    parser.add_argument('--glance-weights', type=Path, metavar='FILE',
                        help='adapter that the glances see with (default: the shipped one)')
    parser.add_argument('--latencies', type=Path, metavar='FILE',
                        help='what each stage takes, in place of measurements on this machine: '
                             'JSON as in config/latencies/ (docs/evaluation.md)')
    parser.add_argument('--scale', metavar='S,S',
                        help='metric scores of the row async beside the aligned ones, metres from '
                             'what a robot would measure: points:N of the truth (random, a tenth '
                             'of them wrong), scan (one line of it), odometry (corners of the '
                             'pictures, triangulated with poses that drift by 1 %%), none (one '
                             'scale for the sequence)')
    parser.add_argument('--motion', choices=('homography', 'image'),
                        default=Settings.motion_compensation.value,
                        help='how the memory moves: by one homography a frame, or by '
                             'optical flow as well (default: %(default)s)')
    parser.add_argument('--precision', choices=[item.value for item in Precision],
                        default=DEFAULT_PRECISION.value)
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from asyncmde_ros import weights
    from asyncmde_ros.engine.loader import Model
    from asyncmde_ros.lab.evaluation import latency, metric_scale
    from asyncmde_ros.lab.evaluation.rows import PeerRow
    from asyncmde_ros.lab.evaluation.runner import Request, evaluate
    from asyncmde_ros.lab.evaluation.table import format_table
    rows = args.rows.split(',')
    for row in rows:
        if row not in ROWS:
            raise AsyncMDEError(f'no row {row!r}; there are {", ".join(ROWS)}')
    scale = () if args.scale is None else metric_scale.parse(args.scale)
    latencies = None if args.latencies is None else latency.read(args.latencies)
    if args.foundation_weights is None:
        weights.fetch(weights.registry.model(DEFAULT_MODEL).foundation)
    model = Model(precision=Precision(args.precision), foundation=args.foundation_weights,
                  fast=args.fast_weights, glance=args.glance_weights)
    peers = [PeerRow.parse(text) for text in args.onnx]
    records = evaluate(model, Request(
        args.sequences, args.schedule.split(','), rows, peers, args.frames, args.short_side,
        Settings(motion_compensation=MotionCompensation(args.motion)), latencies, scale),
        args.out, sys.argv[1:])
    print(format_table(records))
    print(f'report: {args.out / "report.html"}')
    return 0


def short_side_argument(text: str) -> int:
    value = positive_count(text)
    if not SHORTEST <= value <= LONGEST:
        raise argparse.ArgumentTypeError(f'{value} is outside {SHORTEST} to {LONGEST}')
    return value
