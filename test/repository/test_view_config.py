"""The layouts for RViz and Foxglove are well formed and name this node's topics."""

import json
import re
from collections.abc import Iterator

import pytest
from support.repository import ROOT

CONFIG = ROOT / 'config'
DIAGNOSTICS = ROOT / 'asyncmde_ros' / 'ros' / 'diagnostics.py'
CAMERA = '/camera/image_raw'
"""The default of the launch file."""

POINTS, QUERIES = '/depth/points', '/query/depth'
CLOUDS = {POINTS, QUERIES}
ANSWERS = 20
"""That may wait, as with the node's own publisher."""

IMAGES = {CAMERA, '/depth/colored', '/depth/relative', '/depth/trust'}


def panels(tree: object) -> Iterator[str]:
    """Yield the leaves of Foxglove's tree of splits."""
    if isinstance(tree, str):
        yield tree
        return
    assert isinstance(tree, dict)
    assert tree['direction'] in ('row', 'column') and 0 < tree.get('splitPercentage', 50) < 100
    yield from panels(tree['first'])
    yield from panels(tree['second'])


def test_the_foxglove_layout() -> None:
    layout = json.loads((CONFIG / 'depth.foxglove.json').read_text(encoding='utf-8'))
    configs = layout['configById']
    assert sorted(panels(layout['layout'])) == sorted(configs)
    modes = [config['imageMode'] for config in configs.values() if 'imageMode' in config]
    assert {mode['imageTopic'] for mode in modes} == IMAGES
    assert {mode['calibrationTopic'] for mode in modes if 'calibrationTopic' in mode} == {
        '/camera/camera_info', '/depth/camera_info'}
    for config in configs.values():
        for path in config.get('paths', []):
            assert path['enabled']
            (key,) = re.fullmatch(r'/diagnostics\.status\[:\]\.values\[:\]\{key=="(\w+)"\}\.value',
                                  path['value']).groups()
            assert f"'{key}':" in DIAGNOSTICS.read_text(encoding='utf-8')
    assert set(configs['3D!points']['topics']) == {POINTS}
    assert configs['DiagnosticSummary!node']['topicToRender'] == '/diagnostics'


def test_the_rviz_configuration() -> None:
    yaml = pytest.importorskip('yaml', reason='left out: needs PyYAML')
    config = yaml.safe_load((CONFIG / 'depth.rviz').read_text(encoding='utf-8'))
    manager = config['Visualization Manager']
    assert manager['Global Options']['Fixed Frame']
    displays = manager['Displays']
    assert {display['Topic']['Value'] for display in displays} == IMAGES | CLOUDS
    for display in displays:
        assert display['Class'].removeprefix('rviz_default_plugins/') == (
            'PointCloud2' if display['Topic']['Value'] in CLOUDS else 'Image')
        assert display['Enabled'] is display['Value']
        topic = display['Topic']
        camera = topic['Value'] == CAMERA
        assert topic['Reliability Policy'] == ('Best Effort' if camera else 'Reliable')
        assert topic['Depth'] == (ANSWERS if topic['Value'] == QUERIES else 1)
