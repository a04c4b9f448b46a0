"""Entry point of ``asyncmde``."""

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence

from asyncmde_ros import __version__
from asyncmde_ros.cli import (
    bench,
    build,
    demo,
    eval,
    events,
    export,
    soak,
    train,
    view,
    weights,
)
from asyncmde_ros.errors import AsyncMDEError, in_words
from asyncmde_ros.streams import secure_streams

COMMANDS = (demo, view, weights, eval, events, bench, soak, build, train, export)
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
"""As a shell tells of programs that a signal ended."""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='asyncmde',
        description='Real-time monocular depth: a foundation model refreshes a memory in the '
                    'background, which is moved and mended with every frame.',
        epilog='The ROS 2 node is the separate command depth_node.')
    parser.add_argument('--version', action='version', version=__version__)
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', required=True)
    for module in COMMANDS:
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; return the exit status.  Foreseen errors are one line, not a traceback."""
    secure_streams()
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')  # a file's name may be no UTF-8
    try:
        args = build_parser().parse_args(argv)
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read the output has enough; Python would complain once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except (AsyncMDEError, OSError) as error:
        print(f'asyncmde: {in_words(error)}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == '__main__':
    sys.exit(main())
