"""A benchmark's JSON as tables to read, in the terminal and in the README."""

from collections.abc import Mapping, Sequence
from typing import Any

from asyncmde_ros.lab.text import Row, markdown_table
from asyncmde_ros.model.geometry import size_text

COLUMNS = ('min', 'p50', 'p95', 'p99', 'max')

PARTS = {'engines': 'Networks, one frame', 'saturation': 'As fast as it can',
         'roofline': 'Roofline', 'parts': 'Parts', 'query': 'Depth at points',
         'pipeline': "Pipeline at the camera's rate", 'ros': 'Over ROS 2', 'startup': 'Start'}
"""The titles of what is measured."""

BEFORE = 'it needs PyTorch to count'
"""Why the roofline is not in files that do not say why."""


def markdown(bench: Mapping[str, Any]) -> str:
    """Return the tables of ``bench.json``'s contents, in Markdown, columns aligned.

    Raises KeyError where ``bench`` is no benchmark's.
    """
    sections = [_meta(bench)]
    left_out = bench.get('left_out') or {'roofline': BEFORE, 'ros': bench.get('ros_left_out')}
    for part, write in (('engines', _engines), ('saturation', _saturation),
                        ('roofline', _roofline), ('parts', _parts), ('query', _query),
                        ('pipeline', _pipeline), ('ros', _ros), ('startup', _startup)):
        if part not in bench:  # an earlier file, which knows nothing of it
            continue
        # The motion is a row of the networks' table.
        measured = bench[part] is not None or part == 'engines' and bench['motion'] is not None
        sections.append(write(bench) if measured else
                        f'### {PARTS[part]}\n\nLeft out: {left_out[part]}.')
    return '\n\n'.join(sections) + '\n'


def _meta(bench: Mapping[str, Any]) -> str:
    meta = bench['meta']
    options, versions = meta['options'], meta['versions']
    version = ', '.join(f'{name} {value}' for name, value in versions.items())
    commit = f', commit {meta["commit"][:12]}' if meta['commit'] else ''
    source = options['video'] or 'generated pictures'
    gpu = f'{meta["gpu"]}, ' if meta['gpu'] else ''
    # Earlier files hold what was asked for, which may be "auto", and know one fast path.
    backend = bench['engines']['rows'][0]['backend'] if bench['engines'] else options['backend']
    fast_path = f', fast path {options["fast_path"]}' if 'fast_path' in options else ''
    return '\n'.join((
        f'{gpu}{meta["cpu"]}, {meta["cores"]} cores, {meta["memory_gib"]:.0f} GiB, {meta["os"]}. '
        f'{version}, asyncmde_ros {meta["package"]}{commit}. {meta["date"]}. Load average at the '
        f'start: {meta["load_average"]:.1f}.',
        '',
        f'Model {options["model"]} on {backend} at {size_text(options["size"])}{fast_path}, '
        f'camera {options["image"][1]}x{options["image"][0]} at {options["rate_hz"]:g} Hz '
        f'({source}), {options["seconds"]:g} s for each measurement. Milliseconds unless '
        'named otherwise.'))


def _engines(bench: Mapping[str, Any]) -> str:
    engines, motion = bench['engines'], bench['motion']
    rows = [(str(row['threads']), row['precision'], *cells)
            for row in (engines['rows'] if engines else ()) for cells in _graphs(row)]
    if motion is not None:
        rows.append(('', '', f'motion, {size_text(motion["size"])}', *_cells(motion['frame_ms']),
                     ''))
    table = _table(PARTS['engines'], ('threads', 'precision', 'graph', *COLUMNS, 'ratio'), rows)
    note = engines['note'] if engines else f'Left out: {bench["left_out"]["engines"]}.'
    return f'{table}\n\n{note}'


def _graphs(row: Mapping[str, Any]) -> list[Row]:
    """Return name, times and ratio of each graph of one configuration."""
    graphs: list[Row] = [
        ('foundation model', *_cells(row['foundation_ms']), ''),
        ('fast step', *_cells(row['fast_ms']), f'**{row["ratio_p50"]:.1f}x**')]
    graphs += [(f'refresh, {size}', *_cells(summary), '')
               for size, summary in row.get('refresh_ms', {}).items()]
    if row.get('glance_ms') is not None:
        graphs.append((f'glance, {size_text(row["glance_size"])}', *_cells(row['glance_ms']), ''))
    return graphs


