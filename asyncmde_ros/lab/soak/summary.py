"""A soak in a few lines."""

from collections.abc import Sequence
from statistics import median

from asyncmde_ros.lab import text
from asyncmde_ros.lab.soak.bounds import Bound, Incident
from asyncmde_ros.lab.soak.schedule import Kind


def table(bounds: Sequence[Bound], incidents: Sequence[Incident]) -> str:
    """Return the bounds and, by kind of fault, how long recovery took."""
    faults = []
    for kind in Kind:
        of_kind = [incident for incident in incidents if incident.kind is kind]
        times = [incident.recovery_s for incident in of_kind if incident.recovery_s is not None]
        faults.append((kind.value, str(len(of_kind)), f'{median(times):.2f}' if times else '-',
                       f'{max(times):.2f}' if times else '-'))
    rows = [('held' if bound.held else 'BROKEN', bound.name, bound.seen, bound.allowed)
            for bound in bounds]
    lasting = [f'not recovered from: {incident.kind.value} ({incident.variant}) after '
               f'{incident.seconds:.0f} s: {incident.complaint or "no depth"}'
               for incident in incidents if not incident.overcome]
    return '\n'.join([
        text.table(('fault', 'times', 'recovery p50 [s]', 'max [s]'), faults), '',
        text.table(('', 'bound', 'seen', 'allowed'), rows), *lasting])
