"""What Fast DDS keeps of a process in /dev/shm, and leaves there where that is killed."""

import re
from pathlib import Path


def segments(pid: int) -> set[Path]:
    """Return the data segments that a process has; ports are everybody's."""
    maps = Path(f'/proc/{pid}/maps').read_text()
    return {Path(name) for name
            in re.findall(r'/dev/shm/fast(?:rtps|dds)_[0-9a-f]{16}\b', maps)}


def remove(left: set[Path]) -> None:
    """Take away the segments of a process that was killed, with their locks."""
    for segment in left:
        for path in (segment, segment.with_name(f'{segment.name}_el')):
            path.unlink(missing_ok=True)