def _saturation(bench: Mapping[str, Any]) -> str:
    saturation = bench['saturation']
    table = _table(PARTS['saturation'], ('slow path', *COLUMNS, 'steps/s', 'refresh Hz',
                                         'refresh every N steps'), [
        (_mode(mode), *_cells(figures['step_ms']), *(_number(figures[key]) for key in (
            'steps_hz', 'refresh_hz', 'refresh_every_steps')))
        for mode, figures in saturation.items() if mode != 'note'])
    return f'{table}\n\n{saturation["note"]}'


def _roofline(bench: Mapping[str, Any]) -> str:
    roofline = bench['roofline']
    peaks = roofline['peaks']
    table = _table(
        f'{PARTS["roofline"]}: {peaks["device"]}, {peaks["dtype"]}, '
        f'{_figure(peaks["tflops"])} TFLOP/s, {peaks["bandwidth_gb_s"]:.0f} GB/s',
        ('graph', 'GFLOP', 'must move MB', 'operators move MB', 'bound ms', 'measured ms',
         'times the bound'),
        [(row['graph'], *(_figure_or_dash(row[key]) for key in (
            'gflop', 'must_move_mb', 'operators_move_mb', 'bound_ms', 'measured_ms',
            'times_the_bound'))) for row in roofline['rows']])
    return f'{table}\n\n{roofline["note"]}'


def _parts(bench: Mapping[str, Any]) -> str:
    return _table(PARTS['parts'], ('part', *COLUMNS), [
        (name.replace('_', ' '), *_cells(summary)) for name, summary in bench['parts'].items()])


def _query(bench: Mapping[str, Any]) -> str:
    query = bench['query']
    times = _table(PARTS['query'], ('', *COLUMNS), [
        ('frame with a map', *_cells(query['with_map_ms'])),
        ('frame without one', *_cells(query['without_map_ms'])),
        *((f'{count} points', *_cells(summary))
          for count, summary in query['points_ms'].items())])
    line = _table(None, ('precompute ms', 'beta us', 'offset ms', 'R^2', 'crossover K'), [
        (*(_figure(query[key]) for key in (
            'precompute_ms', 'beta_us', 'offset_ms', 'r_squared')),
         f'{query["crossover_k"]:.0f}')])
    tables = f'{times}\n\n{line}\n\n{query["note"]}'
    load = query['load']
    if load is None:
        return tables
    use = _table(None, ('background', 'map: node CPU %', 'answers/s', 'points: node CPU %',
                        'answers/s', 'points / map'), [
        (words, *(_number(load[key][name]) for name in (
            'map_percent', 'map_hz', 'points_percent', 'points_hz')),
         f'{load[f"ratio_{key}"]:.2f}')
        for words, key in (('at rest', 'at_rest'), ('at work', 'at_work'))])
    return f'{tables}\n\n{use}\n\n{load["note"]}'


def _pipeline(bench: Mapping[str, Any]) -> str:
    modes = bench['pipeline'].items()
    times = _table(PARTS['pipeline'], ('slow path', 'time', *COLUMNS), [
        (_mode(mode), word, *_cells(figures[key]))
        for mode, figures in modes
        for word, key in (('of process()', 'process_ms'), ('capture to depth', 'latency_ms'))])
    counts = _table(None, ('slow path', 'captured', 'dropped', 'withheld', 'late', 'refresh Hz',
                           'refresh every N frames', 'lag mean', 'lag max'), [
        (_mode(mode), *(_number(figures[key]) for key in (
            'captured', 'dropped', 'withheld', 'late', 'refresh_hz', 'refresh_every_frames',
            'lag_mean_frames', 'lag_max_frames')))
        for mode, figures in modes])
    behind = _table(None, ('slow path', *BACKGROUND, 'glance lag mean', 'max'), [
        (_mode(mode), *_background(figures), *(
            _number((figures.get('background') or {}).get(f'glance_lag_{which}_frames'))
            for which in ('mean', 'max')))
        for mode, figures in modes])
    return (f'{times}\n\n{counts}\n\n{behind}\n\nlate: depth came more than a camera\'s period '
            'after the capture; lag: how many frames ago the keyframe in memory, or the newest '
            'glance\'s picture, was captured; refreshes are those that were done, by size.')


