"""Predictions and scores kept on disk, so that a second evaluation takes seconds."""

import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asyncmde_ros.files import cache_directory, write_atomically

logger = logging.getLogger(__name__)

Arrays = dict[str, npt.NDArray[np.float16]]


def stored_arrays(key: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
    """Return ``compute()``'s arrays, or those kept from the last time with the same ``key``.

    ``key`` must name everything that the result depends on.  Half precision costs 0.05 % of a
    value, well below what the metrics resolve, and halves the disk.
    """
    path = _path(key, '.npz')
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except Exception:  # numpy and zipfile raise a dozen kinds for a damaged file
        logger.debug('%s is not there, or damaged: computed anew', path)
    result = compute()
    buffer = io.BytesIO()
    arrays: dict[str, Any] = dict(result)  # for mypy, any array may be savez's flag allow_pickle
    np.savez(buffer, **arrays)
    _keep(path, buffer.getvalue())
    return result


def stored_json(key: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
    """The same for anything that JSON can hold."""
    path = _path(key, '.json')
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        pass
    result = compute()
    _keep(path, json.dumps(result).encode())
    return result


def digest(array: npt.NDArray[np.generic]) -> str:
    """Return the sha256 of an array's content."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _path(key: Mapping[str, Any], suffix: str) -> Path:
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    return cache_directory() / 'eval' / f'{name}{suffix}'


def _keep(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        logger.warning('nothing is kept for the next run: %s', error)
