"""A soak as a picture: what the node held and how it answered, over the run."""

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from asyncmde_ros.lab.charts import BLUE, COLORS, GREEN, VERMILION, chart
from asyncmde_ros.lab.soak.bounds import Incident
from asyncmde_ros.lab.soak.samples import Sample
from asyncmde_ros.lab.soak.schedule import Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MINUTE_S = 60.0
_SIZE_IN = (10.0, 7.5)
Value = Callable[[Sample], float | None]


def draw(samples: Sequence[Sample], incidents: Sequence[Incident]) -> bytes:
    """Return a PNG: latency, memory, threads and files over time, and each fault's recovery.

    Samples taken while something was done to the node are pale.  AsyncMDEError without matplotlib.
    """
    with chart(*_SIZE_IN) as (figure, png):
        latency, rss, held, recovery = figure.subplots(4, 1, sharex=True,
                                                       height_ratios=(3, 2, 2, 2))
        _line(latency, samples, lambda sample: sample.p99_ms, VERMILION, 'p99')
        _line(latency, samples, lambda sample: sample.p50_ms, BLUE, 'p50')
        latency.set_title('latency of good images [ms]')
        _line(rss, samples, lambda sample: sample.rss_mib, BLUE, 'resident memory')
        rss.set_title('memory [MiB]')
        _line(held, samples, lambda sample: sample.threads, BLUE, 'threads')
        _line(held, samples, lambda sample: sample.fds, GREEN, 'open files')
        held.set_title('threads and files')
        _recoveries(recovery, incidents)
        for panel in (latency, held):
            if panel.get_legend_handles_labels()[0]:
                panel.legend(loc='lower right', bbox_to_anchor=(1.0, 0.97), ncols=2)
        figure.legend(*recovery.get_legend_handles_labels(), loc='outside lower center', ncols=7,
                      columnspacing=1.2, handletextpad=0.3)
        for panel in (latency, rss, held):
            panel.set_ylim(bottom=0)
        recovery.set_xlabel('minutes')
    return png.getvalue()


def _line(panel: 'Axes', samples: Sequence[Sample], value: Value, color: str, label: str) -> None:
    """Draw a line through the samples taken in peace, and a pale dot for those under a fault."""
    calm, harmed = ([(sample.seconds / MINUTE_S, number) for sample in samples
                     if (number := value(sample)) is not None and bool(sample.fault) is fault]
                    for fault in (False, True))
    if harmed:
        panel.plot(*zip(*harmed, strict=True), '.', color=color, alpha=0.25, markersize=3)
    if calm:
        panel.plot(*zip(*calm, strict=True), color=color, linewidth=1.2, label=label)


def _recoveries(panel: 'Axes', incidents: Sequence[Incident]) -> None:
    panel.set_title('seconds until depth is back, by fault')
    for kind, color in zip(Kind, cycle(COLORS)):
        times = [(incident.seconds / MINUTE_S, incident.recovery_s) for incident in incidents
                 if incident.kind is kind and incident.recovery_s is not None]
        if times:
            panel.plot(*zip(*times, strict=True), '.', color=color, label=kind.value)
    for incident in incidents:
        if not incident.overcome:
            panel.axvline(incident.seconds / MINUTE_S, color=VERMILION)
    panel.set_yscale('log')
    panel.yaxis.set_major_formatter('{x:g}')
