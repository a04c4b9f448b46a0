"""The package manifest: whatever the ROS layer and the launch files import is declared."""

import ast
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from support.repository import ROOT

MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()
KEYS = {'av': 'python3-av-pip', 'numpy': 'python3-numpy', 'cv2': 'python3-opencv',
        'tqdm': 'python3-tqdm', 'tf2_ros': 'tf2_ros_py', 'openvino': 'python3-openvino-pip',
        'safetensors': 'python3-safetensors-pip', 'yaml': 'python3-yaml'}
"""rosdep's names for modules that are called otherwise."""


def imported(path: Path) -> set[str]:
    roots = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.split('.')[0])
    return roots - sys.stdlib_module_names - {'asyncmde_ros'}


def text(tag: str) -> str:
    found = MANIFEST.findtext(tag)
    assert found is not None
    return found


def test_every_import_of_the_ros_layer_is_declared() -> None:
    declared = {element.text for element in MANIFEST if element.tag.endswith('depend')}
    paths = [path for folder in ('asyncmde_ros/ros', 'asyncmde_ros/events/node', 'launch')
             for path in (ROOT / folder).glob('*.py')]
    assert len(paths) > 10
    missing = {path.name: names for path in paths
               if (names := {KEYS.get(root, root) for root in imported(path)} - declared)}
    assert not missing


def test_everything_that_pip_would_install_is_declared_and_pips_keys_are_defined() -> None:
    setup = ast.parse((ROOT / 'setup.py').read_text(encoding='utf-8'))
    (required,) = (keyword.value for node in ast.walk(setup) if isinstance(node, ast.Call)
                   for keyword in node.keywords if keyword.arg == 'install_requires')
    names = {re.split('[<>=;]', text)[0] for text in ast.literal_eval(required)}
    modules = {'opencv-python-headless': 'cv2'}
    declared = {element.text for element in MANIFEST.findall('exec_depend')}
    assert {KEYS[modules.get(name, name)] for name in names} <= declared
    defined = set(re.findall(r'^(\S+):', (ROOT / 'config/rosdep.yaml').read_text(), re.MULTILINE))
    assert {key for key in declared if key and key.endswith('-pip')} == defined


def test_nothing_is_declared_twice() -> None:
    declared = [(element.tag, element.text) for element in MANIFEST
                if element.tag.endswith('depend')]
    assert len(declared) == len(set(declared))


def test_the_manifest_says_what_setup_py_says() -> None:
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    assert MANIFEST.get('format') == '3'
    for name, value in (('version', text('version')), ('license', text('license')),
                        ('PACKAGE', text('name'))):
        assert re.search(rf"\b{name} ?= ?'{re.escape(value)}'", setup), name
    licence = MANIFEST.find('license')
    assert licence is not None and (ROOT / licence.attrib['file']).is_file()
