"""What a Rerun file holds, read back with Rerun's own reader."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

pa = pytest.importorskip('pyarrow', reason='left out: needs pip install ".[view]"')
chunk = pytest.importorskip('rerun.chunk', reason='left out: reading needs a newer rerun-sdk')


CLEAR = 'Clear:is_recursive'


@dataclass
class Entity:
    """The rows of one entity in the order of their stamps, with each component's values."""

    stamps_ns: list[int] = field(default_factory=list)
    kind: object = None
    """Type of the timeline: a duration or a timestamp."""

    values: dict[str, list] = field(default_factory=dict)
    """The first of each row."""

    counts: dict[str, list[int]] = field(default_factory=dict)
    """How many each row has."""

    cleared_ns: list[int] = field(default_factory=list)


def read(path: Path) -> dict[str, Entity]:
    """Return what is on the timeline ``stamp`` by entity, values by component."""
    entities: dict[str, Entity] = {}
    for part in chunk.RrdReader(path).stream():
        batch = part.to_record_batch()
        if 'stamp' not in batch.schema.names:
            continue
        entity = entities.setdefault(part.entity_path, Entity())
        if CLEAR in batch.schema.names:
            entity.cleared_ns += batch['stamp'].cast(pa.int64()).to_pylist()
            continue
        entity.kind = batch.schema.field('stamp').type
        entity.stamps_ns += batch['stamp'].cast(pa.int64()).to_pylist()
        for name in batch.schema.names:
            if ':' in name:
                rows = batch[name].to_pylist()
                entity.values.setdefault(name, []).extend(row[0] for row in rows)
                entity.counts.setdefault(name, []).extend(len(row) for row in rows)
    for entity in entities.values():
        order = sorted(range(len(entity.stamps_ns)), key=entity.stamps_ns.__getitem__)
        entity.stamps_ns = [entity.stamps_ns[index] for index in order]
        for of_rows in (entity.values, entity.counts):
            of_rows.update({name: [values[index] for index in order]
                            for name, values in of_rows.items()})
    return entities
