"""The message that a dead letter is sent again as: a fresh start that knows where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.dead_letters.letter import RESUBMITTED_AS, RESUBMITTED_AT, RESUBMITTED_FROM, RESUBMITTED_TIMES
from ops.dead_letters.record import from_record
from shared.redelivery import ATTEMPT, FIRST_ATTEMPT_TIME, FIRST_ENQUEUED_TIME, MESSAGE_ID

if TYPE_CHECKING:
    from datetime import datetime

    from azure.servicebus.amqp import AmqpAnnotatedMessage

    from ops.dead_letters.letter import Letter

# With these the function would give up at the first failure: it counts from the first attempt ever.
_PAST = {ATTEMPT, FIRST_ATTEMPT_TIME}


def again(letter: Letter, now: datetime) -> AmqpAnnotatedMessage:
    """A copy with a fresh attempt count and the origin kept. Its MessageId is the same each time.

    It gets the queue's own time to live: what was left of the sender's would end it at once.
    """
    given = letter.record["application_properties"]
    kept = {name: value for name, value in given.items() if name not in _PAST}
    origin: dict[str, str | int] = {
        RESUBMITTED_AS: letter.next_id,
        RESUBMITTED_AT: now.isoformat(timespec="seconds"),
        RESUBMITTED_TIMES: letter.resubmitted_times + 1,
    }
    if letter.message_id:
        origin[RESUBMITTED_FROM] = letter.message_id
    if letter.first_id:
        origin[MESSAGE_ID] = letter.first_id
    if letter.first_enqueued:
        origin[FIRST_ENQUEUED_TIME] = letter.first_enqueued.isoformat(timespec="milliseconds")
    record = letter.record | {
        "application_properties": {**kept, **origin},
        "properties": {**letter.record["properties"], "message_id": letter.next_id},
    }
    return from_record(record)
