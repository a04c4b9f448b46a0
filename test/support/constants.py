"""Constants of files that a test cannot import."""

import ast
from pathlib import Path


def constant(path: Path, name: str) -> object:
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f'{path.name} has no {name}')
