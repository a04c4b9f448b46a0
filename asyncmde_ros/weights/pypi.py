"""A file from PyPI that is exactly the one meant."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wheel:
    """A package of one version, and the sha256 of every wheel of it that will do."""

    requirement: str
    sha256: Iterable[str]

    def pip_arguments(self, scratch: Path) -> list[str]:
        """Return what follows ``pip install`` or ``pip download``; writes into ``scratch``.

        pip knows proxies and mirrors from the user's own configuration, and refuses any other
        file than these before it opens it.
        """
        file = scratch / 'requirements.txt'
        hashes = [f'--hash=sha256:{value}' for value in self.sha256]
        file.write_text(' '.join([self.requirement, *hashes]) + '\n', encoding='ascii')
        return ['--only-binary', ':all:', '--no-deps', '--require-hashes', '-r', str(file)]
