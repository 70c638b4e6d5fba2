"""`dead-letters resubmit`: send first, complete after, and never send twice what was sent.

For each batch of locked letters: note in the journal that sending begins, send, note that it is sent, complete. A run
that is killed anywhere leaves the letters, and the next run knows from the journal which of them need no sending.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from ops.dead_letters.reading import select
from ops.dead_letters.selection import Found
from ops.dead_letters.sending_again import send_again, settle_doubts
from ops.dead_letters.walking import Wanted, complete, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from azure.servicebus import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

    from ops.dead_letters.journal import Journal
    from ops.dead_letters.letter import Letter
    from ops.dead_letters.selection import Selection
    from ops.dead_letters.walking import Handle, Taken
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
    missing: str = ""  # what was asked for and is not there

    @classmethod
    def of(cls, letter: Letter) -> Plan:
        """One letter."""
        plan = cls()
        plan.add(letter)
        return plan

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


def make_plan(receiver: ServiceBusReceiver, selection: Selection, read: Callable[[int], None]) -> Plan:
    """Look at the dead-letter queue, and take nothing out of it."""
    plan, found = Plan(), Found(selection)
    with closing(select(receiver, selection, read)) as letters:
        for letter in letters:
            plan.add(letter)
            found.note(letter)
    plan.missing = found.missing
    return plan


class Resubmitter:
    """One run over one queue. tell: told how many more letters are done."""

    def __init__(self, target: Target, journal: Journal, mend: Mend, tell: Callable[[int], None]) -> None:
        self._target = target
        self._journal = journal
        self._mend = mend
        self._tell = tell
        self._counting = Lock()
        self.done = Done()

    def run(self, wanted: Wanted, wait: float, interrupt: Interrupt) -> None:
        """Send and complete what is wanted; what is left in `wanted` could not be had.

        wait: seconds to wait for letters that somebody else has locked.
        """
        settle_doubts(self._journal, self._target, forget_gone=True)
        walk(self._target, wanted, self._handling, wait, interrupt)

    @contextmanager
    def _handling(self, client: ServiceBusClient, receiver: ServiceBusReceiver) -> Iterator[Handle]:
        with client.get_queue_sender(self._target.queue) as sender:
            yield lambda taken: self._handle(receiver, sender, taken)

    def _handle(self, receiver: ServiceBusReceiver, sender: ServiceBusSender, taken: list[Taken]) -> Iterator[int]:
        unsent = [letter for letter, _ in taken if letter.identity not in self._journal.sent]
        for size in send_again(sender, self._journal, [self._mend(letter) for letter in unsent]):
            with self._counting:
                self.done.sent += size
        gone: list[str] = []
        try:
            # One whose lock is lost by now comes again, and the journal says that it is sent.
            for letter in complete(receiver, taken, self._tell):
                gone.append(letter.identity)
                yield letter.sequence_number
        finally:
            self._journal.mark_done(gone)
            with self._counting:
                self.done.sent_before += len(taken) - len(unsent)
                self.done.completed += len(gone)
