"""The copy of a message that Service Bus delivers later in the message's place.

It is made from the message as the queue holds it, not from what the function was given: the host leaves out the time
to live and passes application properties through JSON. Nothing may change but the id, the history and the time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageBodyType

from shared.redelivery import MESSAGE_ID
from shared.service_bus_errors import MessageGoneError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from azure.servicebus import ServiceBusReceivedMessage

_SCHEDULED = "x-opt-scheduled-enqueue-time"
# What the broker itself writes on a message; a sender must not.
_BROKERS_OWN = {
    "x-opt-sequence-number",
    "x-opt-enqueue-sequence-number",
    "x-opt-enqueued-time",
    "x-opt-locked-until",
    "x-opt-message-state",
    _SCHEDULED,
}
_ID_ROOM = 90  # characters kept of the first MessageId; with a GUID behind it, it stays under the 128 allowed
_LONGEST_TIME_TO_LIVE = 2**32 - 1  # milliseconds: the header has room for no more, so it also stands for longer ones


class ExpiredError(MessageGoneError):
    """The message's time to live has ended: what becomes of it is for the queue to say, not for us."""


def scheduled_copy(
    message: ServiceBusReceivedMessage,
    history: Mapping[str, str | int],
    due: datetime,
    now: datetime,
    copy_id: str,
) -> AmqpAnnotatedMessage:
    """A copy to be enqueued at `due`, or earlier where the message would expire before. Times in UTC, aware.

    Its MessageId ends in `copy_id`, another one for each delivery: under duplicate detection a copy with its original's
    id would be dropped without a word.

    Raises:
        ExpiredError: the message has no time left.
    """
    raw = message.raw_amqp_message
    header = dict(raw.header or {})
    if message.time_to_live and message.enqueued_time_utc and header["time_to_live"] != _LONGEST_TIME_TO_LIVE:
        left = message.enqueued_time_utc + message.time_to_live - now
        if left <= timedelta():
            raise ExpiredError("The message's time to live has ended.")
        due = min(due, now + left / 2)
        header["time_to_live"] = max(1, int((left - (due - now)) / timedelta(milliseconds=1)))  # counts from `due`
    header["delivery_count"] = None
    # All text but the user id, which is binary.
    properties = {
        name: value if name == "user_id" else _text(value) for name, value in dict(raw.properties or {}).items()
    }
    properties["message_id"] = f"{_first_id(message, history)}{copy_id}"
    annotations = {_text(name): _typed(value) for name, value in dict(raw.annotations or {}).items()}
    kept = {name: value for name, value in annotations.items() if name not in _BROKERS_OWN}
    sent = {str(_text(name)): _typed(value) for name, value in dict(raw.application_properties or {}).items()}
    return AmqpAnnotatedMessage(
        header=header,
        properties=properties,
        annotations={**kept, _SCHEDULED: due},
        application_properties={**sent, **history},
        footer=raw.footer,
        **_body(raw),
    )


def _first_id(message: ServiceBusReceivedMessage, history: Mapping[str, str | int]) -> str:
    first = history.get(MESSAGE_ID) or message.message_id
    return f"{str(first)[:_ID_ROOM]}~" if first else ""


def _body(raw: AmqpAnnotatedMessage) -> dict[str, Any]:
    # A sequence never reaches a function: the host cannot convert it.
    if raw.body_type == AmqpMessageBodyType.VALUE and raw.body != b"":
        return {"value_body": _text(raw.body)}
    if raw.body_type == AmqpMessageBodyType.VALUE:
        return {"data_body": b""}  # the client leaves out an empty value; to the host both are an empty text
    parts: Iterable[bytes] = raw.body
    return {"data_body": [bytes(part) for part in parts]}


def _text(value: Any) -> Any:
    """The client reads AMQP strings as bytes, and would write bytes as AMQP binary."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def _typed(value: Any) -> Any:
    """A property or annotation so that the client writes it as it came."""
    descriptor = getattr(value, "descriptor", None)  # .NET's TimeSpan, DateTimeOffset and Uri: a name and a value
    value = _text(value)
    if isinstance(value, bytes):
        value = bytearray(value)  # real binary: the client would try to make text of bytes
    elif isinstance(value, int) and (descriptor or not -(2**31) <= value < 2**31):
        # It takes every int for 32 bits; so a wider one names its type itself. The described ones are all wide.
        value = {"TYPE": "LONG" if value < 2**63 else "ULONG", "VALUE": int(value)}
    return {"TYPE": "DESCRIBED", "VALUE": ({"TYPE": "SYMBOL", "VALUE": descriptor}, value)} if descriptor else value
