"""EventSPD at the published size: our counts, each beside the document's."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from asyncmde_ros.events.network.attention import CrossAttention
from asyncmde_ros.events.network.auxiliary import Connectors, DenseHeads
from asyncmde_ros.events.network.config import PUBLISHED
from asyncmde_ros.events.network.event_spd import EventSPD
from asyncmde_ros.events.network.precompute import Context

ROWS, COLS = 720, 1280
QUERIES = 8
MEGA = 1e6
BACKBONE_GIGA = 25.931


@pytest.fixture(scope='module')
def network() -> EventSPD:
    """Return the published network without memory for its numbers: only shapes count here."""
    with torch.device('meta'):
        return EventSPD(PUBLISHED).eval()


@pytest.fixture(scope='module')
def context(network: EventSPD) -> Context:
    with torch.device('meta'):
        return network.shared(torch.empty(1, PUBLISHED.inputs, ROWS, COLS),
                              network.no_memory(1, ROWS, COLS))


@pytest.fixture(params=[False, True], ids=['as the document counts', 'folded'])
def folded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    monkeypatch.setattr(CrossAttention, 'folded', request.param)
    yield request.param


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_backbones_parameters(network: EventSPD) -> None:
    pyramid = network.shared.pyramid
    assert count(pyramid.stem) == 37_056            # document: 37 K
    assert count(pyramid.l1) == 73_856              # 74 K
    assert count(pyramid.l2) == 464_256             # 435 K, which no kernel of 13 gives
    assert count(pyramid.l3) == 1_784_856           # 1,778 K; 5.4 K are the relative position bias
    assert count(pyramid.l4) == 3_548_928           # 3,542 K
    assert count(pyramid.memory) == 908_928         # 886 K, which leaves out the depthwise part
    between = [pyramid.down2, pyramid.down3, pyramid.down4]
    assert sum(map(count, between)) == 427_456      # in no row
    assert count(pyramid) == 7_245_336              # 7,179 K, though its rows sum to 6,752 K


def test_the_precomputed_projections_parameters(network: EventSPD) -> None:
    project = network.shared.precompute.projections
    assert count(project.keys) + count(project.values) == 295_296   # document: 296 K
    assert count(project.anchors) == 73_920                         # 74 K
    assert count(project.read) == 135_744   # 136 K, which includes L3's, in the text "id"
    assert count(project) == 504_960                                # 506 K
    assert count(network.shared.precompute.calibration) == 770      # "~0.8 K each": both are


def test_the_decoders_parameters(network: EventSPD) -> None:
    decoder = network.decoder
    assert count(decoder.gather) == 146_000         # B1, document: 142 K
    assert count(decoder.local) == 889_728          # B2: 891 K
    assert count(decoder.whole) == 741_504          # B3: 740 K
    assert count(decoder.read) == 159_384           # B4: 159 K
    assert count(decoder.fused) + count(decoder.depth) == 1_408_897     # B5: 1,411 K
    assert count(decoder) == 3_345_513              # 3,343 K
    without_encoder = count(network) - count(network.shared.encoder)
    assert without_encoder == 11_096_579            # "~11.1 M"; its own parts give 11.03 M


def test_what_only_training_has() -> None:
    connectors = Connectors(PUBLISHED, 384)
    assert count(connectors.level3) == 221_952      # document: 148 K, which is no 192-384-384
    assert count(connectors.level4) == 295_680      # 296 K
    assert count(DenseHeads(PUBLISHED)) == 129 + 193


def test_the_pyramids_sizes_and_the_tokens(network: EventSPD, context: Context) -> None:
    assert [tuple(level.shape[1:]) for level in context[:4]] == [
        (64, 180, 320), (128, 90, 160), (192, 45, 80), (384, 22, 40)]
    assert context.keys.shape == context.values.shape == (1, 2, 880, 192)
    assert context.anchors.shape == (1, 880, 192)
    assert {level.shape[1] for level in (context.value2, context.value3, context.value4)} == {192}
    tokens, lookups = [], 0
    network.decoder.gather.register_forward_hook(lambda m, i, out: tokens.append(out[1].shape[2]))
    network.decoder.read.register_forward_hook(lambda m, i, out: tokens.append(out.shape[2]))
    with torch.device('meta'):
        network.decoder(context, torch.empty(1, QUERIES, 2))
    assert tokens == [91, 32]                       # 123 in B5
    lookups = 1 + 91 + 32 * network.decoder.read.importance.out_features
    assert lookups == 92 + 2_304 == 2_396


def test_multiplications_of_a_query(network: EventSPD, context: Context, folded: bool) -> None:
    """Of matrix products, as the document counts: no norms, no interpolation."""
    with torch.device('meta'), FlopCounterMode(display=False) as counted:
        network.decoder(context, torch.empty(1, QUERIES, 2))
    stages = {name.removeprefix('QueryDecoder.'): sum(found.values()) / 2 / QUERIES / MEGA
              for name, found in counted.get_flop_counts().items()}
    fused = stages['fused'] + stages['depth']
    assert stages['gather'] == pytest.approx(1.789, abs=1e-3)           # document: 2.0
    assert stages['read'] == pytest.approx(5.063, abs=1e-3)             # 5.1
    whole = stages['Global'] - fused - sum(stages[name] for name in ('gather', 'local', 'read'))
    assert whole == pytest.approx(1.413, abs=1e-3)                      # 1.4
    if folded:  # what the document does not see: keys and values need not be made
        assert stages['local'] == pytest.approx(1.304, abs=1e-3)
        assert fused == pytest.approx(2.251, abs=1e-3)
        assert stages['Global'] == pytest.approx(11.820, abs=1e-3)
    else:
        assert stages['local'] == pytest.approx(14.226, abs=1e-3)       # 14.2
        assert fused == pytest.approx(28.527, abs=1e-3)                 # 28.4
        assert stages['Global'] == pytest.approx(51.018, abs=1e-3)      # 51.1


def test_multiplications_of_the_backbone(network: EventSPD) -> None:
    rows, cols = ROWS // 2, COLS // 2
    with torch.device('meta'), FlopCounterMode(display=False) as counted:
        network.shared.pyramid(torch.empty(1, PUBLISHED.encoded, rows, cols),
                               network.no_memory(1, ROWS, COLS))
    # Document: 25.8 G.
    assert counted.get_total_flops() / 2e9 == pytest.approx(BACKBONE_GIGA, abs=0.01)
