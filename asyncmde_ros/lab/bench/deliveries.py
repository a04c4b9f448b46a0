"""Which images were answered with depth, when, and how often, from their stamps alone."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from asyncmde_ros.lab.bench.statistics import Summary, summarise

MS = 1e-6
"""Milliseconds in a nanosecond."""


@dataclass(frozen=True)
class Delivery:
    """A depth map as it was received.

    ``published_ns`` is the time at which the node's middleware sent it, None where the middleware
    does not tell; all times are of the system's clock.
    """

    stamp_ns: int
    published_ns: int | None
    received_ns: int


@dataclass(frozen=True)
class Answers:
    """Figures of one run: published = answered + dropped.

    ``published`` counts images, ``answered`` those that depth came back for, ``warped`` those of
    them that the network had no time for, ``duplicates`` depth maps beyond one for each,
    ``longest_gap`` the most unanswered images in a row.  ``camera_hz`` and ``depth_hz`` are the
    rates at which images and depth were published.  ``stamp_to_publish_ms`` ends where the node
    sent the depth, ``stamp_to_receipt_ms`` where the
    listener's callback began.  Lag counts camera frames since the keyframe of the memory.
    """

    published: int
    answered: int
    dropped: int
    warped: int
    duplicates: int
    longest_gap: int
    camera_hz: float | None
    depth_hz: float | None
    stamp_to_publish_ms: Summary | None
    stamp_to_receipt_ms: Summary | None
    refreshes: int
    refresh_every_frames: float | None
    lag_mean_frames: float | None
    lag_max_frames: int | None


def evaluate(stamps_ns: Sequence[int], deliveries: Sequence[Delivery],
             keyframes_ns: dict[int, int], warped_ns: Collection[int],
             period_s: float) -> Answers:
    """Match depth maps with the images of ``stamps_ns``; others are ignored.

    ``keyframes_ns`` maps an image's stamp to that of the keyframe which its depth rests on,
    ``warped_ns`` holds the stamps of those whose depth was only moved.
    """
    asked = set(stamps_ns)
    counted = [delivery for delivery in deliveries if delivery.stamp_ns in asked]
    first: dict[int, Delivery] = {}
    for delivery in counted:
        first.setdefault(delivery.stamp_ns, delivery)
    answers = list(first.values())
    used = {stamp: keyframe for stamp, keyframe in keyframes_ns.items() if stamp in asked}
    refreshes = max(0, len(set(used.values())) - 1)
    lags = [round((stamp - keyframe) * 1e-9 / period_s) for stamp, keyframe in used.items()]
    sent = [answer.published_ns for answer in answers if answer.published_ns is not None]
    return Answers(
        len(asked), len(answers), len(asked) - len(answers), len(asked & set(warped_ns)),
        len(counted) - len(answers),
        _longest_gap([stamp in first for stamp in sorted(asked)]),
        _rate_hz(stamps_ns), _rate_hz(sent or [answer.received_ns for answer in answers]),
        summarise([(answer.published_ns - answer.stamp_ns) * MS for answer in answers
                   if answer.published_ns is not None]),
        summarise([(answer.received_ns - answer.stamp_ns) * MS for answer in answers]),
        refreshes, len(asked) / refreshes if refreshes else None,
        sum(lags) / len(lags) if lags else None, max(lags) if lags else None)


def _longest_gap(answered: Sequence[bool]) -> int:
    """Return the length of the longest run of False."""
    return max((sum(1 for _ in run) for value, run in groupby(answered) if not value), default=0)


def _rate_hz(times_ns: Sequence[int]) -> float | None:
    span_ns = max(times_ns) - min(times_ns) if times_ns else 0
    return (len(times_ns) - 1) / (span_ns * 1e-9) if span_ns else None
