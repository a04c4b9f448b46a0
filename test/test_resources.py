"""The package finds its data files, or says that it was installed without them."""

import json
from pathlib import Path

import pytest

from asyncmde_ros import resources
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.resources import MARKER, share_directory
from asyncmde_ros.weights import registry


@pytest.mark.parametrize('share', ['', 'share/asyncmde_ros'])
def test_the_nearest_folder_with_the_registry_is_taken(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: str) -> None:
    folder = tmp_path / share
    (folder / MARKER).parent.mkdir(parents=True)
    (folder / MARKER).write_text('{}')
    monkeypatch.setattr(resources, '__file__',
                        str(tmp_path / 'lib/python3/site-packages/asyncmde_ros/resources.py'))
    assert share_directory.__wrapped__() == folder


def test_a_copied_folder_without_data_says_how_to_install(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, '__file__', str(tmp_path / 'asyncmde_ros/resources.py'))
    with pytest.raises(AsyncMDEError, match='install the package with pip or colcon'):
        share_directory.__wrapped__()


def test_a_registry_with_another_kind_of_source_is_refused(tmp_path: Path) -> None:
    content = json.loads((share_directory() / MARKER).read_text(encoding='utf-8'))
    content['foundation']['depth_anything_v2_vits']['sources'][0]['kind'] = 'torrent'
    (tmp_path / 'registry.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no source kind 'torrent'"):
        registry.read(tmp_path / 'registry.json')


def test_an_adapter_for_few_tokens_is_a_weight_file_of_its_model(tmp_path: Path) -> None:
    content = json.loads((share_directory() / MARKER).read_text(encoding='utf-8'))
    fields = {'title': 'Few tokens', 'file': 'few.safetensors', 'sha256': 'ab', 'size': 1,
              'licence': 'MIT', 'link': None}
    content['glance'] = {'few': fields}
    content['models']['vits']['glance'] = 'few'
    (tmp_path / 'registry.json').write_text(json.dumps(content))

    read = registry.read(tmp_path / 'registry.json')

    assert read.models['vits'].glance == 'few'
    assert read.models['vitb'].glance is None
    assert read.weights['few'] == registry.Weights('few', **fields)