def _ros(bench: Mapping[str, Any]) -> str:
    answers = bench['ros']['answers']
    times = _table(PARTS['ros'], ('time', *COLUMNS), [
        (word, *_cells(answers[key])) for word, key in (
            ('stamp to publish', 'stamp_to_publish_ms'),
            ('stamp to receipt', 'stamp_to_receipt_ms'))])
    counts = _table(None, ('published', 'answered', 'dropped', 'warped', 'duplicates',
                           'longest gap', 'camera Hz', 'depth Hz', 'refresh every N frames',
                           'lag mean', 'lag max', 'node RSS MiB'), [(
        *(_number(answers[key]) for key in (
            'published', 'answered', 'dropped', 'warped', 'duplicates', 'longest_gap',
            'camera_hz', 'depth_hz', 'refresh_every_frames', 'lag_mean_frames', 'lag_max_frames')),
        _number(bench['ros']['node_rss_end_mib']))])
    runs = (('moves', bench['ros']), ('is still', bench.get('ros_still') or {}))
    node = _table(None, ('camera', 'node CPU %', 'refreshes/s', *BACKGROUND), [
        (name, _number(run.get('node_cpu_percent')),
         _number((run.get('background') or {}).get('refresh_hz')), *_background(run))
        for name, run in runs])
    return f'{times}\n\n{counts}\n\n{node}\n\n{bench["ros"]["note"]}'


BACKGROUND = ('refreshes by size', 'glances', 'glances/s', 'glance ms p50', 'p99')


def _background(figures: Mapping[str, Any]) -> Row:
    """Return the cells under BACKGROUND; dashes where nothing was, or could be, counted."""
    found = figures.get('background') or {}
    sizes = ', '.join(f'{size}: {count}'
                      for size, count in found.get('refreshes_by_size', {}).items())
    glance_ms = found.get('glance_ms') or {}
    return (sizes or '-', *(_number(found.get(key)) for key in ('glances', 'glances_hz')),
            *(_figure_or_dash(glance_ms.get(key)) for key in ('p50', 'p99')))


def _startup(bench: Mapping[str, Any]) -> str:
    startup = bench['startup']
    columns = ('min', 'p50', 'max')
    return _table(f'{PARTS["startup"]}, {startup["starts"]} fresh process(es)', ('', *columns), [
        (_startup_name(name), *(_figure(summary[column]) for column in columns))
        for name, summary in startup['figures'].items()])


def _startup_name(name: str) -> str:
    words, unit = name.replace('rss', 'RSS').rsplit('_', 1)
    return f'{words.replace("_", " ")} [{unit.replace("mib", "MiB")}]'


def _mode(name: str) -> str:
    return name.rsplit('_', 1)[1]


def _cells(summary: Mapping[str, float] | None) -> Row:
    """Return a summary's columns [ms]; dashes where nothing was measured."""
    if summary is None:
        return ('-',) * len(COLUMNS)
    return [_figure(summary[column]) for column in COLUMNS]


def _figure(value: float) -> str:
    """Two decimals below ten and one above; two significant digits of what is small."""
    return f'{value:.1f}' if value >= 10 else f'{value:.2g}' if value < 0.1 else f'{value:.2f}'


def _figure_or_dash(value: float | None) -> str:
    return '-' if value is None else _figure(value)


def _number(value: float | None) -> str:
    if value is None:
        return '-'
    return str(value) if isinstance(value, int) else f'{value:.1f}'


def _table(title: str | None, head: Row, rows: Sequence[Row]) -> str:
    return '\n'.join(([f'### {title}', ''] if title else []) + [markdown_table(head, rows)])
