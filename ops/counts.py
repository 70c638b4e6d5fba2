"""How many messages a queue has and how old the oldest is: asked of the service, or counted by peeking.

Takes nothing out of the queue. Asking needs the Manage right; who lacks it gets a count that ends somewhere.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops.errors import RightMissingError

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage, ServiceBusReceiver
    from azure.servicebus.management import ServiceBusAdministrationClient

    from ops.target import Target

PEEK_LIMIT = 1000  # messages looked at by each peeking; beyond it a count says "at least"
_PAGE = 250  # messages a call; Service Bus gives no more at once
_PEEK_SECONDS = 30  # an answer takes less than one; a connection that is open but silent would wait for ever
_WINDOW = 60.0  # seconds that a rate looks back


@dataclass(frozen=True)
class Count:
    """at_least: there may be more."""

    number: int
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'at least ' if self.at_least else ''}{self.number:,}"


@dataclass(frozen=True)
class Sample:
    """One look at the queue. Ages in seconds, None where there is no such message or none was found."""

    at: datetime
    active: Count
    scheduled: Count
    dead_lettered: Count
    oldest_active: float | None
    oldest_dead: float | None

    @property
    def counts(self) -> tuple[Count, Count, Count]:
        return self.active, self.scheduled, self.dead_lettered


class Sampler:
    """Looks at one queue again and again; a context manager. Its connections are opened at the first look.

    why_peeking: a sentence once the service has refused its counts, else None.
    """

    def __init__(self, target: Target) -> None:
        self.why_peeking: str | None = None
        self._target = target
        self._has_answered = False
        self._open = ExitStack()
        self._receivers: tuple[ServiceBusReceiver, ServiceBusReceiver] | None = None
        self._administration: ServiceBusAdministrationClient | None = None

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every connection; the next look opens new ones."""
        self._receivers = self._administration = None
        self._open.close()

    def look(self) -> Sample:
        """Count now. Raises what the SDK raises; after that, `close` and try again."""
        queue, dead = self._connected()
        why = self.why_peeking
        if not why:
            asked = self._ask(queue, dead)
            if isinstance(asked, Sample):
                self._has_answered = True
                return asked
            why = asked
        sample = _peeked(queue, dead)
        self.why_peeking = why  # not before: while nothing at all is reachable, the next look asks again
        return sample

    def _connected(self) -> tuple[ServiceBusReceiver, ServiceBusReceiver]:
        if self._receivers is None:
            client = self._open.enter_context(self._target.client())
            queue = self._open.enter_context(client.get_queue_receiver(self._target.queue))
            dead = self._open.enter_context(client.get_queue_receiver(self._target.queue, sub_queue="deadletter"))
            self._receivers = queue, dead
        return self._receivers

    def _ask(self, queue: ServiceBusReceiver, dead: ServiceBusReceiver) -> Sample | str:
        """What the service says, else why it cannot be asked."""
        from azure.core.exceptions import ServiceRequestError, ServiceResponseError

        try:
            if self._administration is None:
                self._administration = self._open.enter_context(self._target.administration())
            now = self._administration.get_queue_runtime_properties(self._target.queue)
        except Exception as error:
            if getattr(error, "status_code", None) in (401, 403):
                return RightMissingError("Manage", self._target).sentence
            # What has answered before will again.
            if isinstance(error, ServiceRequestError | ServiceResponseError) and not self._has_answered:
                return _why_unreachable(str(error), self._target)
            raise
        active, letters = now.active_message_count or 0, now.dead_letter_message_count or 0
        return Sample(
            datetime.now(UTC),
            Count(active),
            Count(now.scheduled_message_count or 0),
            Count(letters),
            _oldest(queue) if active else None,
            _oldest(dead) if letters else None,
        )


def _why_unreachable(text: str, target: Target) -> str:
    if target.is_emulator:
        return f"Nothing tells counts on port {target.management_port}: set SERVICE_BUS_MANAGEMENT_PORT."
    if "certificate" in text.lower():
        return f"The certificate of {target.host} on port 443 is not trusted: check for a proxy that inspects TLS."
    return f"{target.host} tells counts on port 443, and port 443 is not reachable: check the firewall."


class Rates:
    """How fast counts change, over the last minute."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()

    def add(self, sample: Sample) -> tuple[float | None, float | None, float | None]:
        """Take a sample in; returns the change per minute of active, scheduled and dead-lettered messages.

        None: there is nothing to compare with yet, or a count is not exact.
        """
        self._samples.append(sample)
        while len(self._samples) > 2 and (sample.at - self._samples[1].at).total_seconds() >= _WINDOW:
            self._samples.popleft()
        first = self._samples[0]
        minutes = (sample.at - first.at).total_seconds() / 60
        before, now = first.counts, sample.counts
        active, scheduled, dead = (_rate(old, new, minutes) for old, new in zip(before, now, strict=True))
        return active, scheduled, dead


def _rate(old: Count, new: Count, minutes: float) -> float | None:
    if minutes <= 0 or old.at_least or new.at_least:
        return None
    return (new.number - old.number) / minutes


def _peeked(queue: ServiceBusReceiver, dead: ServiceBusReceiver) -> Sample:
    in_queue, oldest, more = _census(queue)
    dead_letters, oldest_dead, more_dead = _census(dead)
    return Sample(
        datetime.now(UTC),
        Count(in_queue["ACTIVE"] + in_queue["DEFERRED"], more),
        Count(in_queue["SCHEDULED"], more),
        Count(sum(dead_letters.values()), more_dead),
        oldest,
        oldest_dead,
    )


def _census(receiver: ServiceBusReceiver) -> tuple[dict[str, int], float | None, bool]:
    """(messages in each state, age of the oldest active one, whether there may be more)."""
    states = {"ACTIVE": 0, "DEFERRED": 0, "SCHEDULED": 0}
    oldest: float | None = None
    start = looked = 0
    while looked < PEEK_LIMIT and (page := _page(receiver, _PAGE, start + 1)):
        for message in page:
            states[message.state.name] += 1
            if oldest is None and message.state.name == "ACTIVE":
                oldest = _age(message.enqueued_time_utc)
        start, looked = page[-1].sequence_number or 0, looked + len(page)
    return states, oldest, looked >= PEEK_LIMIT


def _oldest(receiver: ServiceBusReceiver) -> float | None:
    """The age of the oldest message that waits now: what is scheduled may stand before it."""
    start, size, looked = 0, 1, 0
    while looked < PEEK_LIMIT and (page := _page(receiver, size, start + 1)):
        for message in page:
            if message.state.name == "ACTIVE":
                return _age(message.enqueued_time_utc)
        start, size, looked = page[-1].sequence_number or 0, _PAGE, looked + len(page)
    return None


def _page(receiver: ServiceBusReceiver, size: int, first: int) -> list[ServiceBusReceivedMessage]:
    return receiver.peek_messages(size, sequence_number=first, timeout=_PEEK_SECONDS)


def _age(enqueued: datetime | None) -> float | None:
    if enqueued is None:
        return None
    return max(0.0, (datetime.now(UTC) - enqueued.replace(tzinfo=UTC)).total_seconds())
