"""``asyncmde events train``: networks for event cameras, for any budget."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from asyncmde_ros.cli.training import NEEDS, chosen_device, resumable
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.files import cache_directory
from asyncmde_ros.lab.arguments import count_from_zero, number_from_zero, positive_count
from asyncmde_ros.lab.text import table

if TYPE_CHECKING:
    from asyncmde_ros.lab.training.run import TrainingRequest

FOUNDATION = 'foundation'
NETWORKS = ('small', 'published', FOUNDATION)

DESCRIPTION = """\
Trains on simulated events: of videos and of photos that a virtual camera moves over, with Depth
Anything V2's depth of the image, and of rendered clips, whose depth is exact.  Events and targets
are made once and kept; that comes on top of the budget.  Leaves curves.png, train.csv,
validation.csv and training.json in DIR, and the best weights by validation on held-out sources.
Ctrl-C leaves a checkpoint, from which --resume goes on; a second one ends at once, without.

  --network small, published  EventSPD, which gives depth at the points that are asked for, from
                              nothing: eventspd.safetensors (about 0.65 MB a window are kept)
  --network foundation        Depth Anything V2 Small adapted to the pictures that events add up
                              to: events_vits.safetensors (about 0.75 MB a clip are kept)"""
EPILOG = """\
examples
  asyncmde events train --network foundation --data footage --minutes 90 --out adapter
  asyncmde events eval kitchen/ --adapter adapter/events_vits.safetensors --out scores
  asyncmde events train --data footage --minutes 30 --out run
  asyncmde events train --data footage --minutes 30 --out run --resume
  asyncmde events train --data footage --minutes 600 --out large --network published \\
      --size 672x1232 --queries 2048 --device cuda
"""


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser(
        'train', help='train on simulated events (needs torch)', description=DESCRIPTION,
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
    parser.add_argument('--network', choices=NETWORKS, default='small')
    parser.add_argument('--size', metavar='HxW',
                        help='of the simulated sensor: multiples of 56 (default: 168x224); for '
                             'foundation of 14 (default: 196x252)')
    parser.add_argument('--queries', type=positive_count, metavar='K',
                        help='of EventSPD in each window (default: 128; the document: 2048)')
    parser.add_argument('--batch', type=positive_count, metavar='B',
                        help='clips a step (default: 4); for foundation '
                             'pictures (default: 8)')
    parser.add_argument('--start', type=Path, metavar='FILE',
                        help='an adapter to go on from (foundation only)')
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
    if args.network == FOUNDATION and args.queries is not None:
        raise AsyncMDEError('--queries: EventSPD is asked queries, and foundation is not; leave '
                            'it out')
    if args.network != FOUNDATION and args.start is not None:
        raise AsyncMDEError('--start: EventSPD begins from nothing; go on with a run of it by '
                            '--resume')
    try:
        from asyncmde_ros.lab.training.loop import Budget
        from asyncmde_ros.lab.training.run import TrainingRequest
    except ImportError as error:
        raise AsyncMDEError(NEEDS.format(error.name)) from error
    request = TrainingRequest(args.data, args.out, args.cache or cache_directory() / 'events',
                              Budget(args.minutes, args.steps), chosen_device(args.device),
                              args.resume, start=args.start)
    with resumable(args.out):
        if args.network == FOUNDATION:
            _train_adapter(args, request)
        else:
            _train_event_spd(args, request)
    print(f'curves: {args.out / "curves.png"}')
    return 0


def _train_adapter(args: argparse.Namespace, request: 'TrainingRequest') -> None:
    from asyncmde_ros.events.training.adapter import train_adapter
    from asyncmde_ros.events.training.adapter_config import AdapterTrainConfig
    config = AdapterTrainConfig(seed=args.seed)
    if args.size is not None:
        config = dataclasses.replace(
            config, data=dataclasses.replace(config.data, sizes={args.size: 1.0}))
    if args.batch is not None:
        config = dataclasses.replace(
            config, student=dataclasses.replace(config.adapter, batch=args.batch))
    report = train_adapter(config, request, sys.argv[1:])
    scores = report['validation']
    kinds = ', '.join(f'{name.removeprefix("error_")} {value:.3f}'
                      for name, value in scores.items() if name != 'error')
    print(f'{args.out / report["weights"]}: {report["steps"]} steps in {report["minutes"]:.1f} '
          'minutes\nheld-out pictures of events, aligned (error 1 is the best constant): '
          f'{scores["error"]:.3f} ({kinds})')


def _train_event_spd(args: argparse.Namespace, request: 'TrainingRequest') -> None:
    from asyncmde_ros.events.training.config import EventTrainConfig
    from asyncmde_ros.events.training.run import train_events
    config = EventTrainConfig(seed=args.seed)
    if args.size is not None:
        config = dataclasses.replace(
            config, data=dataclasses.replace(config.data, sizes={args.size: 1.0}))
    chosen = {name: value for name, value in (('queries', args.queries), ('batch', args.batch))
              if value is not None}
    config = dataclasses.replace(
        config, events=dataclasses.replace(config.events, network=args.network, **chosen))
    report = train_events(config, request, sys.argv[1:])
    print(f'{args.out / report["weights"]}: {report["steps"]} steps in {report["minutes"]:.1f} '
          'minutes\nheld-out clips, aligned in every frame (error 1 is the best constant):')
    print(table(('clips', 'method', 'windows', 'error', 'AbsRel', 'RMSE (m)'),
                [(row['kind'], row['method'], str(row['windows']),
                  *(_number(row[name]) for name in ('error', 'absrel', 'rmse_m')))
                 for row in report['comparison']], left=2))


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'
