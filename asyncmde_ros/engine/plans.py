"""TensorRT plans on disk: which one fits, and is it whole?

A plan runs on the version of TensorRT, the kind of GPU and the driver that it was built with.  So
its name ends in a digest of all that, and a JSON file beside it says it in words, with the plan's
own sha256.  The JSON file is written last: a plan without one is not there.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event

from asyncmde_ros import files
from asyncmde_ros.errors import EngineError
from asyncmde_ros.files import cache_directory, make_directory, write_atomically

DIGEST_LETTERS = 16


@dataclass(frozen=True)
class Key:
    """What a plan was built from and for.

    ``onnx_sha256`` is of the specialised graph, which holds weights, shapes and precision; those
    are named for people.  ``gpu`` and ``driver`` are empty for a plan built elsewhere, by
    ``asyncmde build --compute-capability``.
    """

    onnx_sha256: str
    graph: str
    model: str
    size: str
    precision: str
    backend: str
    version: str
    compute_capability: str
    gpu: str = ''
    driver: str = ''

    @property
    def stem(self) -> str:
        """Return the file's name without its suffix."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return (f'{self.graph}_{self.model}_{self.size}_{self.precision}_{self.backend}-'
                f'{self.version}_sm{self.compute_capability.replace(".", "")}_'
                f'{digest[:DIGEST_LETTERS]}')

    def for_any_machine(self) -> 'Key':
        """Return the key of a plan for this compute capability, wherever it was built."""
        return replace(self, gpu='', driver='')


class PlanStore:
    """A folder of plans, shared by processes."""

    def __init__(self, directory: Path | None) -> None:
        """``directory`` None is ``engines`` in the cache folder."""
        self.directory = directory or cache_directory() / 'engines'

    def path(self, key: Key) -> Path:
        return self.directory / f'{key.stem}.plan'

    def load(self, key: Key) -> bytes | None:
        """Return a whole plan of this key, None if there is none or it is damaged."""
        path = self.path(key)
        try:
            about = json.loads(path.with_suffix('.json').read_text(encoding='utf-8'))
            plan = path.read_bytes()
        except (OSError, ValueError):
            return None
        if not isinstance(about, dict) or about.get('key') != asdict(key) or (
                about.get('plan_sha256') != hashlib.sha256(plan).hexdigest()):
            return None
        return plan

    def save(self, key: Key, plan: bytes, build_seconds: float) -> Path:
        """Keep a plan; EngineError if it cannot be written."""
        path = self.path(key)
        about = {'key': asdict(key), 'plan_sha256': hashlib.sha256(plan).hexdigest(),
                 'build_seconds': build_seconds, 'checked': None}
        try:
            make_directory(self.directory)
            path.with_suffix('.json').unlink(missing_ok=True)
            write_atomically(path, plan)
            self._describe(path, about)
        except OSError as error:
            raise EngineError(f'cannot keep the engine in {self.directory}: {error.strerror}') \
                from error
        return path

    def checked(self, key: Key) -> bool:
        """Tell whether the plan's numbers were found right on this machine."""
        try:
            about = json.loads(self.path(key).with_suffix('.json').read_text(encoding='utf-8'))
            return bool(about['checked'])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def note_check(self, key: Key, errors: dict[str, float]) -> None:
        """Write down that the numbers were right, and how far off they were."""
        path = self.path(key)
        # Where another process threw the plan away, or the disk is full, it is checked again at
        # the next start.
        with contextlib.suppress(OSError, ValueError):
            about = json.loads(path.with_suffix('.json').read_text(encoding='utf-8'))
            self._describe(path, {**about, 'checked': errors})

    def discard(self, key: Key) -> None:
        """Forget a plan that turned out to be of no use."""
        for suffix in ('.json', '.plan'):
            with contextlib.suppress(OSError):
                self.path(key).with_suffix(suffix).unlink()

    @contextlib.contextmanager
    def locked(self, key: Key, cancel: Event) -> Iterator[None]:
        """Let one process at a time build a key; EngineError if ``cancel`` is set meanwhile."""
        def waiting() -> None:
            if cancel.is_set():
                raise EngineError('cancelled while another process builds this engine')

        make_directory(self.directory)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(files.locked(self.directory / f'.{key.stem}.lock', waiting))
                for suffix in ('.plan', '.json'):
                    files.sweep(self.path(key).with_suffix(suffix))
            except OSError as error:
                raise EngineError(f'cannot write to {self.directory}: {error.strerror}') \
                    from error
            yield

    @contextlib.contextmanager
    def workspace(self, key: Key) -> Iterator[Path]:
        """Lend an empty folder to who has the key's lock.  OSError if there can be none.

        Here and not among the temporary files, where what a build leaves behind whose process is
        killed would stay; here the next build of the key clears it away.
        """
        folder = self.directory / f'.{key.stem}.build'
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _describe(self, path: Path, about: dict[str, object]) -> None:
        write_atomically(path.with_suffix('.json'),
                         (json.dumps(about, indent=2) + '\n').encode())
