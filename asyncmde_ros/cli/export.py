"""``asyncmde export``: write the weightless ONNX graphs that are shipped in ``models/``."""

import argparse
from pathlib import Path

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.model.config import CONFIGS
from asyncmde_ros.resources import share_directory


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser(
        'export', help='write the ONNX graphs (for developers; needs torch)',
        description='Export the fast and the slow graph without weights, height and width '
                    'symbolic. Needed only after a change to asyncmde_ros/network.')
    parser.add_argument('--model', nargs='+', default=list(CONFIGS), metavar='NAME',
                        help=f'which configurations (default: {" ".join(CONFIGS)})')
    parser.add_argument('--out', type=Path, default=None, metavar='DIR',
                        help="where to (default: the package's models/)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        from asyncmde_ros.network.export import export_all
    except ImportError as error:
        raise AsyncMDEError(
            f'export needs {error.name}: pip install ".[train]" in its source') from error
    directory = args.out or share_directory() / 'models'
    for name in args.model:
        if name not in CONFIGS:
            raise AsyncMDEError(f'no model {name!r}; there are {", ".join(CONFIGS)}')
        for path in export_all(CONFIGS[name], directory):
            print(f'{path}  {path.stat().st_size / 1024:.0f} KiB')
    return 0
