"""Latest wins, nobody waits for the consumer."""

import threading
import time

from asyncmde_ros.pipeline.mailbox import Mailbox

LONG_S = 60.0


def test_the_newest_item_replaces_the_one_that_waits() -> None:
    mailbox: Mailbox[int] = Mailbox()
    for item in (1, 2, 3):
        mailbox.put(item)
    assert mailbox.take(0) == 3
    assert mailbox.replaced == 2
    assert mailbox.take(0) is None


def test_close_wakes_a_waiting_consumer_and_refuses_items() -> None:
    mailbox: Mailbox[int] = Mailbox()
    taken: list[int | None] = []
    consumer = threading.Thread(target=lambda: taken.append(mailbox.take(LONG_S)))
    consumer.start()
    time.sleep(0.05)
    mailbox.close()
    consumer.join(LONG_S / 2)
    assert taken == [None]
    mailbox.put(1)
    assert mailbox.take(0) is None


def test_a_consumer_sees_a_rising_subsequence_that_ends_with_the_last_item() -> None:
    mailbox: Mailbox[int] = Mailbox()
    last, seen = 5000, [0]

    def consume() -> None:
        while seen[-1] != last:
            item = mailbox.take(LONG_S)
            assert item is not None
            seen.append(item)

    consumer = threading.Thread(target=consume)
    consumer.start()
    for item in range(1, last + 1):
        mailbox.put(item)
    consumer.join(LONG_S)
    assert seen == sorted(set(seen)) and seen[-1] == last
    assert len(seen) - 1 + mailbox.replaced == last
