"""Sending letters again so that none is sent twice: each batch is noted in the journal before it goes out and after."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops.dead_letters.again import again
from ops.dead_letters.letter import RESUBMITTED_AS, letter_of
from ops.dead_letters.reading import open_dead_letters, peek_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from azure.servicebus import ServiceBusReceivedMessage, ServiceBusReceiver, ServiceBusSender
    from azure.servicebus.amqp import AmqpAnnotatedMessage

    from ops.dead_letters.journal import Journal
    from ops.dead_letters.letter import Letter
    from ops.target import Target


def send_again(sender: ServiceBusSender, journal: Journal, letters: list[Letter]) -> Iterator[int]:
    """Send a copy of each; yields how many more are gone, when they are."""
    now = datetime.now(UTC)
    copies = [again(letter, now) for letter in letters]
    identities = [letter.identity for letter in letters]
    journal.begin(identities)
    at = 0
    for size, send in _in_batches(sender, copies) if copies else ():
        send()
        journal.mark_sent(identities[at : at + size])
        at += size
        yield size


def settle_doubts(journal: Journal, target: Target) -> None:
    """A run that was killed while sending does not know whether it sent: the queue may, or its dead letters."""
    doubtful = set(journal.begun)
    if not doubtful:
        return
    with target.client() as client:
        with client.get_queue_receiver(target.queue) as queue:
            found = {copy for copy in _copies(queue) if copy in doubtful}
        with open_dead_letters(client, target) as letters:
            found |= {copy for copy in _copies(letters) if copy in doubtful}
    journal.mark_sent(found)
    journal.mark_done(doubtful - found)


def _in_batches(
    sender: ServiceBusSender, messages: list[AmqpAnnotatedMessage]
) -> Iterator[tuple[int, Callable[[], None]]]:
    """How many, and what sends them: as many at once as the broker takes. A batch is taken whole or not at all."""
    batch, size = sender.create_message_batch(), 0
    for message in messages:
        if _needs_its_own(message):
            if size:
                yield size, _sending(sender, batch)
                batch, size = sender.create_message_batch(), 0
            yield 1, _sending(sender, message)
            continue
        try:
            batch.add_message(message)
            size += 1
        except ValueError:  # full
            if size:
                yield size, _sending(sender, batch)
            batch, size = sender.create_message_batch(), 0
            try:
                batch.add_message(message)
                size = 1
            except ValueError:  # a batch of one is larger than the message alone
                yield 1, _sending(sender, message)
    if size:
        yield size, _sending(sender, batch)


def _sending(sender: ServiceBusSender, what: object) -> Callable[[], None]:
    return lambda: sender.send_messages(what)  # type: ignore[arg-type]


def _needs_its_own(message: AmqpAnnotatedMessage) -> bool:
    """A partitioned queue takes a batch of one partition only."""
    named = {*dict(message.annotations or {})}
    return "x-opt-partition-key" in named or bool(message.properties and message.properties.group_id)


def _copies(receiver: ServiceBusReceiver) -> Iterator[str]:
    """The identities of the letters that the messages of a queue were sent again for."""
    with closing(peek_all(receiver)) as pages:
        for page in pages:
            for message in page:
                yield from _origin(message)


def _origin(message: ServiceBusReceivedMessage) -> Iterable[str]:
    found = letter_of(message).properties.get(RESUBMITTED_AS)
    return [found[-32:]] if isinstance(found, str) else []
