"""`dead-letters resubmit`: send first, complete after, and never send twice what was sent.

For each batch of locked letters: note in the journal that sending begins, send, note that it is sent, complete. A run
that is killed anywhere leaves the letters, and the next run knows from the journal which of them need no sending.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops.dead_letters.again import again
from ops.dead_letters.letter import RESUBMITTED_AS, letter_of
from ops.dead_letters.reading import peek_all, select
from ops.dead_letters.walking import Wanted, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from azure.servicebus import ServiceBusClient, ServiceBusReceivedMessage, ServiceBusReceiver, ServiceBusSender
    from azure.servicebus.amqp import AmqpAnnotatedMessage

    from ops.dead_letters.journal import Journal
    from ops.dead_letters.letter import Letter
    from ops.dead_letters.selection import Selection
    from ops.dead_letters.walking import Taken
    from ops.interrupt import Interrupt
    from ops.target import Target

    Mend = Callable[[Letter], Letter]

_MOST_SHOWN = 10  # letters kept to be shown


@dataclass
class Plan:
    """What a run is to do, from a look at the queue; only numbers and identities, and some letters to be shown."""

    wanted: Wanted = field(default_factory=Wanted)
    reasons: dict[str, int] = field(default_factory=dict)
    shown: list[Letter] = field(default_factory=list)
    unfit: list[Letter] = field(default_factory=list)
    unfit_count: int = 0

    def add(self, letter: Letter) -> None:
        """One that is no cancellation would only die again: it is left where it is."""
        if letter.problem:
            self.unfit_count += 1
            self.unfit += [letter] if len(self.unfit) < _MOST_SHOWN else []
            return
        self.wanted.add(letter)
        self.reasons[letter.reason] = self.reasons.get(letter.reason, 0) + 1
        self.shown += [letter] if len(self.shown) < _MOST_SHOWN else []

    @property
    def count(self) -> int:
        return len(self.wanted.letters)


@dataclass
class Done:
    """What a run did. sent: now. sent_before: by a run that was stopped; only completed now."""

    sent: int = 0
    sent_before: int = 0
    completed: int = 0


def make_plan(receiver: ServiceBusReceiver, selection: Selection, mend: Mend, read: Callable[[int], None]) -> Plan:
    """Look at the dead-letter queue, and take nothing out of it."""
    plan = Plan()
    with closing(select(receiver, selection, read)) as letters:
        for letter in letters:
            plan.add(mend(letter))
    return plan


class Resubmitter:
    """One run over one queue."""

    def __init__(self, target: Target, client: ServiceBusClient, journal: Journal, mend: Mend) -> None:
        self._target = target
        self._client = client
        self._journal = journal
        self._mend = mend
        self._tell: Callable[[int], None] = lambda _count: None
        self.done = Done()

    def run(
        self,
        receiver: ServiceBusReceiver,
        wanted: Wanted,
        wait: float,
        interrupt: Interrupt,
        tell: Callable[[int], None],
    ) -> None:
        """Send and complete what is wanted; what is left in `wanted` could not be had.

        wait: seconds to wait for letters that somebody else has locked. tell: told how many more are done.
        """
        self._tell = tell
        self._settle_doubts(receiver)
        with self._client.get_queue_sender(self._target.queue) as sender:
            walk(receiver, wanted, lambda taken: self._handle(receiver, sender, taken), wait, interrupt)

    def _settle_doubts(self, receiver: ServiceBusReceiver) -> None:
        """A run that was killed while sending does not know whether it sent: the queue may."""
        doubtful = set(self._journal.begun)
        if not doubtful:
            return
        with self._client.get_queue_receiver(self._target.queue) as queue:
            found = {copy for copy in _copies(queue) if copy in doubtful}
        found |= {copy for copy in _copies(receiver) if copy in doubtful}
        self._journal.mark_sent(found)
        self._journal.mark_done(doubtful - found)

    def _handle(self, receiver: ServiceBusReceiver, sender: ServiceBusSender, taken: list[Taken]) -> set[int]:
        from azure.servicebus.exceptions import MessageLockLostError

        unsent = [letter for letter, _ in taken if letter.identity not in self._journal.sent]
        sent_before = len(taken) - len(unsent)
        if unsent:
            self._send(sender, unsent)
        settled: set[int] = set()
        done: list[str] = []
        for letter, message in taken:
            try:
                receiver.complete_message(message)
            except MessageLockLostError:  # it comes again, and the journal says that it is sent
                continue
            settled.add(letter.sequence_number)
            done.append(letter.identity)
            self._tell(1)
        self._journal.mark_done(done)
        self.done.sent_before += sent_before
        self.done.completed += len(settled)
        return settled

    def _send(self, sender: ServiceBusSender, letters: list[Letter]) -> None:
        now = datetime.now(UTC)
        copies = [again(self._mend(letter), now) for letter in letters]
        identities = [letter.identity for letter in letters]
        self._journal.begin(identities)
        at = 0
        for size, send in _in_batches(sender, copies):
            send()
            self._journal.mark_sent(identities[at : at + size])
            self.done.sent += size
            at += size


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
    for page in peek_all(receiver):
        for message in page:
            yield from _origin(message)


def _origin(message: ServiceBusReceivedMessage) -> Iterable[str]:
    found = letter_of(message).properties.get(RESUBMITTED_AS)
    return [found[-32:]] if isinstance(found, str) else []
