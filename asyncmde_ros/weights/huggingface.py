"""Get foundation weights from Hugging Face."""

from pathlib import Path

from asyncmde_ros.weights.canonical import Tensors
from asyncmde_ros.weights.download import download
from asyncmde_ros.weights.formats import read_safetensors
from asyncmde_ros.weights.registry import HuggingFace
from asyncmde_ros.weights.storage import writing_to
from asyncmde_ros.weights.transformers_layout import to_original_names

ENDPOINT = 'https://huggingface.co'


def obtain(source: HuggingFace, raw: Path, progress: bool) -> Tensors:
    """Download the file, at its pinned commit and digest, and return its tensors.

    The names are the authors', the dtype is the file's.  The download passes through ``raw``,
    whose lock the caller holds; only an unfinished one stays.  WeightsError where it cannot be
    had.
    """
    url = f'{ENDPOINT}/{source.repo}/resolve/{source.revision}/{source.file.name}'
    try:
        download(url, raw, source.file, progress)
        return to_original_names(read_safetensors(raw))
    finally:
        with writing_to(raw.parent):
            raw.unlink(missing_ok=True)
