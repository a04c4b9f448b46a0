"""Our own modules as processes: they import nothing of the working directory, and end with us."""

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import asyncmde_ros

FORCE_AFTER_S = 10.0
"""What a process has to end by itself; the node ends by force after eight."""

INTERRUPTED = 130
"""The status of a process that was asked to end before it could do anything."""

abandoned = threading.Event()
"""In a process of :func:`start`: set when whoever started it has ended, or let it go."""

_FREE, _ATTACHED = 'free', 'attached'

# ``python -m`` and ``python -c`` look for modules in the working directory first, where a file of
# the user's may be called queue.py.  Python 3.10 has no option against it that leaves PYTHONPATH
# in force.  The package is the one that runs here, whichever else is installed.
_PROGRAM = '; '.join((
    'import sys',
    "del sys.path[:sys.path[:1] == ['']]",
    'from importlib import machinery, util',
    "spec = machinery.PathFinder.find_spec('asyncmde_ros', [sys.argv[1]])",
    "sys.modules['asyncmde_ros'] = package = util.module_from_spec(spec)",
    'spec.loader.exec_module(package)',
    'from asyncmde_ros.processes import run',
    'run()'))


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs ``module`` as ``python -m`` does, from any directory."""
    return _command(_FREE, module, *arguments)


def start(module: str, *arguments: str, **options: Any) -> 'subprocess.Popen[bytes]':
    """Start ``module`` as a process that gets SIGINT when this one ends, however it ends.

    What it watches is its standard input, a pipe that only this process holds the other end of:
    closing it has the same effect.  ``options`` are Popen's.
    """
    return subprocess.Popen(_command(_ATTACHED, module, *arguments), stdin=subprocess.PIPE,
                            **options)


def run() -> None:
    """Be the process: run the module that the command line names."""
    kind, module = sys.argv[2:4]
    sys.argv[1:4] = []
    if kind == _ATTACHED:
        threading.Thread(target=_end_when_abandoned, name='parent', daemon=True).start()
    try:
        runpy.run_module(module, run_name='__main__', alter_sys=True)
    except KeyboardInterrupt:  # while it imports: later it listens itself
        sys.exit(INTERRUPTED)


def _command(kind: str, module: str, *arguments: str) -> list[str]:
    root = Path(asyncmde_ros.__file__).parent.parent
    return [sys.executable, '-c', _PROGRAM, str(root), kind, module, *arguments]


def _end_when_abandoned() -> None:
    while os.read(0, 1):
        pass
    abandoned.set()
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)
    time.sleep(FORCE_AFTER_S)
    os.kill(os.getpid(), signal.SIGKILL)
