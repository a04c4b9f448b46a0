"""How long a start takes and how much memory it ends with, in fresh processes."""

import dataclasses
import json
import subprocess
import time
from dataclasses import dataclass

from asyncmde_ros import processes
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.bench.options import BenchOptions
from asyncmde_ros.lab.bench.progress import bar
from asyncmde_ros.lab.bench.statistics import Summary, summarise

NOTE = ('Each start is a fresh Python process with the files in the page cache; its parts in '
        'order: interpreter, import, weights (read and verify), compile (and warm up), first '
        'depth (the first refresh, and a step of the fast path). Resident memory is taken after '
        "the first depth and again after running at the camera's rate.")


@dataclass(frozen=True)
class Startup:
    """Seconds of each part and in all, and resident memory in MiB, over ``starts`` processes."""

    starts: int
    figures: dict[str, Summary]


def measure(options: BenchOptions) -> Startup:
    """Start the pipeline in ``options.startups`` processes, one after the other."""
    samples: dict[str, list[float]] = {}
    with bar('startup', options.startups) as shown:
        for _ in range(options.startups):
            for name, value in _probe(options).items():
                samples.setdefault(name, []).append(value)
            shown.update(1)
    figures = {name: summarise(values) for name, values in samples.items()}
    return Startup(options.startups,
                   {name: summary for name, summary in figures.items() if summary is not None})


def _probe(options: BenchOptions) -> dict[str, float]:
    text = json.dumps(dataclasses.asdict(options), default=str)
    done = subprocess.run(
        # One clock for every process of a Linux machine.
        processes.command('asyncmde_ros.lab.bench.startup_probe', '--options', text,
                          '--since', str(time.monotonic())), capture_output=True, text=True)
    if done.returncode != 0:
        raise AsyncMDEError(f'a fresh process could not start the pipeline:\n{done.stderr}')
    figures = json.loads(done.stdout.splitlines()[-1])
    return {name: value for name, value in figures.items() if value is not None}
