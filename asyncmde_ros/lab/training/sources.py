"""Which footage there is to train on, under which licence, and on which side of the split."""

import csv
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.training.config import DataConfig

VIDEO_SUFFIXES = ('.mp4', '.m4v', '.avi', '.mkv', '.mov', '.webm', '.mts', '.m2ts', '.mpg')
PHOTO_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp')


@dataclass(frozen=True)
class TrainingSource:
    """A video or a photo; ``validation`` ones are never trained on."""

    path: Path
    kind: str
    licence: str
    validation: bool


def find(directory: Path, config: DataConfig) -> list[TrainingSource]:
    """List a data folder: ``videos/`` and ``photos/``, or files of both kinds anywhere in it.

    ``videos.csv`` and ``photos.csv`` (columns ``file``, ``license``) tell the licences where
    present.  Raises MediaError where nothing is left to train on.
    """
    if not directory.is_dir():
        raise MediaError(f'{directory} is not a folder of videos and photos')
    licences = {**_licences(directory / 'videos.csv'), **_licences(directory / 'photos.csv')}
    sources = []
    for path in sorted(directory.rglob('*')):
        kind = ('video' if path.suffix.lower() in VIDEO_SUFFIXES
                else 'photo' if path.suffix.lower() in PHOTO_SUFFIXES else None)
        licence = licences.get(path.name, 'unknown')
        if kind is not None and path.is_file() and _allowed(licence, config):
            sources.append(TrainingSource(path, kind, licence,
                                          is_validation(path.name, config.validation_share)))
    if not sources and not config.rendered_clips:
        raise MediaError(f'{directory} holds no video or photo'
                         + (' under the licences asked for' if licences else ''))
    return sources


def is_validation(name: str, share: float) -> bool:
    """Put a source on one side of the split by its name alone, whatever else there is."""
    return hash_share(name) < share


def hash_share(text: str) -> float:
    """Map a text to [0, 1), evenly and always in the same way."""
    return int(hashlib.sha256(os.fsencode(text)).hexdigest()[:8], 16) / 0x1_0000_0000


def _allowed(licence: str, config: DataConfig) -> bool:
    return ((not config.licences or any(text in licence for text in config.licences))
            and not any(text in licence for text in config.licences_without))


def _licences(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        with path.open(newline='', encoding='utf-8-sig') as stream:
            return {row['file']: row['license'] or 'unknown' for row in csv.DictReader(stream)}
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise MediaError(f'{path}: not a table with the columns "file" and "license"') from error


def licence_table(sources: Iterable[TrainingSource]) -> dict[str, int]:
    """Count sources by licence, most frequent first."""
    counts: dict[str, int] = {}
    for source in sources:
        counts[source.licence] = counts.get(source.licence, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
