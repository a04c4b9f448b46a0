"""The words that scripts match, and the sentences that people read."""

import re

import pytest
from support.repository import ROOT

from asyncmde_ros.pipeline.results import DepthSource, PipelineState
from asyncmde_ros.pipeline.slow_path import SlowPathState
from asyncmde_ros.pipeline.stamps import Jump
from asyncmde_ros.ros import tokens
from asyncmde_ros.ros.sentences import STATES
from asyncmde_ros.ros.tokens import MemorySource

TABLE = (ROOT / 'docs' / 'ros.md').read_text(encoding='utf-8').partition('\n## Tokens\n')[2]


@pytest.mark.parametrize('kind', [PipelineState, DepthSource, SlowPathState])
def test_every_token_is_in_the_table(kind: type) -> None:
    documented = set(re.findall('`([a-z0-9_]+)`', TABLE))
    assert {member.value for member in kind} <= documented
    assert {tokens.OVERRUN, tokens.ENGINE, tokens.INTERNAL, tokens.STALE} <= documented


@pytest.mark.parametrize('kind', [PipelineState, DepthSource, SlowPathState, Jump])
def test_a_token_is_one_word_and_its_own(kind: type) -> None:
    values = [member.value for member in kind]
    assert all(re.fullmatch('[a-z]+(_[a-z]+)*', value) for value in values)
    assert len(set(values)) == len(values)


def test_every_state_has_its_sentence() -> None:
    assert set(STATES) == set(PipelineState)
    assert len(set(STATES.values())) == len(STATES)


@pytest.mark.parametrize('stale', [False, True])
@pytest.mark.parametrize('depth', DepthSource)
def test_a_source_is_read_as_it_was_written(depth: DepthSource, stale: bool) -> None:
    said = MemorySource(depth, stale)
    assert MemorySource.parse(str(said)) == said
    assert MemorySource.parse(f'{said},mark') == said, 'a mark of a later version'


def test_a_source_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match='keyframe'):
        MemorySource.parse('keyframe of the depth memory')


def test_a_size_is_read_from_its_key() -> None:
    assert tokens.refreshed_size(tokens.refreshes_key((252, 336))) == '252x336'
    assert tokens.refreshed_size(tokens.SLOW_PATH_REFRESHES) is None
