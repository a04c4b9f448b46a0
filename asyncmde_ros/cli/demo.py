"""``asyncmde demo``: see depth from a video, camera or bag, over real ROS 2."""

import argparse
import logging
import sys
from pathlib import Path

from asyncmde_ros import weights
from asyncmde_ros.cli.ros import load_run
from asyncmde_ros.lab.arguments import positive_number
from asyncmde_ros.lab.media.arguments import (
    add_source_arguments,
    open_source,
    refuse_input,
    resolve_default_source,
    source_arguments,
)
from asyncmde_ros.lab.media.frames import ASSUMED_RATE_HZ
from asyncmde_ros.model.config import DEFAULT_MODEL
from asyncmde_ros.ros.query_settings import Grid, parse_grid


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser(
        'demo', help='see depth from a video, camera or bag, over real ROS 2',
        description='Starts the depth node and a video publisher as separate ROS 2 processes, '
                    'shows a live line (input and depth rate, latency, lag, refresh rate) and '
                    'writes depth.mp4 and depth.png. Fetches the weights and, where no source is '
                    'named, a street video on first use.',
        epilog='While it runs, any ROS 2 tool on this machine sees its topics image and '
               'depth/relative (query/depth with --grid), in a namespace that it names at the '
               'start; so does asyncmde view --namespace NS.')
    add_source_arguments(parser)
    parser.add_argument('--out', type=Path, default=Path('demo_output'), metavar='DIR',
                        help='folder for depth.mp4 and depth.png (default: demo_output)')
    parser.add_argument('--namespace', metavar='NS',
                        help='namespace of its topics (default: one that nothing else uses, so '
                             'that several demos, or a node beside it, do not hear each other)')
    parser.add_argument('--grid', type=_grid, metavar='COLSxROWS',
                        help='show depth at a grid of points, such as 24x18, instead of maps: '
                             'then no map is computed')
    parser.add_argument('--seconds', type=positive_number, metavar='S',
                        help='stop after so much of the source')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    weights.fetch(weights.registry.model(DEFAULT_MODEL).foundation)
    resolve_default_source(args)
    logging.disable(logging.WARNING)  # the publisher will say it
    try:
        with open_source(args) as source:  # fails early, with one clear error
            rate_hz = source.rate_hz or ASSUMED_RATE_HZ
            image = next(iter(source)).image
    finally:
        logging.disable(logging.NOTSET)
    from asyncmde_ros.lab.media.film import FILM_FILE, SHEET_FILE  # needs PyAV
    for name in (FILM_FILE, SHEET_FILE):
        refuse_input(args, args.out / name)
    session = load_run('demo', 'the demo needs', local=True)
    outcome = session.run_demo(source_arguments(args), image.shape[:2], rate_hz, args.out,
                               args.seconds, args.namespace, _live_line, args.grid)
    if sys.stdout.isatty():
        print()
    print(f'whole run: {outcome.figures} | {outcome.depth_maps} depth maps')
    print(f'video:         {outcome.video}')
    print(f'contact sheet: {outcome.sheet}')
    return 0


def _grid(text: str) -> Grid | None:
    try:
        return parse_grid(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _live_line(text: str) -> None:
    if sys.stdout.isatty():
        print(f'\r{text}', end='', flush=True)
    else:
        print(text, flush=True)
