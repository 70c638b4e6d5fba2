"""Looking at dead letters without touching them: page after page, as many in memory as one page has."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ops.dead_letters.letter import letter_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from azure.servicebus import ServiceBusClient, ServiceBusReceivedMessage, ServiceBusReceiver

    from ops.dead_letters.letter import Letter
    from ops.dead_letters.selection import Selection
    from ops.target import Target

PAGE = 250  # messages a call; Service Bus gives no more at once
_FIRST_PAGE = 25  # so that the first rows are there at once


@contextmanager
def dead_letter_receiver(target: Target) -> Iterator[ServiceBusReceiver]:
    """A receiver of the queue's dead letters; it takes nothing by itself."""
    with target.client() as client, open_dead_letters(client, target) as receiver:
        yield receiver


def open_dead_letters(client: ServiceBusClient, target: Target) -> ServiceBusReceiver:
    return client.get_queue_receiver(target.queue, sub_queue="deadletter")


def peek_all(receiver: ServiceBusReceiver, start: int = 1) -> Iterator[list[ServiceBusReceivedMessage]]:
    """Every message from a sequence number on, page by page."""
    size = _FIRST_PAGE
    while page := receiver.peek_messages(size, sequence_number=start):
        yield page
        start, size = (page[-1].sequence_number or 0) + 1, PAGE


def select(
    receiver: ServiceBusReceiver, selection: Selection, read: Callable[[int], None] = lambda _count: None
) -> Iterator[Letter]:
    """The letters that are meant, in the queue's order. read: told how many more have been looked at."""
    for page in _by_number(receiver, selection) if selection.only_by_number else peek_all(receiver):
        for message in page:
            letter = letter_of(message)
            if selection.takes(letter):
                yield letter
        read(len(page))


def _by_number(receiver: ServiceBusReceiver, selection: Selection) -> Iterator[list[ServiceBusReceivedMessage]]:
    for number in sorted(selection.sequence_numbers):
        # Where the number is gone, the next one is shown; `takes` sees that.
        yield receiver.peek_messages(1, sequence_number=number)
