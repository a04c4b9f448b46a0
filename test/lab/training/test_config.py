"""Training configurations: every shipped one loads, and a wrong one is refused by its key."""

import dataclasses
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.lab.training.config import (
    FOOTAGE_MOTION,
    GATES,
    MEMORIES,
    WHOLE,
    ConfigError,
    StudentConfig,
    TrainConfig,
    from_tables,
    load,
    to_tables,
)
from asyncmde_ros.pipeline.settings import MotionCompensation
from asyncmde_ros.resources import share_directory

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHIPPED = sorted((share_directory() / 'config' / 'training').glob('*.toml'))
SHARES = st.floats(0, 1)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding='utf-8')
    return path


def leaves(tables: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    """Flatten nested tables; some are one value, as inheritance takes them."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        nested = isinstance(value, dict) and key not in WHOLE
        flat |= leaves(value, f'{prefix}{key}.') if nested else {prefix + key: value}
    return flat


def as_json(config: TrainConfig) -> dict[str, Any]:
    return json.loads(json.dumps(to_tables(config)))


# What is shipped


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_changes_what_it_names_and_nothing_else(path: Path) -> None:
    named = tomllib.loads(path.read_text(encoding='utf-8'))
    base = named.pop('base', None)
    below = load(path.parent / base) if base else TrainConfig()
    if 'student' in named and below.student is None:
        below = replace(below, student=StudentConfig())
    assert leaves(as_json(load(path))) == leaves(as_json(below)) | leaves(named)


def test_what_is_shipped_covers_every_ablation() -> None:
    configs = {path.stem: load(path) for path in SHIPPED}
    assert {config.model.memory for config in configs.values()} == set(MEMORIES)
    assert {config.model.gates for config in configs.values()} == set(GATES)
    assert {config.unroll.motion for config in configs.values()} >= {MotionCompensation.OFF,
                                                                    MotionCompensation.IMAGE}
    paper = configs['paper']
    assert (paper.loss.ssi, paper.loss.gradient, paper.loss.memory, paper.loss.tau) == (
        1.0, 0.5, 0.1, 0.4)                                                 # eqs. 13-14
    assert not (paper.loss.fused or paper.loss.observed or paper.loss.alone)
    rates = paper.optimiser
    assert (rates.encoder_rate, rates.clip_rate_share, rates.decoder_rate) == (1, 1, 1), \
        'the paper trains everything at one rate'
    assert (paper.unroll.frames, paper.unroll.beta, paper.unroll.k) == (10, 0.5, 4.0)


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_a_configuration_survives_json(path: Path) -> None:
    config = load(path)
    assert from_tables(as_json(config)) == config
    assert from_tables(to_tables(config)) == config


@given(motion=st.sampled_from(FOOTAGE_MOTION).map(MotionCompensation),
       seed=st.integers(0, 2**32), beta=SHARES,
       reverse=SHARES, frames=st.integers(2, 20), share=st.integers(0, 100),
       licences=st.lists(st.text(max_size=5), max_size=3),
       quality=st.tuples(st.integers(1, 50), st.integers(50, 100)))
def test_any_configuration_survives_json(motion: MotionCompensation, seed: int, beta: float,
                                         reverse: float, frames: int, share: int,
                                         licences: list[str], quality: tuple[int, int]) -> None:
    config = TrainConfig(seed)
    config = dataclasses.replace(
        config, unroll=dataclasses.replace(config.unroll, beta=beta, motion=motion, frames=frames,
                                           max_delay=share % frames),
        data=dataclasses.replace(
            config.data, reverse=reverse, licences=tuple(licences), sizes={'56x84': 1.0 + share},
            appearance=dataclasses.replace(config.data.appearance, jpeg_quality=quality)))
    assert from_tables(as_json(config)) == config


def test_sizes_are_weighed_to_one() -> None:
    sizes = from_tables({'data': {'sizes': {'56x84': 3, '84x56': 1}}}).sizes()
    assert sizes == [((56, 84), 0.75), ((84, 56), 0.25)]


# Inheritance


def test_a_file_builds_on_another_that_builds_on_a_third(tmp_path: Path) -> None:
    write(tmp_path / 'lowest.toml', 'seed = 1\n[unroll]\nframes = 4\nk = 2.0\n'
                                    '[data.appearance]\nblur = 0.1\nhue = 1.0\n')
    write(tmp_path / 'middle.toml', 'base = "lowest.toml"\n[unroll]\nframes = 5\n')
    (tmp_path / 'deeper').mkdir()
    top = write(tmp_path / 'deeper' / 'top.toml',
                'base = "../middle.toml"\n[data.appearance]\nhue = 2.0\n')
    config = load(top)
    assert (config.seed, config.unroll.frames, config.unroll.k) == (1, 5, 2.0)
    assert (config.data.appearance.blur, config.data.appearance.hue) == (0.1, 2.0)
    assert config.unroll.beta == TrainConfig().unroll.beta


def test_sizes_replace_the_bases(tmp_path: Path) -> None:
    write(tmp_path / 'base.toml', '[data]\nreverse = 0.0\nsizes = { "56x84" = 1, "70x98" = 2 }\n')
    top = write(tmp_path / 'top.toml', 'base = "base.toml"\n[data]\nsizes = { "84x56" = 1 }\n')
    config = load(top)
    assert config.data.sizes == {'84x56': 1} and config.data.reverse == 0


@pytest.mark.parametrize('bases', [
    {'a': 'a.toml'}, {'a': './a.toml'}, {'a': 'b.toml', 'b': 'a.toml'},
    {'a': 'b.toml', 'b': 'c.toml', 'c': 'b.toml'}, {'a': '../run/a.toml'}])
def test_a_base_that_leads_back_is_refused(tmp_path: Path, bases: dict[str, str]) -> None:
    (tmp_path / 'run').mkdir()
    for name, base in bases.items():
        write(tmp_path / 'run' / f'{name}.toml', f'base = "{base}"\n')
    with pytest.raises(ConfigError, match='leads back'):
        load(tmp_path / 'run' / 'a.toml')


def test_a_base_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='absent.toml'):
        load(write(tmp_path / 'a.toml', 'base = "absent.toml"\n'))


@pytest.mark.parametrize('content', [b'seed 1', b'\xff\xfe', b'[data', b'seed = 1\nseed = 2',
                                     b'seed = ' + 5000 * b'9', b'seed = ' + 5000 * b'['])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'bad.toml'
    path.write_bytes(content)
    with pytest.raises(ConfigError, match='bad.toml'):
        load(path)


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='cannot be read'):
        load(tmp_path)


# What is refused


@pytest.mark.parametrize(('text', 'key'), [
    ('sede = 1', 'sede'), ('[modle]\nname = "vits"', 'modle'),
    ('[data]\nsize = "56x84"', 'data.size'),
    ('[data.appearance]\nblurr = 0.1', 'data.appearance.blurr'),
    ('[data.quality]\nvalidity = 0.1', 'data.quality.validity')])
def test_an_unknown_key_is_named_and_the_known_are_listed(tmp_path: Path, text: str,
                                                          key: str) -> None:
    with pytest.raises(ConfigError, match=f'no setting {key};') as caught:
        load(write(tmp_path / 'a.toml', text))
    assert key.rpartition('.')[0] in str(caught.value).partition(';')[2]


@pytest.mark.parametrize(('text', 'key'), [
    ('seed = "1"', 'seed'), ('seed = 1.5', 'seed'), ('seed = true', 'seed'),
    ('model = 3', 'model'), ('[data]\nquality = []', 'data.quality'),
    ('[unroll]\nbeta = "half"', 'unroll.beta'), ('[unroll]\nbeta = true', 'unroll.beta'),
    ('[unroll]\nframes = 4.0', 'unroll.frames'), ('[data]\nvideos = 1', 'data.videos'),
    ('[data]\nlicences = "MIT"', 'data.licences'), ('[data]\nsizes = [1]', 'data.sizes'),
    ('[data]\nlicences = [1]', 'data.licences'), ('[data]\nframe_steps = ["a"]', 'frame_steps'),
    ('[data]\nframe_steps = [1.5]', 'data.frame_steps'),
    ('[data]\nsizes = { "56x84" = "much" }', 'data.sizes'),
    ('[data.appearance]\njpeg_quality = ["a", "b"]', 'data.appearance')])
def test_a_value_of_the_wrong_type_is_refused_by_name(tmp_path: Path, text: str,
                                                      key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load(write(tmp_path / 'a.toml', text))


@pytest.mark.parametrize(('text', 'key'), [
    ('[model]\nname = "vitx"', 'model.name'), ('[model]\nmemory = "all"', 'model.memory'),
    ('[model]\ngates = "level2"', 'model.gates'), ('[unroll]\nmotion = "imu"', 'unroll.motion'),
    ('[model]\nencoder_width = 0.5', 'model.encoder_width'),
    ('[model]\ninitial_trust = 1.1', 'model.initial_trust'),
    ('[unroll]\nbeta = -0.1', 'unroll.beta'), ('[unroll]\nbeta = nan', 'unroll.beta'),
    ('[unroll]\nframes = 1', 'unroll.frames'), ('[unroll]\nframes = 4', 'unroll.max_delay'),
    ('[unroll]\nmax_delay = -1', 'unroll.max_delay'),
    ('[unroll]\ndecoded_frames = 0', 'unroll.decoded_frames'),
    ('[optimiser]\nbatch = 0', 'optimiser.batch'),
    ('[optimiser]\nframe_encoder_batch = 0', 'optimiser.frame_encoder_batch'),
    ('[optimiser]\nframe_encoder_share = 2', 'optimiser.frame_encoder_share'),
    ('[data]\nvalidation_share = 1.5', 'data.validation_share'),
    ('[data]\ncrop_min = -1', 'data.crop_min'), ('[data]\nframe_drop = 2', 'data.frame_drop'),
    ('[data]\nreverse = -0.5', 'data.reverse'), ('[data]\nsizes = {}', 'data.sizes'),
    ('[data]\nsizes = { "56x84" = 0 }', 'data.sizes'),
    ('[data]\nsizes = { "56" = 1 }', 'data.sizes'),
    ('[data]\nsizes = { "50x84" = 1 }', 'data.sizes'),
    ('[data]\nsizes = { "auto" = 1 }', 'data.sizes'),
    ('[data]\nframe_steps = []', 'data.frame_steps'),
    ('[data]\nframe_steps = [1, 0]', 'data.frame_steps'),
    ('[data.appearance]\nstrength = 3', 'data.appearance: strength'),
    ('[data.appearance]\njpeg_quality = [90, 30]', 'data.appearance: jpeg_quality'),
    ('[data.appearance]\njpeg_quality = [90]', 'data.appearance: jpeg_quality')])
def test_a_value_out_of_range_is_refused_by_name(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load(write(tmp_path / 'a.toml', text))


@pytest.mark.parametrize(('text', 'key'), [
    ('seed = -1', 'seed'), ('[data]\nsegment_frames = 0', 'data.segment_frames'),
    ('[data]\nrendered_frames = 0', 'data.rendered_frames'),
    ('[data]\nvirtual_frames = 0', 'data.virtual_frames'),
    ('[optimiser]\nweight_decay = -0.1', 'optimiser.weight_decay'),
    ('[data]\nsizes = { "14x84" = 1 }', 'data.sizes')])
def test_a_value_that_would_end_a_run_in_a_traceback_is_refused(tmp_path: Path, text: str,
                                                                key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load(write(tmp_path / 'a.toml', text))


def numbers(tables: dict[str, object], prefix: str = '') -> dict[str, float]:
    """Return every setting that is a number, by its dotted name."""
    found = {}
    for name, value in tables.items():
        if isinstance(value, dict) and name not in WHOLE:
            found |= numbers(value, f'{prefix}{name}.')
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + name] = value
    return found


NUMBERS = numbers(to_tables(TrainConfig(student=StudentConfig())))


def with_value(name: str, value: float) -> dict[str, object]:
    *parents, last = name.split('.')
    tables: dict[str, object] = {last: value}
    for parent in reversed(parents):
        tables = {parent: tables}
    return tables


@pytest.mark.proves('training-number')
@pytest.mark.parametrize('name', NUMBERS)
def test_no_number_takes_what_is_none(name: str) -> None:
    whole = isinstance(NUMBERS[name], int)
    for value in [-1, 10**400] if whole else [math.nan, math.inf, -math.inf, -1.0, 10**400]:
        with pytest.raises(ConfigError) as caught:
            from_tables(with_value(name, value))
        told = str(caught.value)
        assert name.rpartition('.')[2] in told and '\n' not in told
    from_tables(with_value(name, NUMBERS[name]))


@pytest.mark.parametrize('weight', ['nan', 'inf', '-1.0'])
def test_the_weight_of_a_size_is_a_positive_number(tmp_path: Path, weight: str) -> None:
    with pytest.raises(ConfigError, match='data.sizes'):
        load(write(tmp_path / 'a.toml', f'[data]\nsizes = {{ "56x84" = {weight} }}'))


@given(value=st.integers(0, 100))
def test_whole_numbers_are_taken_for_floats(value: int) -> None:
    weight = from_tables({'loss': {'ssi': value}}).loss.ssi
    assert weight == value and isinstance(weight, float)


# A student


@pytest.mark.parametrize(('text', 'words'), [
    ('[student]\nrank = 0', 'student.rank'),
    ('[student]\nshrink = 4', 'data.sizes 252x336.*student.shrink 4'),
    ('[student]\nshares = { foto = 1 }', 'student.shares.*photo'),
    ('[student]\nshares = {}', 'student.shares'),
    ('[student]\nshares = { photo = 0.0 }', 'student.shares'),
    ('[student]\ncrop_min = 0', 'student.crop_min'),
    ('[student]\nlearning = 1', 'student.learning'),
    ('student = 3', 'student is a table'),
    ('[data]\nvideo_every = 0', 'data.video_every'),
])
def test_a_student_that_cannot_be_is_refused_by_its_key(tmp_path: Path, text: str,
                                                        words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(write(tmp_path / 'a.toml', text))


def test_only_a_table_of_its_own_makes_a_run_a_students(tmp_path: Path) -> None:
    assert load(write(tmp_path / 'a.toml', 'seed = 1')).student is None
    assert load(write(tmp_path / 'b.toml', '[student]')).student == StudentConfig()
    below = 'base = "b.toml"\n[student]\nshares = { video = 2 }'
    read = load(write(tmp_path / 'c.toml', below)).student
    assert read == StudentConfig(shares={'video': 2.0})
