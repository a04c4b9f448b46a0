"""How much memory a process holds."""

from pathlib import Path

KIB_PER_MIB = 1024


def resident_mib(process: int | str = 'self') -> float | None:
    """Return a process's resident memory [MiB] from /proc; None where that cannot be read."""
    return _status(process, 'VmRSS')


def peak_resident_mib(process: int | str = 'self') -> float | None:
    """Return the most that a process ever held [MiB]."""
    return _status(process, 'VmHWM')


def _status(process: int | str, field: str) -> float | None:
    try:
        lines = Path(f'/proc/{process}/status').read_text(encoding='ascii').splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(':')
        if name == field:
            return int(value.split()[0]) / KIB_PER_MIB
    return None
