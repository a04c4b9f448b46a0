"""Find weight files on this machine and vouch for their content; nothing here downloads."""

import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from asyncmde_ros.errors import WeightsError
from asyncmde_ros.files import cache_directory
from asyncmde_ros.resources import share_directory
from asyncmde_ros.weights import provenance, registry
from asyncmde_ros.weights.canonical import Tensors, check_shapes
from asyncmde_ros.weights.registry import FoundationWeights, Weights
from asyncmde_ros.weights.storage import sha256

logger = logging.getLogger(__name__)

MODELS_VARIABLE = 'ASYNCMDE_MODELS'


@dataclass(frozen=True)
class Findings:
    """A verified file, if there is one, and why each place looked at before had none."""

    path: Path | None
    reasons: Sequence[str]


def locate(name: str | None, override: Path | None = None) -> Path:
    """Return the path of verified weights.

    ``override`` is used instead of the registry's file; under the registry's file name it must
    be the registry's file, under any other it is taken as the user's own, of the right tensors.
    ``name`` None stands for a network that the registry does not have.

    Looks for a foundation model in ``$ASYNCMDE_MODELS`` and the cache, for a fast network in the
    package.  A file counts only if its sha256 is the registry's or the one recorded when it was
    fetched; where neither exists, it must have the variant's tensors.  WeightsError says what to
    do where no file counts.
    """
    entry = None if name is None else registry.entry(name)
    if override is not None:
        _verify_override(entry, override)
        return override
    if entry is None:
        raise WeightsError('no weights are registered for this network: give a file')
    findings = search(entry)
    if findings.path is not None:
        return findings.path
    raise WeightsError(f'{entry.name}: {"; ".join(findings.reasons)}.  {_advice(entry)}')


def load(path: Path) -> Tensors:
    """Return the tensors of a safetensors file as they are stored; WeightsError if it is none."""
    try:
        return load_file(path)
    except (OSError, SafetensorError, TypeError, AttributeError) as error:
        # The last two: a type of number that numpy lacks
        raise WeightsError(f'cannot read {path}: {error}') from error


def search(entry: Weights) -> Findings:
    """Return the first verified file among the places where ``entry`` may lie."""
    reasons = []
    if isinstance(entry, FoundationWeights) and not os.environ.get(MODELS_VARIABLE):
        reasons.append(f'{MODELS_VARIABLE} is not set')
    for path in candidates(entry):
        if (reason := obstacle(path)) is not None:
            reasons.append(reason)
            continue
        try:
            verify(entry, path)
            return Findings(path, reasons)
        except WeightsError as error:
            logger.warning('%s', error)
            reasons.append(str(error))
    return Findings(None, reasons)


def candidates(entry: Weights) -> list[Path]:
    """Return where the file of ``entry`` may lie, the preferred place first."""
    if not isinstance(entry, FoundationWeights):
        return [share_directory() / 'models' / entry.file]
    configured = os.environ.get(MODELS_VARIABLE)
    directories = [Path(configured).expanduser()] if configured else []
    return [directory / entry.file for directory in (*directories, cache_directory())]


def obstacle(path: Path) -> str | None:
    """Return why there is no file to read at ``path``; None where there is one."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return (f'{path} is a link to a file that does not exist' if path.is_symlink() else
                f'{path} does not exist')
    except OSError as error:
        return f'{path} cannot be read: {error.strerror}'
    return None if stat.S_ISREG(mode) else f'{path} is not a file'


def verify(entry: Weights, path: Path) -> str:
    """Check a file that claims to be ``entry`` and return its sha256.

    WeightsError where it is neither the registry's nor the one recorded beside it, or, with no
    digest to compare, not of the variant's tensors.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise WeightsError(f'cannot read {path}: {error.strerror}') from error
    if entry.size is not None and size != entry.size:
        raise WeightsError(f'{path} is damaged: {size} bytes instead of {entry.size}')
    recorded = provenance.read(path)
    accepted = [known for known in (entry.sha256, recorded and recorded.sha256) if known]
    found = sha256(path)
    if accepted and found not in accepted:
        raise WeightsError(f'{path} is damaged: sha256 {found} instead of '
                           f'{" or ".join(accepted)}')
    if not accepted:
        _check_tensors(entry, path)
    return found


def _verify_override(entry: Weights | None, path: Path) -> None:
    if (reason := obstacle(path)) is not None:
        raise WeightsError(reason)
    if isinstance(entry, FoundationWeights) and path.name == entry.file:
        verify(entry, path)
        return
    _check_tensors(entry, path)
    logger.info('using your own weights %s (sha256 %s)', path, sha256(path))


def _check_tensors(entry: Weights | None, path: Path) -> None:
    """Check by the header that a file is safetensors and, for a foundation model, canonical."""
    try:
        with safe_open(path, framework='np') as content:
            found = {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}
        if isinstance(entry, FoundationWeights):
            check_shapes(found, entry.config)
    except (OSError, SafetensorError, WeightsError) as error:
        convert = (f'; another format is converted by: asyncmde weights fetch {entry.name} '
                   f'--from {path}' if isinstance(entry, FoundationWeights) else '')
        raise WeightsError(f'{path} cannot be used: {error}{convert}') from error


def _advice(entry: Weights) -> str:
    if not isinstance(entry, FoundationWeights):
        return 'It belongs to the package: install that again, or give your own file.'
    if not entry.sources:
        return (f'{entry.title} is {entry.licence} and never fetched by itself: get it from '
                f'{entry.link} and run: asyncmde weights fetch {entry.name} --from PATH')
    return (f'Run: asyncmde weights fetch {entry.name} (needs the internet once), or set '
            f'{MODELS_VARIABLE} to a folder that has {entry.file}')
