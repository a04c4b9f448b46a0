"""Where a file in the cache came from: the record beside it."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.weights.storage import write_atomically


@dataclass(frozen=True)
class Provenance:
    """``source`` in words, the digest of what it gave, and the digest of the file made of it."""

    source: str
    source_sha256: str
    sha256: str
    licence: str
    date: str


def record_path(path: Path) -> Path:
    """Return where the record of a weight file lies: ``<file>.json``."""
    return path.with_name(f'{path.name}.json')


def write(path: Path, source: str, source_sha256: str, sha256: str, licence: str) -> None:
    """Record, as of now, where the weight file ``path`` came from."""
    date = datetime.now(timezone.utc).isoformat(timespec='seconds')
    record = Provenance(source, source_sha256, sha256, licence, date)
    write_atomically(record_path(path), f'{json.dumps(asdict(record), indent=2)}\n'.encode())


def read(path: Path) -> Provenance | None:
    """Return the record of a weight file, None where there is none; WeightsError if damaged."""
    record = record_path(path)
    try:
        found = Provenance(**json.loads(record.read_bytes()))
        if not all(isinstance(value, str) for value in asdict(found).values()):
            raise TypeError('every field is a text')
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f'{record} is damaged: delete it and {path}, and fetch again'
                           ) from error
