"""Looking at dead letters without touching them: page after page, as many in memory as two pages have."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from ops.dead_letters.letter import letter_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from azure.servicebus import ServiceBusClient, ServiceBusReceivedMessage, ServiceBusReceiver

    from ops.dead_letters.letter import Letter
    from ops.dead_letters.selection import Selection
    from ops.target import Target

TIMEOUT = 30.0  # seconds; without one a connection that is open but silent is waited for without end
PAGE = 250  # messages a call; Service Bus gives no more at once
_FIRST_PAGE = 25  # so that the first rows are there at once


@contextmanager
def dead_letter_receiver(target: Target) -> Iterator[ServiceBusReceiver]:
    """A receiver of the queue's dead letters; it takes nothing by itself."""
    with target.client() as client, open_dead_letters(client, target) as receiver:
        yield receiver


def open_dead_letters(client: ServiceBusClient, target: Target) -> ServiceBusReceiver:
    return client.get_queue_receiver(target.queue, sub_queue="deadletter")


def peek_all(receiver: ServiceBusReceiver, start: int = 1) -> Generator[list[ServiceBusReceivedMessage], None, None]:
    """Every message from a sequence number on, page by page.

    While a page is being read the next one is fetched, which hides the way to the broker. So nobody else may use the
    receiver until the generator has ended: close it where it is not read to its end.
    """
    peek = partial(receiver.peek_messages, timeout=TIMEOUT)
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(peek, _FIRST_PAGE, sequence_number=start)
        while page := coming.result():
            start = (page[-1].sequence_number or 0) + 1
            coming = ahead.submit(peek, PAGE, sequence_number=start)
            yield page


def select(
    receiver: ServiceBusReceiver, selection: Selection, read: Callable[[int], None] = lambda _count: None
) -> Generator[Letter, None, None]:
    """The letters that are meant, in the queue's order. read: told how many more have been looked at.

    As for `peek_all`, the receiver is in use until the generator has ended or is closed.
    """
    with closing(_by_number(receiver, selection) if selection.only_by_number else peek_all(receiver)) as pages:
        for page in pages:
            for message in page:
                letter = letter_of(message)
                if selection.takes(letter):
                    yield letter
            read(len(page))


def _by_number(
    receiver: ServiceBusReceiver, selection: Selection
) -> Generator[list[ServiceBusReceivedMessage], None, None]:
    for number in sorted(selection.sequence_numbers):
        # Where the number is gone, the next one is shown; `takes` sees that.
        yield receiver.peek_messages(1, sequence_number=number, timeout=TIMEOUT)
