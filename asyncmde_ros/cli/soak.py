"""``asyncmde soak``: the depth node under faults, for as long as wanted."""

import argparse
import dataclasses
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asyncmde_ros import weights
from asyncmde_ros.cli.bench import network_size_argument
from asyncmde_ros.cli.ros import load_run
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.files import ensure_writable, write_atomically
from asyncmde_ros.lab.arguments import positive_number
from asyncmde_ros.lab.charts import require_matplotlib
from asyncmde_ros.lab.text import json_by_line
from asyncmde_ros.model.config import DEFAULT_MODEL
from asyncmde_ros.model.geometry import AUTO_SIZE, size_text

DESCRIPTION = """\
Starts the real depth_node in a process of its own, shows it images at 30 Hz over ROS 2, and does
it harm at random moments: bad images, parameter changes, subscribers that come and go, other
image sizes, clock jumps, pauses, bursts at 120 Hz.  After each, good images must give depth with
their own stamps again.  Meanwhile memory, threads, open files, latency and drops are recorded,
every second or, in a long run, six hundred times.

The run ends with exit status 0 only if every bound held: nothing grows, every fault is recovered
from, no depth has a stamp that no image had or that of a bad image, no traceback, no death, and
Ctrl-C ends the node cleanly.  Ctrl-C here ends the run early; what there is so far is written."""

EPILOG = """\
three minutes, the shortest that tells growth from noise:
  asyncmde soak --minutes 3 --report soak.json

over night; the seed, which the report names, repeats the same faults in the same order:
  asyncmde soak --minutes 600 --report night.json --seed 7

what was recorded: meta (machine, options), bounds, faults (with recovery times), samples,
the end of the node's log:
  less soak.json
"""

SEEDS = 2**32


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    parser = commands.add_parser(
        'soak', help='run the depth node under faults and watch that nothing breaks or grows',
        description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=positive_number, required=True, metavar='M',
                        help='how long, after loading; at least until each kind of fault came')
    parser.add_argument('--report', type=Path, required=True, metavar='FILE',
                        help='the JSON file to write')
    parser.add_argument('--picture', type=Path, metavar='FILE',
                        help='a PNG to write as well: memory, latency and recovery over the '
                             'run (needs matplotlib)')
    parser.add_argument('--seed', type=int, metavar='N',
                        help='of the faults and their moments (default: a new one)')
    parser.add_argument('--size', type=network_size_argument, default=AUTO_SIZE,
                        metavar='HxW',
                        help="the network's size, multiples of 14 (default: auto, as the node; "
                             'then another aspect has the node build engines anew)')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    weights.fetch(weights.registry.model(DEFAULT_MODEL).foundation)
    soak_session = load_run('soak', 'the soak needs', local=True)
    from asyncmde_ros.lab import machine
    from asyncmde_ros.lab.soak.bounds import decide
    from asyncmde_ros.lab.soak.summary import table
    seed = random.randrange(SEEDS) if args.seed is None else args.seed
    size = AUTO_SIZE if args.size is None else size_text(args.size)
    options = soak_session.SoakOptions(args.minutes, seed, size)
    # Hours later would be late to learn that something cannot be written.
    for path in filter(None, (args.report, args.picture)):
        ensure_writable(path)
    if args.picture is not None:
        require_matplotlib()
    described = machine.describe(sys.argv[1:])
    outcome = soak_session.soak(options)
    bounds = decide(outcome.evidence)
    evidence = outcome.evidence
    _write(args.report, json_lines({
        'meta': {**dataclasses.asdict(described), 'options': dataclasses.asdict(options)},
        'bounds': [dataclasses.asdict(bound) for bound in bounds],
        'faults': [dataclasses.asdict(incident) for incident in evidence.incidents],
        'samples': [dataclasses.asdict(sample) for sample in evidence.samples],
        'log_tail': outcome.log_tail.splitlines()}))
    print(table(bounds, evidence.incidents))
    print(f'seed {seed}, {args.report}')
    if args.picture is not None:
        from asyncmde_ros.lab.soak.picture import draw
        _write(args.picture, draw(evidence.samples, evidence.incidents))
    return 0 if all(bound.held for bound in bounds) else 1


def json_lines(report: Mapping[str, Any]) -> bytes:
    """Return JSON with a line for each item of a list, which people and diffs can read."""
    return (json_by_line({key: [_rounded(item) for item in value] if isinstance(value, list)
                          else value for key, value in report.items()}, 2) + '\n').encode()


def _rounded(value: Any) -> Any:
    """Round every float to two decimals."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 2) if isinstance(value, float) else value


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise AsyncMDEError(f'{path} cannot be written: {error}') from error
