"""A node whose publishers keep what they are given, without ROS."""


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
    """``publishers`` are by what follows ``depth/``; it is its own logger."""

    def __init__(self) -> None:
        self.publishers: dict[str, KeepingPublisher] = {}
        self.warnings: list[str] = []

    def get_logger(self) -> 'PublishingNode':
        return self

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def create_lifecycle_publisher(self, kind: object, topic: str, *_: object, **__: object
                                   ) -> KeepingPublisher:
        return self.publishers.setdefault(topic.removeprefix('depth/'), KeepingPublisher())
