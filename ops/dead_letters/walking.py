"""Taking chosen letters out of a dead-letter queue.

Service Bus gives no letter by its number: whatever lies before it has to be locked too. Those are given back at the
end; where they are many, the rest is free again when its lock ends.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from ops.console import stderr
from ops.dead_letters.letter import letter_of
from ops.dead_letters.reading import TIMEOUT, open_dead_letters, peek_all
from ops.interrupt import stop_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from azure.servicebus import ServiceBusClient, ServiceBusReceivedMessage, ServiceBusReceiver

    from ops.dead_letters.letter import Letter
    from ops.interrupt import Interrupt
    from ops.target import Target

    # Deals with locked letters; yields the number of each when it is gone from the queue.
    Handle = Callable[[list["Taken"]], Iterator[int]]
    Handling = Callable[[ServiceBusClient, ServiceBusReceiver], AbstractContextManager[Handle]]

Taken = tuple["Letter", "ServiceBusReceivedMessage"]

BATCH = 100  # letters locked, sent and completed together
# Completing takes a round trip a letter. With as many letters another connection costs less than it saves.
LETTERS_A_CONNECTION = 250
MOST_CONNECTIONS = 8
_POLL = 1.0  # seconds to wait for a message, so that Ctrl-C is heard
_GIVE_BACK_WITHIN = 20.0  # seconds
_MOST_HELD = 5_000  # messages kept to be given back, by all connections together


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


def walk(target: Target, wanted: Wanted, handling: Handling, wait: float, interrupt: Interrupt) -> None:
    """Have every wanted letter handled, once locked. What is gone is taken out of `wanted`; what stays is left.

    handling: opens what handles the letters of one connection; for many letters there are several, with a thread each.
    wait: seconds to wait for letters that somebody else has locked.
    """
    count = max(1, min(MOST_CONNECTIONS, len(wanted.letters) // LETTERS_A_CONNECTION))
    team = _Team(count, wanted, wait, interrupt)

    def work(number: int) -> None:
        try:
            with (
                target.client() as client,
                open_dead_letters(client, target) as receiver,
                handling(client, receiver) as handle,
            ):
                _walk(receiver, handle, team, number)
        except BaseException:
            team.failed = True
            raise
        finally:
            team.idle.add(number)

    if count == 1:
        work(0)
        return
    with ThreadPoolExecutor(count) as pool:
        try:
            for done in [pool.submit(work, number) for number in range(count)]:
                done.result()
        except KeyboardInterrupt:  # the second one; a thread that waits for the network could not be ended otherwise
            stop_at_once()
        except BaseException:
            team.failed = True
            raise


@dataclass
class _Team:
    """What the connections know of each other. idle: those that found nothing to do."""

    size: int
    wanted: Wanted
    wait: float
    interrupt: Interrupt
    failed: bool = False
    idle: set[int] = field(default_factory=set)
    _told: Lock = field(default_factory=Lock)

    @property
    def is_done(self) -> bool:
        return not self.wanted.letters or self.interrupt.requested or self.failed

    def look_what_is_left(self, receiver: ServiceBusReceiver) -> None:
        """Once, when nothing comes any more: others may have completed some, or hold them."""
        if self._told.acquire(blocking=False):  # never released
            self.wanted.drop(self.wanted.letters.keys() - still_there(receiver, self.wanted))
            _say_waiting(len(self.wanted.letters), self.wait)


def _walk(receiver: ServiceBusReceiver, handle: Handle, team: _Team, number: int) -> None:
    wanted = team.wanted
    held: dict[int, ServiceBusReceivedMessage] = {}
    furthest, waiting_since = 0, None
    try:
        if number == 0:
            _take_deferred(receiver, wanted, handle)
        while not team.is_done:
            batch = receiver.receive_messages(BATCH, max_wait_time=_POLL)
            chosen = _choose(batch, wanted, held, _MOST_HELD // team.size)
            if chosen:
                wanted.drop(handle(chosen))  # one by one, so that what is done counts also when the rest fails
            last = max((message.sequence_number or 0 for message in batch), default=0)
            if chosen or last > furthest:
                furthest, waiting_since = max(furthest, last), None
                team.idle.discard(number)
                continue
            team.idle.add(number)
            if len(team.idle) < team.size:  # what is wanted may be in another one's hands
                continue
            if waiting_since is None:
                waiting_since = time.monotonic()
                team.look_what_is_left(receiver)
            elif time.monotonic() - waiting_since >= team.wait:
                return
    finally:
        _give_back(receiver, held)


def complete(receiver: ServiceBusReceiver, taken: list[Taken], tell: Callable[[int], None]) -> Iterator[Letter]:
    """Take letters out of the queue; yields each that is gone, and tells of it."""
    from azure.servicebus.exceptions import MessageLockLostError

    for letter, message in taken:
        try:
            receiver.complete_message(message)
        except MessageLockLostError:  # it comes again
            continue
        tell(1)
        yield letter


def still_there(receiver: ServiceBusReceiver, wanted: Wanted) -> set[int]:
    """The numbers of the wanted letters that the queue still has, locked or not; nothing is taken."""
    found: set[int] = set()
    numbers = list(wanted.letters)
    last = max(numbers, default=0)
    with closing(peek_all(receiver, min(numbers, default=1))) as pages:
        for page in pages if numbers else ():
            found |= {letter.sequence_number for letter in map(letter_of, page) if wanted.includes(letter)}
            if (page[-1].sequence_number or 0) >= last:
                break
    return found


def _choose(
    batch: list[ServiceBusReceivedMessage], wanted: Wanted, held: dict[int, ServiceBusReceivedMessage], most_held: int
) -> list[Taken]:
    chosen = []
    for message in batch:
        letter = letter_of(message)
        if wanted.includes(letter):
            chosen.append((letter, message))
        elif len(held) < most_held or letter.sequence_number in held:
            held[letter.sequence_number] = message
    return chosen


def _take_deferred(receiver: ServiceBusReceiver, wanted: Wanted, handle: Handle) -> None:
    """A letter that somebody deferred is received by its number only."""
    from azure.servicebus.exceptions import MessageNotFoundError

    for number in sorted(wanted.deferred):
        try:
            found = receiver.receive_deferred_messages([number], timeout=TIMEOUT)
        except MessageNotFoundError:  # gone, or somebody else has locked it
            continue
        locked = [(letter_of(message), message) for message in found]
        wanted.drop(handle([taken for taken in locked if wanted.includes(taken[0])]))


def _say_waiting(count: int, wait: float) -> None:
    if count and wait:
        text = f"{count:,} are locked by somebody else, perhaps by a run that was stopped; waiting up to {wait:.0f} s."
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
