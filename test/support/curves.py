"""What a training wrote down of its curves."""

import csv
from pathlib import Path


def rows(path: Path) -> list[dict[str, float]]:
    """Return the rows of a CSV file; NaN where nothing stands."""
    with path.open(newline='') as stream:
        return [{name: float(value or 'nan') for name, value in row.items()}
                for row in csv.DictReader(stream)]
