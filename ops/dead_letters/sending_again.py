"""Sending letters again so that none is sent twice: each batch is noted in the journal before it goes out and after."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops.dead_letters.again import again
from ops.dead_letters.letter import RESUBMITTED_AS, letter_of
from ops.dead_letters.reading import open_dead_letters, peek_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from azure.servicebus import (
        ServiceBusMessageBatch,
        ServiceBusReceiver,
        ServiceBusSender,
    )
    from azure.servicebus.amqp import AmqpAnnotatedMessage

    from ops.dead_letters.journal import Journal
    from ops.dead_letters.letter import Letter
    from ops.target import Target

_BATCH_BYTES = 255 * 1024  # a kilobyte below the limit of the Standard tier


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


def settle_doubts(journal: Journal, target: Target, *, forget_gone: bool = False) -> None:
    """A run that was killed while sending does not know whether it sent: the queue may, or its dead letters.

    forget_gone: forget what was sent and is no dead letter any more. Else the journal would keep for ever what a killed
    run completed but did not note.
    """
    doubtful = set(journal.begun)
    if not doubtful and not (forget_gone and journal.sent):
        return
    copies, there = set[str](), set[str]()
    with target.client() as client:
        with client.get_queue_receiver(target.queue) as queue:
            for letter in _letters(queue) if doubtful else ():
                copies |= _origin(letter)
        with open_dead_letters(client, target) as dead_letters:
            for letter in _letters(dead_letters):
                copies |= _origin(letter)
                there.add(letter.identity)
    journal.mark_sent(doubtful & copies)
    journal.mark_done(doubtful - copies)
    if forget_gone:
        journal.mark_done(journal.sent - there)


def _in_batches(
    sender: ServiceBusSender, messages: list[AmqpAnnotatedMessage]
) -> Iterator[tuple[int, Callable[[], None]]]:
    """How many, and what sends them: as many at once as the broker takes. A batch is taken whole or not at all."""
    batch, size = _batch(sender), 0
    for message in messages:
        if _needs_its_own(message):
            if size:
                yield size, _sending(sender, batch)
                batch, size = _batch(sender), 0
            yield 1, _sending(sender, message)
            continue
        try:
            batch.add_message(message)
            size += 1
        except ValueError:  # full
            if size:
                yield size, _sending(sender, batch)
            batch, size = _batch(sender), 0
            try:
                batch.add_message(message)
                size = 1
            except ValueError:  # a batch of one is larger than the message alone
                yield 1, _sending(sender, message)
    if size:
        yield size, _sending(sender, batch)


def _batch(sender: ServiceBusSender) -> ServiceBusMessageBatch:
    # A batch that the SDK calls full is some 56 bytes larger on the wire than it counts, and is then refused.
    return sender.create_message_batch(max_size_in_bytes=_BATCH_BYTES)


def _sending(sender: ServiceBusSender, what: object) -> Callable[[], None]:
    return lambda: sender.send_messages(what)  # type: ignore[arg-type]


def _needs_its_own(message: AmqpAnnotatedMessage) -> bool:
    """A partitioned queue takes a batch of one partition only."""
    named = {*dict(message.annotations or {})}
    return "x-opt-partition-key" in named or bool(message.properties and message.properties.group_id)


def _letters(receiver: ServiceBusReceiver) -> Iterator[Letter]:
    with closing(peek_all(receiver)) as pages:
        for page in pages:
            yield from map(letter_of, page)


def _origin(letter: Letter) -> set[str]:
    """The identity of the letter that this message was sent again for."""
    found = letter.properties.get(RESUBMITTED_AS)
    return {found[-32:]} if isinstance(found, str) else set()
