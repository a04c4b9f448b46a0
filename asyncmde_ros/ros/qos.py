"""Which quality of service to ask of a camera."""

from collections.abc import Iterable

from rclpy.qos import QoSProfile, ReliabilityPolicy


def offered_reliability(publishers: Iterable[ReliabilityPolicy]) -> ReliabilityPolicy:
    """Return what a subscription should ask for, given what each publisher offers.

    Reliable only when every publisher is: a reliable subscription hears nothing of a best-effort
    publisher, while large best-effort images are lost under default Fast DDS.  With nobody there
    yet, best effort, which hears everybody.
    """
    offers = list(publishers)
    if offers and all(offer is ReliabilityPolicy.RELIABLE for offer in offers):
        return ReliabilityPolicy.RELIABLE
    return ReliabilityPolicy.BEST_EFFORT


def newest_only(reliability: ReliabilityPolicy, depth: int = 1) -> QoSProfile:
    """Return a profile for a consumer that, if late, gets the newest message and no backlog."""
    return QoSProfile(depth=depth, reliability=reliability)
