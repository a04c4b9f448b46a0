"""``asyncmde demo``: see depth from a video, camera or bag, over real ROS 2."""

import argparse
import os
import sys
from pathlib import Path

from asyncmde_ros import weights
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.media.arguments import (
    add_source_arguments,
    open_source,
    resolve_default_source,
    source_arguments,
)
from asyncmde_ros.media.sources import ASSUMED_RATE_HZ


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser(
        'demo', help='see depth from a video, camera or bag, over real ROS 2',
        description='Starts the depth node and a video publisher as separate ROS 2 processes, '
                    'shows a live line (input and depth rate, latency, lag, refresh rate) and '
                    'writes depth.mp4 and depth.png. Fetches the weights and, where no source is '
                    'named, a street video on first use.',
        epilog='While it runs, any ROS 2 tool on this machine sees /image and /depth/relative.')
    add_source_arguments(parser)
    parser.add_argument('--out', type=Path, default=Path('demo_output'), metavar='DIR',
                        help='folder for depth.mp4 and depth.png (default: demo_output)')
    parser.add_argument('--seconds', type=float, metavar='S',
                        help='stop after so much of the source')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    weights.fetch(weights.registry.model('vits').foundation)
    resolve_default_source(args)
    with open_source(args) as source:  # fails early, with one clear error
        rate_hz = source.rate_hz or ASSUMED_RATE_HZ
        image = next(iter(source)).image
    # A demo is for this machine: it should not show up on a lab's network.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    from asyncmde_ros.ros.environment import prepare
    prepare()
    try:
        from asyncmde_ros.ros.demo_session import run_demo
    except ImportError as error:
        raise AsyncMDEError(f'the demo needs ROS 2 ({error}): source an installation, or '
                            'pip install ".[ros]" in its source') from error
    outcome = run_demo(source_arguments(args), image.shape[:2], rate_hz, args.out, args.seconds,
                       _live_line)
    if sys.stdout.isatty():
        print()
    print(f'whole run: {outcome.figures} | {outcome.depth_maps} depth maps')
    print(f'video:         {outcome.video}')
    print(f'contact sheet: {outcome.sheet}')
    return 0


def _live_line(text: str) -> None:
    if sys.stdout.isatty():
        print(f'\r{text}', end='', flush=True)
    else:
        print(text, flush=True)
