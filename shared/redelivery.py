"""When a message is tried again, and when enough is enough.

Pure rules: no clock, no socket. What a message has been through travels with it, in application properties of the copy
that replaces it, because a copy starts again at delivery count 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import azure.functions as func

ATTEMPT = "CancelJobAttempt"
FIRST_ATTEMPT_TIME = "CancelJobFirstAttemptTime"
FIRST_ENQUEUED_TIME = "CancelJobFirstEnqueuedTime"
MESSAGE_ID = "CancelJobMessageId"
LEAST_ATTEMPTS = 5  # before a message is given up, however long ago the first one was


@dataclass(frozen=True)
class Backoff:
    """Seconds. Exponential with full jitter: a message waits for up to half of the time that it has waited so far.

    So an outage is over for its last message at most half as long again after its end, however long it was; windows
    that double with each attempt would take two or three times as long. give_up_after counts from the first attempt,
    not from the sending: a message that waited for a worker for a day still gets all its attempts.
    job_not_found_grace counts from the sending: so long a job may still be on its way to Job Router.
    """

    first_delay: float = 15.0
    longest_delay: float = 1800.0
    give_up_after: float = 8 * 3600.0
    job_not_found_grace: float = 0.0

    def window(self, waited: float) -> float:
        """The longest wait for the next attempt, before anything that the service asks for."""
        return min(self.longest_delay, max(self.first_delay, waited / 2))

    def delay(self, waited: float, retry_after: float | None, jitter: float) -> float:
        """Seconds to the next attempt: at least Retry-After, plus a part (jitter, 0 to 1) of the window.

        The jitter comes on top, so that a thousand messages told "in 60 seconds" do not come back as one.
        """
        return min(retry_after or 0.0, self.give_up_after) + jitter * self.window(waited)

    def hold(self, delivery_count: int) -> float:
        """How long to keep a message that cannot be postponed: it knows nothing of its past but its deliveries."""
        return min(self.longest_delay, self.first_delay * 2.0 ** min(max(0, delivery_count - 1), 64))


@dataclass(frozen=True)
class Attempt:
    """Which attempt at a message this is. message_id: as its sender gave it. Times in UTC."""

    number: int
    since: datetime
    first_enqueued: datetime | None
    message_id: str | None

    @classmethod
    def of(cls, message: func.ServiceBusMessage, now: datetime) -> Attempt:
        """Read a message's past; whatever is missing or not understood counts as a first attempt."""
        properties = message.application_properties or {}
        enqueued = message.enqueued_time_utc
        return cls(
            _number(properties.get(ATTEMPT)) + max(0, (message.delivery_count or 1) - 1),
            min(now, _time(properties.get(FIRST_ATTEMPT_TIME)) or now),
            _time(properties.get(FIRST_ENQUEUED_TIME)) or (enqueued.replace(tzinfo=UTC) if enqueued else None),
            _text(properties.get(MESSAGE_ID)) or message.message_id,
        )

    def waited(self, now: datetime) -> float:
        """Seconds since the first attempt."""
        return (now - self.since).total_seconds()

    def age(self, now: datetime) -> float | None:
        """Seconds since the sender's message was enqueued; 0 where the broker's clock is ahead of ours."""
        return max(0.0, (now - self.first_enqueued).total_seconds()) if self.first_enqueued else None

    def is_in_grace(self, backoff: Backoff, now: datetime) -> bool:
        """Whether a job that is not found may still be created; never where nobody knows when the message was sent."""
        age = self.age(now)
        return age is not None and age < backoff.job_not_found_grace

    def is_last(self, backoff: Backoff, now: datetime) -> bool:
        """Whether nothing comes after this one: time is up, and it is not one of the first attempts.

        An app that was stopped overnight would else give up at the first failure of the morning.
        """
        return self.waited(now) >= backoff.give_up_after and self.number >= LEAST_ATTEMPTS

    def next_properties(self) -> dict[str, str | int]:
        """What the copy for the next attempt carries."""
        properties: dict[str, str | int] = {
            ATTEMPT: self.number + 1,
            FIRST_ATTEMPT_TIME: self.since.isoformat(timespec="seconds"),
        }
        if self.first_enqueued:
            properties[FIRST_ENQUEUED_TIME] = self.first_enqueued.isoformat(timespec="milliseconds")
        if self.message_id:
            properties[MESSAGE_ID] = self.message_id
        return properties


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_000_000 else 1


def _time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        return time.astimezone(UTC) if time and time.tzinfo else None
    except (ValueError, OverflowError):  # OverflowError: its offset leads out of the years 1 to 9999
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
