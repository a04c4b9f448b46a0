"""A node whose publishers keep what they are given, without ROS."""

from collections.abc import Callable


class KeepingPublisher:
    """``subscribers`` is how many listen."""

    def __init__(self) -> None:
        self.sent: list = []
        self.subscribers = 0

    def publish(self, message: object) -> None:
        self.sent.append(message)

    def get_subscription_count(self) -> int:
        return self.subscribers


class PublishingNode:
    """``publishers`` are by what follows ``depth/``; it is its own logger.

    ``heard`` are the callbacks of what is listened to, by topic.
    """

    def __init__(self) -> None:
        self.publishers: dict[str, KeepingPublisher] = {}
        self.heard: dict[str, Callable[..., None]] = {}
        self.warnings: list[str] = []

    def get_logger(self) -> 'PublishingNode':
        return self

    def warning(self, text: str, **_: object) -> None:
        self.warnings.append(text)

    def create_subscription(self, kind: object, topic: str, callback: Callable[..., None],
                            *_: object, **__: object) -> str:
        self.heard[topic] = callback
        return topic

    def destroy_subscription(self, topic: str) -> None:
        del self.heard[topic]

    def create_lifecycle_publisher(self, kind: object, topic: str, *_: object, **__: object
                                   ) -> KeepingPublisher:
        return self.publishers.setdefault(topic.removeprefix('depth/'), KeepingPublisher())
