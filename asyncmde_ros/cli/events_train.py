"""``asyncmde events train``: the network for event cameras, for any budget."""

import argparse
import dataclasses
import sys
from pathlib import Path

from asyncmde_ros.cli.training import NEEDS, chosen_device, resumable
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.files import cache_directory
from asyncmde_ros.lab.arguments import count_from_zero, number_from_zero, positive_count
from asyncmde_ros.lab.text import table

DESCRIPTION = """\
Trains EventSPD, which gives depth at the points that are asked for, on simulated events: of videos
and of photos that a virtual camera moves over, with Depth Anything V2's depth, and of rendered
clips, whose depth is exact. Events and targets are made once and kept (about 0.75 MB a window);
that comes on top of the budget. Ends with eventspd.safetensors in DIR, the best weights by
validation on held-out sources, beside curves.png, train.csv, validation.csv and training.json.
Ctrl-C leaves a checkpoint, from which --resume goes on; a second one ends at once, without."""
EPILOG = """\
examples
  asyncmde events train --data footage --minutes 30 --out run
  asyncmde events train --data footage --minutes 30 --out run --resume
  asyncmde events train --data footage --minutes 600 --out large --network published \\
      --size 672x1232 --queries 2048 --device cuda
"""


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser(
        'train', help='train EventSPD on simulated events (needs torch)', description=DESCRIPTION,
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, metavar='DIR',
                        help='folder of videos and photos, as of asyncmde train')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument('--minutes', type=number_from_zero, metavar='M',
                        help='budget of training and validation; 0 only prepares events and '
                             'targets')
    budget.add_argument('--steps', type=count_from_zero, metavar='N',
                        help='budget in steps instead: the same seed then gives the same weights')
    parser.add_argument('--network', choices=('small', 'published'), default='small')
    parser.add_argument('--size', default='168x224', metavar='HxW',
                        help='of the simulated sensor, multiples of 56 (default: %(default)s)')
    parser.add_argument('--queries', type=positive_count, default=128, metavar='K',
                        help='in each window (default: %(default)s; the document: 2048)')
    parser.add_argument('--batch', type=positive_count, default=2, metavar='B',
                        help='clips a step, of four windows each (default: %(default)s)')
    parser.add_argument('--seed', type=count_from_zero, default=0, metavar='N')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default=None,
                        help='default: cuda where there is one')
    parser.add_argument('--resume', action='store_true',
                        help='go on from the checkpoint in --out; the budget is of the whole run')
    parser.add_argument('--cache', type=Path, metavar='DIR',
                        help='where events and targets are kept (default: '
                             '~/.cache/asyncmde/events, or in $XDG_CACHE_HOME)')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        from asyncmde_ros.events.training.config import EventTrainConfig
        from asyncmde_ros.events.training.run import train_events
        from asyncmde_ros.lab.training.loop import Budget
        from asyncmde_ros.lab.training.run import TrainingRequest
    except ImportError as error:
        raise AsyncMDEError(NEEDS.format(error.name)) from error
    device = chosen_device(args.device)
    start = EventTrainConfig()
    config = dataclasses.replace(
        start, seed=args.seed, data=dataclasses.replace(start.data, sizes={args.size: 1.0}),
        events=dataclasses.replace(start.events, network=args.network, queries=args.queries,
                                   batch=args.batch))
    with resumable(args.out):
        report = train_events(config, TrainingRequest(
            args.data, args.out, args.cache or cache_directory() / 'events',
            Budget(args.minutes, args.steps), device, args.resume), sys.argv[1:])
    print(f'{args.out / report["weights"]}: {report["steps"]} steps in {report["minutes"]:.1f} '
          'minutes\nheld-out clips, aligned in every frame (error 1 is the best constant):')
    print(table(('clips', 'method', 'windows', 'error', 'AbsRel', 'RMSE (m)'),
                [(row['kind'], row['method'], str(row['windows']),
                  *(_number(row[name]) for name in ('error', 'absrel', 'rmse_m')))
                 for row in report['comparison']], left=2))
    print(f'curves: {args.out / "curves.png"}')
    return 0


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'
