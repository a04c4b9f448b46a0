"""What must hold in a soak, decided from what was seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from asyncmde_ros.lab.soak.samples import Sample
from asyncmde_ros.lab.soak.schedule import Kind

RSS_GROWTH = 0.05
RSS_GROWTH_MIB = 32.0
"""From the second quarter's median to the last one's, the larger of the two.  Engines built anew
move it by up to 20 MiB a time until it has found its level (measured: from 600 to 635 MiB in
the first minutes, level from there in a run of six); a single VGA image kept a second would be
more than this within a minute."""

LATENCY_GROWTH = 1.0
LATENCY_GROWTH_MS = 150.0
"""As above, of the typical sample's p99.  Other work on the machine doubles it and more; a queue
that grows adds a frame's 33 ms again and again, and is over this within minutes."""

THREAD_GROWTH = 2
"""A builder of engines and a thread of the middleware may be under way as the sample is taken."""

FD_GROWTH = 4
"""Of each new peer the middleware keeps some files open until its lease ends, seconds after it
left; one kept for each of the run's peers is more."""

EXIT_S = 1.0
EXIT_ALLOWANCE_S = 2.0
"""Ctrl-C must end the node within a second; a busy machine is given the other two."""

ENOUGH = 3
"""A median of fewer samples says nothing."""


@dataclass(frozen=True)
class Incident:
    """A fault as it went.

    ``seconds`` since the run began; ``recovery_s`` from the first good image after the fault
    until depth came with the stamps of such images, None where it did not in time;
    ``complaint``: what else was wrong, empty for nothing.
    """

    kind: Kind
    variant: str
    seconds: float
    recovery_s: float | None
    complaint: str = ''

    @property
    def overcome(self) -> bool:
        return self.recovery_s is not None and not self.complaint


@dataclass(frozen=True)
class SoakEvidence:
    """Everything that a run saw.

    ``death``: how the node ended before its time, empty if it did not; ``exit_status`` and
    ``exit_s`` are of its end by SIGINT, None where it was dead before.  ``interrupted``: by
    Ctrl-C, before the time was up.
    """

    samples: Sequence[Sample]
    incidents: Sequence[Incident]
    foreign: int
    of_bad: int
    internal_drops: int
    slow_failures: int
    tracebacks: int
    death: str
    exit_status: int | None
    exit_s: float | None
    interrupted: bool = False


@dataclass(frozen=True)
class Bound:
    """One thing that must hold: what was seen, what is allowed, and whether it held."""

    name: str
    seen: str
    allowed: str
    held: bool


@dataclass(frozen=True)
class Growth:
    """Medians of the second quarter of a run and of its last, None of too few values."""

    before: float | None
    after: float | None

    def within(self, allowed: float) -> bool:
        """Tell whether it grew by no more; a run too short to tell has not shown it."""
        return (self.before is not None and self.after is not None
                and self.after - self.before <= allowed)

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            return 'too few values'
        return f'{self.before:.0f} to {self.after:.0f}'


def growth(samples: Sequence[Sample], value: Callable[[Sample], float | None]) -> Growth:
    """Compare the second quarter with the last, at rest where there was enough of that.

    The first quarter is warming up.  Medians, since a sample taken while engines are built or a
    subscriber is there says nothing of growth.  Samples without a value do not count.  Latency is
    of all images since the sample before: in a run of over ten minutes some of them always came
    while something was done to the node.
    """
    if not samples:
        return Growth(None, None)
    start, end = samples[0].seconds, samples[-1].seconds

    def typical(first: float, last: float) -> float | None:
        part = [(number, sample.fault) for sample in samples
                if first <= (sample.seconds - start) / max(end - start, 1e-9) <= last
                and (number := value(sample)) is not None]
        calm = [number for number, fault in part if not fault]
        chosen = calm if len(calm) >= ENOUGH else [number for number, _ in part]
        return median(chosen) if len(chosen) >= ENOUGH else None
    return Growth(typical(0.25, 0.5), typical(0.75, 1.0))


def decide(evidence: SoakEvidence) -> list[Bound]:
    """Return every bound, held or broken."""
    rss = growth(evidence.samples, lambda sample: sample.rss_mib)
    latency = growth(evidence.samples, lambda sample: sample.p99_ms)
    latency_allowed = max(LATENCY_GROWTH_MS, LATENCY_GROWTH * (latency.before or 0.0))
    threads = growth(evidence.samples, lambda sample: sample.threads)
    fds = growth(evidence.samples, lambda sample: sample.fds)
    rss_allowed = max(RSS_GROWTH_MIB, RSS_GROWTH * (rss.before or 0.0))
    missing = [kind.value for kind in Kind
               if kind not in {incident.kind for incident in evidence.incidents}]
    lasting = [incident for incident in evidence.incidents if not incident.overcome]
    ended = 'not reached' if evidence.exit_s is None else (
        f'status {evidence.exit_status}, {evidence.exit_s:.2f} s')

    def none(name: str, number: int) -> Bound:
        return Bound(name, str(number), '0', number == 0)
    return [
        Bound('resident memory [MiB]', str(rss), f'+{rss_allowed:.0f}', rss.within(rss_allowed)),
        Bound('latency, p99 [ms]', str(latency), f'+{latency_allowed:.0f}',
              latency.within(latency_allowed)),
        Bound('threads', str(threads), f'+{THREAD_GROWTH}', threads.within(THREAD_GROWTH)),
        Bound('open files', str(fds), f'+{FD_GROWTH}', fds.within(FD_GROWTH)),
        Bound('kinds of fault left out', ', '.join(missing) or 'none', 'none', not missing),
        none('faults not recovered from', len(lasting)),
        none('depth with a stamp that no image had', evidence.foreign),
        none('depth with the stamp of a bad image', evidence.of_bad),
        none('images lost through a fault of ours', evidence.internal_drops),
        none('refreshes that failed', evidence.slow_failures),
        none('tracebacks in the log', evidence.tracebacks),
        Bound('not interrupted', 'interrupted' if evidence.interrupted else 'yes', 'yes',
              not evidence.interrupted),
        Bound('the node lives to the end', evidence.death or 'yes', 'yes', not evidence.death),
        Bound('end by SIGINT', ended, f'status 0, {EXIT_S + EXIT_ALLOWANCE_S:g} s',
              evidence.exit_status == 0 and evidence.exit_s is not None
              and evidence.exit_s <= EXIT_S + EXIT_ALLOWANCE_S)]
