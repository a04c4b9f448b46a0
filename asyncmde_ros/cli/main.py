"""Entry point of ``asyncmde``."""

import argparse
import logging
import sys
from collections.abc import Sequence

from asyncmde_ros import __version__
from asyncmde_ros.cli import bench, build, demo, eval, export, soak, train, view, weights
from asyncmde_ros.errors import AsyncMDEError

COMMANDS = (demo, view, weights, eval, bench, soak, build, train, export)
EXIT_INTERRUPTED = 130


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='asyncmde',
        description='Real-time monocular depth: a foundation model refreshes a memory in the '
                    'background, a small network fuses it with every frame.',
        epilog='The ROS 2 node is the separate command depth_node.')
    parser.add_argument('--version', action='version', version=__version__)
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', required=True)
    for module in COMMANDS:
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; return the exit status.  Foreseen errors are one line, not a traceback."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except AsyncMDEError as error:
        print(f'asyncmde: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == '__main__':
    sys.exit(main())
