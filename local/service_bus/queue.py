"""The state of one queue: who holds which message, and what time does to them. No socket, no proton loop."""

from __future__ import annotations

import heapq
import secrets
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proton import Message


@dataclass(frozen=True)
class QueueOptions:
    """What Azure calls the queue's properties; seconds, None means off."""

    name: str
    lock_duration_seconds: float = 60.0
    max_delivery_count: int = 10
    default_time_to_live_seconds: float | None = None
    dead_letter_on_expiration: bool = False
    duplicate_detection_window_seconds: float | None = None
    requires_session: bool = False


@dataclass(frozen=True)
class QueueCounts:
    """How many messages are in which state; `active` are those a receiver could get now."""

    active: int
    locked: int
    deferred: int
    scheduled: int
    dead_lettered: int


@dataclass
class Entry:
    """A message in a queue. `tag` is the lock token as it travels; 16 ASCII characters make a valid GUID."""

    sequence_number: int
    message: Message
    enqueued: datetime
    expires: datetime | None
    state: str = "active"  # active, locked, deferred, scheduled
    delivery_count: int = 0
    tag: str = ""
    locked_until: datetime | None = None
    visible_from: datetime | None = None

    @property
    def lock_token(self) -> UUID:
        return UUID(bytes_le=self.tag.encode())


@dataclass(frozen=True)
class StoredMessage:
    """A look at a message for tests and demos."""

    sequence_number: int
    message_id: Any
    state: str
    delivery_count: int
    enqueued: datetime
    visible_from: datetime | None
    application_properties: dict[str, Any]
    body: Any


class LockLostError(Exception):
    """The lock token is not held by anybody any more."""


