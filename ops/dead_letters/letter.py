"""A dead letter as a person looks at it: whose job, why, after how many attempts."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ops.dead_letters.record import as_text, body_in, body_of, from_json, from_record, to_record
from shared.cancellation import InvalidCancellationError, decode_cancellation
from shared.redelivery import ATTEMPT, FIRST_ATTEMPT_TIME, FIRST_ENQUEUED_TIME, MESSAGE_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from azure.servicebus import ServiceBusReceivedMessage

    from ops.dead_letters.record import Record

# What a message that was sent again carries; docs/message.md says the same.
RESUBMITTED_FROM = "CancelJobResubmittedFrom"  # MessageId of the dead letter
RESUBMITTED_AS = "CancelJobResubmittedAs"  # the MessageId that it was sent again with
RESUBMITTED_AT = "CancelJobResubmittedAt"  # when, ISO 8601, UTC
RESUBMITTED_TIMES = "CancelJobResubmittedTimes"  # how often by now

NEVER_TRIED = "TTLExpiredException"  # the broker's reason for a message that nobody took in time
_ATTEMPTS = re.compile(r"attempt: (\d+)|after (\d+) (?:delivery )?attempts")
_ID_ROOM = 77  # characters kept of the sender's MessageId; with up to 46 behind it stays under the 128 allowed


@dataclass(frozen=True)
class Letter:
    """sequence_number: its place in the dead-letter queue. job_id None: the body names none; `problem` says why.

    properties: the application properties without the reason and the description. body: as the function reads it.
    """

    sequence_number: int
    message_id: str | None
    enqueued: datetime | None
    reason: str
    description: str
    delivery_count: int
    is_deferred: bool
    properties: Mapping[str, Any]
    content_type: str | None
    body: bytes
    job_id: str | None
    problem: str | None
    read_record: Callable[[], Record]
    is_mended: bool = False
    changed: str = ""  # of a body that is not what was dead-lettered any more: its hash

    @cached_property
    def record(self) -> Record:
        """The message as JSON values; only who sends or exports it needs that."""
        record = self.read_record()
        return record | {"body": {"text": self.body.decode()}} if self.is_mended else record

    def with_body(self, body: str, job_id: str) -> Letter:
        """The same letter with another body, which names that job."""
        changed = body_hash(body.encode())
        return replace(self, body=body.encode(), job_id=job_id, problem=None, is_mended=True, changed=changed)

    @property
    def first_id(self) -> str | None:
        """The MessageId as its sender gave it."""
        found = self.properties.get(MESSAGE_ID)
        return found if isinstance(found, str) else self.message_id

    @property
    def first_enqueued(self) -> datetime | None:
        """When the sender's message was enqueued, in UTC."""
        return time_of(self.properties.get(FIRST_ENQUEUED_TIME)) or self.enqueued

    @property
    def first_attempt(self) -> datetime | None:
        return time_of(self.properties.get(FIRST_ATTEMPT_TIME))

    @property
    def attempts(self) -> int:
        """How often it was tried, by what its reason says, else by what it carries.

        The delivery count is no help: it also counts who locked the letter since it is dead.
        """
        said = _ATTEMPTS.search(self.description)
        carried = self.properties.get(ATTEMPT)
        before = carried - 1 if isinstance(carried, int) and 1 <= carried <= 1_000_000 else 0
        if self.reason == "MaxDeliveryCountExceeded":
            return before + int(said[2] if said and said[2] else max(1, self.delivery_count))
        if said:
            return int(said[1] or said[2])
        return before + (0 if self.reason == NEVER_TRIED else 1)

    @property
    def resubmitted_times(self) -> int:
        times = self.properties.get(RESUBMITTED_TIMES)
        return times if isinstance(times, int) and not isinstance(times, bool) and times > 0 else 0

    @property
    def identity(self) -> str:
        """32 hexadecimal digits that no other dead letter has, and that this one has each time it is read."""
        enqueued = self.enqueued.isoformat() if self.enqueued else ""
        return sha256(f"{self.sequence_number}\n{self.message_id}\n{enqueued}".encode()).hexdigest()[:32]

    @property
    def next_id(self) -> str:
        """The MessageId that it is sent again with: the same each time, another one for another body.

        Else a queue that detects duplicates would drop the mended one.
        """
        behind = f"{self.changed}~{self.identity}" if self.changed else self.identity
        return f"{self.first_id[:_ID_ROOM]}~{behind}" if self.first_id else behind


def letter_of(message: ServiceBusReceivedMessage) -> Letter:
    """Read a message of a dead-letter queue, peeked or received."""
    properties = {_str(name): as_text(value) for name, value in (message.application_properties or {}).items()}
    reason = properties.pop("DeadLetterReason", None)
    description = properties.pop("DeadLetterErrorDescription", None)
    body, content_type = body_of(message), message.content_type
    job_id, problem = _judged(body, content_type, properties)
    enqueued = message.enqueued_time_utc
    return Letter(
        sequence_number=message.sequence_number or 0,
        message_id=None if message.message_id is None else str(message.message_id),
        enqueued=enqueued.replace(tzinfo=UTC) if enqueued else None,
        reason=_str(reason or "(no reason)"),
        description=_str(description or ""),
        delivery_count=message.delivery_count or 0,
        is_deferred=message.state.name == "DEFERRED",
        properties=properties,
        content_type=content_type,
        body=body,
        job_id=job_id,
        problem=problem,
        read_record=lambda: to_record(message),
    )


def exported_letter(line: Mapping[str, Any]) -> Letter:
    """Read a line of `dead-letters export` (exporting.py).

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is none, or it is not what was written.
    """
    record, enqueued = line["message"], line["enqueued"]
    from_record(record)  # now, and not when half of the file is sent
    if not all(isinstance(line[name], str) for name in ("reason", "description", "identity", "bodyHash")):
        raise ValueError("a text is none")
    properties = {name: from_json(value) for name, value in record["application_properties"].items()}
    body, content_type = body_in(record), record["properties"].get("content_type")
    job_id, problem = _judged(body, content_type, properties)
    letter = Letter(
        sequence_number=line["sequenceNumber"],
        message_id=line["messageId"],
        enqueued=datetime.fromisoformat(enqueued) if enqueued else None,
        reason=line["reason"],
        description=line["description"],
        delivery_count=0,
        is_deferred=False,
        properties=properties,
        content_type=content_type,
        body=body,
        job_id=job_id,
        problem=problem,
        read_record=lambda: record,
        changed="" if body_hash(body) == line["bodyHash"] else body_hash(body),
    )
    if letter.identity != line["identity"]:
        raise ValueError("its number, id or time was changed")
    return letter


def body_hash(body: bytes) -> str:
    """12 hexadecimal digits."""
    return sha256(body).hexdigest()[:12]


def _judged(
    body: bytes, content_type: str | None, properties: Mapping[str, Any]
) -> tuple[str, None] | tuple[None, str]:
    """The job that a body names, or what is wrong with it."""
    try:
        return decode_cancellation(body, content_type, properties).job_id, None
    except InvalidCancellationError as error:
        return None, str(error)


def time_of(value: object) -> datetime | None:
    """A time as the function writes it into a property; None for anything else."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        return time.astimezone(UTC) if time and time.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _str(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
