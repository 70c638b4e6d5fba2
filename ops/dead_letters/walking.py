"""Taking chosen letters out of a dead-letter queue.

Service Bus gives no letter by its number: whatever lies before it has to be locked too. Those are given back at the
end; where they are many, the rest is free again when its lock ends.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops.console import stderr
from ops.dead_letters.letter import letter_of
from ops.dead_letters.reading import peek_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from azure.servicebus import ServiceBusReceivedMessage, ServiceBusReceiver

    from ops.dead_letters.letter import Letter
    from ops.interrupt import Interrupt

    # Deals with locked letters; returns the numbers of those that are gone from the queue now.
    Handle = Callable[[list["Taken"]], set[int]]

Taken = tuple["Letter", "ServiceBusReceivedMessage"]

BATCH = 100  # letters locked, sent and completed together
_POLL = 1.0  # seconds to wait for a message, so that Ctrl-C is heard
_GIVE_BACK_WITHIN = 5.0  # seconds
_MOST_HELD = 5_000  # messages kept to be given back


@dataclass
class Wanted:
    """The letters that are to be taken: identities by sequence number, in all and of them the deferred ones."""

    letters: dict[int, str] = field(default_factory=dict)
    deferred: set[int] = field(default_factory=set)

    def add(self, letter: Letter) -> None:
        self.letters[letter.sequence_number] = letter.identity
        if letter.is_deferred:
            self.deferred.add(letter.sequence_number)

    def includes(self, letter: Letter) -> bool:
        return self.letters.get(letter.sequence_number) == letter.identity

    def drop(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.letters.pop(number, None)


def walk(receiver: ServiceBusReceiver, wanted: Wanted, handle: Handle, wait: float, interrupt: Interrupt) -> None:
    """Hand every wanted letter to `handle`, once locked. What is gone is taken out of `wanted`; what stays is left.

    wait: seconds to wait for letters that somebody else has locked.
    """
    held: dict[int, ServiceBusReceivedMessage] = {}
    furthest, waiting_since = 0, None
    try:
        _take_deferred(receiver, wanted, handle)
        while wanted.letters and not interrupt.requested:
            batch = receiver.receive_messages(BATCH, max_wait_time=_POLL)
            chosen = _choose(batch, wanted, held)
            if chosen:
                wanted.drop(handle(chosen))
            last = max((message.sequence_number or 0 for message in batch), default=0)
            if chosen or last > furthest:
                furthest, waiting_since = max(furthest, last), None
            elif waiting_since is None:
                waiting_since = time.monotonic()
                wanted.drop(wanted.letters.keys() - still_there(receiver, wanted))  # others may have completed some
                _say_waiting(len(wanted.letters), wait)
            elif time.monotonic() - waiting_since >= wait:
                return
    finally:
        _give_back(receiver, held)


def still_there(receiver: ServiceBusReceiver, wanted: Wanted) -> set[int]:
    """The numbers of the wanted letters that the queue still has, locked or not; nothing is taken."""
    found: set[int] = set()
    last = max(wanted.letters, default=0)
    with closing(peek_all(receiver, min(wanted.letters, default=1))) as pages:
        for page in pages if wanted.letters else ():
            found |= {letter.sequence_number for letter in map(letter_of, page) if wanted.includes(letter)}
            if (page[-1].sequence_number or 0) >= last:
                break
    return found


def _choose(
    batch: list[ServiceBusReceivedMessage], wanted: Wanted, held: dict[int, ServiceBusReceivedMessage]
) -> list[Taken]:
    chosen = []
    for message in batch:
        letter = letter_of(message)
        if wanted.includes(letter):
            chosen.append((letter, message))
        elif len(held) < _MOST_HELD or letter.sequence_number in held:
            held[letter.sequence_number] = message
    return chosen


def _take_deferred(receiver: ServiceBusReceiver, wanted: Wanted, handle: Handle) -> None:
    """A letter that somebody deferred is received by its number only."""
    for number in sorted(wanted.deferred):
        locked = [(letter_of(found), found) for found in receiver.receive_deferred_messages([number])]
        wanted.drop(handle([taken for taken in locked if wanted.includes(taken[0])]))


def _say_waiting(count: int, wait: float) -> None:
    if count and wait:
        text = f"{count:,} are locked by somebody else, perhaps a run that was stopped; waiting up to {wait:.0f} s."
        stderr().print(text, style="warn", markup=False)


def _give_back(receiver: ServiceBusReceiver, held: dict[int, ServiceBusReceivedMessage]) -> None:
    from azure.servicebus.exceptions import ServiceBusError

    until = time.monotonic() + _GIVE_BACK_WITHIN
    for message in held.values():
        if time.monotonic() > until:
            return
        try:
            receiver.abandon_message(message)
        except (ServiceBusError, ValueError):  # its lock ended, or the connection did: it is free, or soon will be
            continue
