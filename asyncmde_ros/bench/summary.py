"""A benchmark's JSON as tables to read, in the terminal and in the README."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = Sequence[str]

COLUMNS = ('min', 'p50', 'p95', 'p99', 'max')


def markdown(bench: Mapping[str, Any]) -> str:
    """Return the tables of ``bench.json``'s contents, in Markdown, columns aligned.

    Raises KeyError where ``bench`` is no benchmark's.
    """
    sections = [_meta(bench), _engines(bench), _saturation(bench['saturation']),
                _roofline(bench['roofline']), _parts(bench), _pipeline(bench), _ros(bench),
                _startup(bench['startup'])]
    return '\n\n'.join(sections) + '\n'


def _meta(bench: Mapping[str, Any]) -> str:
    meta = bench['meta']
    options, versions = meta['options'], meta['versions']
    version = ', '.join(f'{name} {value}' for name, value in versions.items())
    commit = f', commit {meta["commit"][:12]}' if meta['commit'] else ''
    source = options['video'] or 'generated pictures'
    gpu = f'{meta["gpu"]}, ' if meta['gpu'] else ''
    return '\n'.join((
        f'{gpu}{meta["cpu"]}, {meta["cores"]} cores, {meta["memory_gib"]:.0f} GiB, {meta["os"]}. '
        f'{version}, asyncmde_ros {meta["package"]}{commit}. {meta["date"]}. Load average at the '
        f'start: {meta["load_average"]:.1f}.',
        '',
        f'Model {options["model"]} on {bench["engines"]["rows"][0]["backend"]} at '
        f'{_size(options["size"])}, camera '
        f'{options["image"][1]}x{options["image"][0]} at {options["rate_hz"]:g} Hz ({source}), '
        f'{options["seconds"]:g} s for each measurement. Milliseconds unless named otherwise.'))


def _engines(bench: Mapping[str, Any]) -> str:
    rows = [(str(row['threads']), row['precision'], name, *_cells(row[key]), ratio)
            for row in bench['engines']['rows']
            for name, key, ratio in (
                ('foundation model', 'foundation_ms', ''),
                ('fast step', 'fast_ms', f'**{row["ratio_p50"]:.1f}x**'))]
    motion = bench['motion']
    rows.append(('', '', f'motion, {_size(motion["size"])}', *_cells(motion['frame_ms']), ''))
    table = _table('Networks, one frame', ('threads', 'precision', 'graph', *COLUMNS, 'ratio'),
                   rows)
    return f'{table}\n\n{bench["engines"]["note"]}'


def _saturation(saturation: Mapping[str, Any]) -> str:
    table = _table('As fast as it can', ('slow path', *COLUMNS, 'steps/s', 'refresh Hz',
                                         'refresh every N steps'), [
        (_mode(mode), *_cells(figures['step_ms']), *(_number(figures[key]) for key in (
            'steps_hz', 'refresh_hz', 'refresh_every_steps')))
        for mode, figures in saturation.items() if mode != 'note'])
    return f'{table}\n\n{saturation["note"]}'


def _roofline(roofline: Mapping[str, Any] | None) -> str:
    if roofline is None:
        return '### Roofline\n\nLeft out: it needs PyTorch to count.'
    peaks = roofline['peaks']
    table = _table(
        f'Roofline: {peaks["device"]}, {peaks["dtype"]}, {_figure(peaks["tflops"])} TFLOP/s, '
        f'{peaks["bandwidth_gb_s"]:.0f} GB/s',
        ('graph', 'GFLOP', 'must move MB', 'operators move MB', 'bound ms', 'measured ms',
         'times the bound'),
        [(row['graph'], *(_figure(row[key]) for key in (
            'gflop', 'must_move_mb', 'operators_move_mb', 'bound_ms', 'measured_ms',
            'times_the_bound'))) for row in roofline['rows']])
    return f'{table}\n\n{roofline["note"]}'


def _parts(bench: Mapping[str, Any]) -> str:
    return _table('Parts', ('part', *COLUMNS), [
        (name.replace('_', ' '), *_cells(summary)) for name, summary in bench['parts'].items()])


def _pipeline(bench: Mapping[str, Any]) -> str:
    modes = bench['pipeline'].items()
    times = _table("Pipeline at the camera's rate", ('slow path', 'time', *COLUMNS), [
        (_mode(mode), word, *_cells(figures[key]))
        for mode, figures in modes
        for word, key in (('of process()', 'process_ms'), ('capture to depth', 'latency_ms'))])
    counts = _table(None, ('slow path', 'captured', 'dropped', 'withheld', 'late', 'refresh Hz',
                           'refresh every N frames', 'lag mean', 'lag max'), [
        (_mode(mode), *(_number(figures[key]) for key in (
            'captured', 'dropped', 'withheld', 'late', 'refresh_hz', 'refresh_every_frames',
            'lag_mean_frames', 'lag_max_frames')))
        for mode, figures in modes])
    return (f'{times}\n\n{counts}\n\nlate: depth came more than a camera\'s period after the '
            'capture; lag: how many frames ago the keyframe in memory was captured.')


def _ros(bench: Mapping[str, Any]) -> str:
    if bench['ros'] is None:
        return f'### Over ROS 2\n\nLeft out: {bench["ros_left_out"]}.'
    answers = bench['ros']['answers']
    times = _table('Over ROS 2', ('time', *COLUMNS), [
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
    return f'{times}\n\n{counts}\n\n{bench["ros"]["note"]}'


def _startup(startup: Mapping[str, Any]) -> str:
    columns = ('min', 'p50', 'max')
    return _table(f'Start, {startup["starts"]} fresh process(es)', ('', *columns), [
        (_startup_name(name), *(_figure(summary[column]) for column in columns))
        for name, summary in startup['figures'].items()])


def _startup_name(name: str) -> str:
    words, unit = name.replace('rss', 'RSS').rsplit('_', 1)
    return f'{words.replace("_", " ")} [{unit.replace("mib", "MiB")}]'


def _mode(name: str) -> str:
    return name.rsplit('_', 1)[1]


def _size(size: Sequence[int]) -> str:
    return f'{size[0]}x{size[1]}'


def _cells(summary: Mapping[str, float] | None) -> Row:
    """Return a summary's columns [ms]; dashes where nothing was measured."""
    if summary is None:
        return ('-',) * len(COLUMNS)
    return [_figure(summary[column]) for column in COLUMNS]


def _figure(value: float) -> str:
    """Two decimals below ten and one above; two significant digits of what is small."""
    return f'{value:.1f}' if value >= 10 else f'{value:.2g}' if value < 0.1 else f'{value:.2f}'


def _number(value: float | None) -> str:
    if value is None:
        return '-'
    return str(value) if isinstance(value, int) else f'{value:.1f}'


def _table(title: str | None, head: Row, rows: Sequence[Row]) -> str:
    """Return a Markdown table whose source is aligned too; numbers and words to the left."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [_line(head, widths), '|' + '|'.join('-' * (width + 2) for width in widths) + '|',
             *(_line(row, widths) for row in rows)]
    return '\n'.join(([f'### {title}', ''] if title else []) + lines)


def _line(row: Row, widths: Sequence[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return f'| {" | ".join(cells)} |'