@dataclass
class Queue:
    """Queue and, through `dead_letters`, its dead-letter queue. Not thread-safe: the broker holds its lock."""

    options: QueueOptions
    now: Callable[[], datetime]
    is_dead_letter: bool = False
    entries: dict[int, Entry] = field(default_factory=dict)
    _states: Counter[str] = field(default_factory=Counter)  # how many of `entries` are in each
    _ready: list[int] = field(default_factory=list)
    _locks: dict[str, Entry] = field(default_factory=dict)
    _timers: list[tuple[datetime, int, str]] = field(default_factory=list)
    _seen: dict[Any, datetime] = field(default_factory=dict)
    _next: int = 1

    def __post_init__(self) -> None:
        self.dead_letters = self if self.is_dead_letter else Queue(self.options, self.now, is_dead_letter=True)

    def send(self, message: Message) -> int:
        """Take a message in; returns its sequence number, 0 when duplicate detection dropped it."""
        now = self.now()
        if self._is_duplicate(message, now):
            return 0
        annotations = dict(message.annotations or {})
        due = annotations.get("x-opt-scheduled-enqueue-time")
        visible_from = _from_milliseconds(due, now) if due is not None else None
        seconds = message.ttl or self.options.default_time_to_live_seconds
        limit = self.options.default_time_to_live_seconds
        seconds = min(seconds, limit) if seconds and limit else seconds
        start = max(now, visible_from) if visible_from else now
        entry = Entry(self._next, message, start, _later(start, seconds), visible_from=visible_from)
        self._next += 1
        self._insert(entry, scheduled=bool(visible_from and visible_from > now))
        return entry.sequence_number

    def take(self) -> Entry | None:
        """Lock the next message, or None when there is none."""
        self.tick()
        while self._ready:
            entry = self.entries.get(heapq.heappop(self._ready))
            if entry and entry.state == "active":
                return self.lock(entry)
        return None

    def lock(self, entry: Entry) -> Entry:
        self._move(entry, "locked")
        entry.tag = secrets.token_hex(8)
        entry.locked_until = self.now() + timedelta(seconds=self.options.lock_duration_seconds)
        self._locks[entry.tag] = entry
        heapq.heappush(self._timers, (entry.locked_until, entry.sequence_number, entry.tag))
        return entry

    def renew(self, tag: str) -> datetime:
        entry = self._held(tag)
        entry.locked_until = self.now() + timedelta(seconds=self.options.lock_duration_seconds)
        heapq.heappush(self._timers, (entry.locked_until, entry.sequence_number, tag))
        return entry.locked_until

    def complete(self, tag: str) -> None:
        self._remove(self._release(tag))

    def abandon(self, tag: str) -> None:
        self._return_counted(self._release(tag))

    def give_back(self, tag: str) -> None:
        """As if it had never been delivered."""
        self._return(self._release(tag))

    def defer(self, tag: str) -> None:
        self._move(self._release(tag), "deferred")

    def dead_letter(self, tag: str, reason: str | None, description: str | None) -> None:
        self._bury(self._release(tag), reason, description)

    def cancel_scheduled(self, sequence_number: int) -> bool:
        entry = self.entries.get(sequence_number)
        if entry is None or entry.state != "scheduled":
            return False
        self._remove(entry)
        return True

    def peek(self, start: int, count: int) -> Iterator[Entry]:
        """Messages in any state from a sequence number on."""
        self.tick()
        first = next(iter(self.entries), self._next)  # what came before it is gone, and may be a lot
        known = (number for number in range(max(start, first), self._next) if number in self.entries)
        for number in islice(known, count):
            yield self.entries[number]

    def expire_locks(self, sequence_number: int | None = None) -> None:
        """Every lock, or that of one message, is lost now."""
        self.tick()
        for entry in list(self._locks.values()):
            if sequence_number in (None, entry.sequence_number):
                self._return_counted(self._unlock(entry))

    def tick(self) -> None:
        """Do what the time has come for: expired locks, scheduled messages, times to live."""
        now = self.now()
        while self._timers and self._timers[0][0] <= now:
            _, number, kind = heapq.heappop(self._timers)
            entry = self.entries.get(number)
            if entry is None:
                continue
            if kind == "scheduled" and entry.state == "scheduled":
                self._move(entry, "active")
                heapq.heappush(self._ready, number)
            elif kind == "expires" and entry.state in ("active", "deferred"):
                self._expire(entry)
            elif kind == entry.tag and entry.state == "locked" and entry.locked_until and entry.locked_until <= now:
                self._return_counted(self._unlock(entry))  # not `abandon`, which would tick: a level deeper for each

    def counts(self) -> QueueCounts:
        self.tick()
        active, locked, deferred, scheduled = (self._states[s] for s in ("active", "locked", "deferred", "scheduled"))
        return QueueCounts(active, locked, deferred, scheduled, len(self.dead_letters.entries))

    def _is_duplicate(self, message: Message, now: datetime) -> bool:
        window = self.options.duplicate_detection_window_seconds
        if window is None or message.id is None or self.is_dead_letter:
            return False
        last = self._seen.get(message.id)
        if last is not None and (now - last).total_seconds() < window:
            return True
        self._seen[message.id] = now
        return False

    def _insert(self, entry: Entry, *, scheduled: bool = False) -> None:
        self.entries[entry.sequence_number] = entry
        self._states[entry.state] += 1
        if scheduled and entry.visible_from:
            self._move(entry, "scheduled")
            heapq.heappush(self._timers, (entry.visible_from, entry.sequence_number, "scheduled"))
        else:
            heapq.heappush(self._ready, entry.sequence_number)
        if entry.expires and not self.is_dead_letter:
            heapq.heappush(self._timers, (entry.expires, entry.sequence_number, "expires"))

    def _return_counted(self, entry: Entry) -> None:
        entry.delivery_count += 1
        self._return(entry)

    def _return(self, entry: Entry) -> None:
        if entry.delivery_count >= self.options.max_delivery_count and not self.is_dead_letter:
            text = f"Message could not be consumed after {self.options.max_delivery_count} delivery attempts."
            self._bury(entry, "MaxDeliveryCountExceeded", text)
        elif entry.expires and entry.expires <= self.now() and not self.is_dead_letter:
            self._expire(entry)  # its time ended under the lock, which kept it until now
        else:
            self._move(entry, "active")
            heapq.heappush(self._ready, entry.sequence_number)

    def _expire(self, entry: Entry) -> None:
        if self.options.dead_letter_on_expiration:
            self._bury(entry, "TTLExpiredException", "The message expired and was dead lettered.")
        else:
            self._remove(entry)

    def _bury(self, entry: Entry, reason: str | None, description: str | None) -> None:
        self._remove(entry)
        named = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        properties = dict(entry.message.properties or {}) | {k: v for k, v in named.items() if v}
        entry.message.properties = properties
        buried = Entry(self.dead_letters._next, entry.message, entry.enqueued, entry.expires)
        buried.delivery_count = entry.delivery_count
        self.dead_letters._next += 1
        self.dead_letters._insert(buried)

    def _held(self, tag: str) -> Entry:
        self.tick()
        try:
            return self._locks[tag]
        except KeyError:
            raise LockLostError(tag) from None

    def _release(self, tag: str) -> Entry:
        return self._unlock(self._held(tag))

    def _unlock(self, entry: Entry) -> Entry:
        del self._locks[entry.tag]
        entry.locked_until = None
        return entry

    def _move(self, entry: Entry, state: str) -> None:
        self._states[entry.state] -= 1
        self._states[state] += 1
        entry.state = state

    def _remove(self, entry: Entry) -> None:
        self._states[entry.state] -= 1
        del self.entries[entry.sequence_number]


def _later(start: datetime, seconds: float | None) -> datetime | None:
    if not seconds:
        return None
    try:
        return start + timedelta(seconds=seconds)
    except OverflowError:
        return None  # longer than the calendar: never


def _from_milliseconds(value: Any, now: datetime) -> datetime:
    return datetime.fromtimestamp(int(value) / 1000, now.tzinfo)
