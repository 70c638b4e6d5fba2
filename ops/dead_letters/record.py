"""A message as plain JSON values and back, with everything that is needed to send it again.

What JSON has no type for is an object with one key: {"binary": base64}, {"uuid": text}, {"described": name, "value": …}
(.NET's TimeSpan, DateTimeOffset and Uri), {"double": "nan"}. Knows the SDK's message, nothing of queues.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus.amqp import AmqpAnnotatedMessage

Record = dict[str, Any]

# What the broker writes on a message; a sender must not.
_BROKERS_OWN = {
    "x-opt-sequence-number",
    "x-opt-enqueue-sequence-number",
    "x-opt-enqueued-time",
    "x-opt-locked-until",
    "x-opt-message-state",
    "x-opt-deadletter-source",
    "x-opt-scheduled-enqueue-time",
}
_BROKERS_PROPERTIES = {"DeadLetterReason", "DeadLetterErrorDescription"}
# The time of a dead letter is over or soon is. Who sends it again wants it handled, so the queue's own time to live
# counts, and not what was left of the sender's.
_OUTLIVED = {"time_to_live", "absolute_expiry_time", "delivery_count", "first_acquirer"}


def to_record(message: ServiceBusReceivedMessage) -> Record:
    """What the sender gave: body, header, properties, annotations, application properties."""
    raw = message.raw_amqp_message
    return {
        "body": _body(raw),
        "header": _section(raw.header, _OUTLIVED),
        "properties": _properties(raw.properties),
        "annotations": _section(raw.annotations, _BROKERS_OWN),
        "application_properties": _section(raw.application_properties, _BROKERS_PROPERTIES),
    }


def from_record(record: Record) -> AmqpAnnotatedMessage:
    """A message to send. The reverse of `to_record`, as far as the SDK shows types when it receives.

    Raises:
        ValueError: the record is not one of `to_record`.
    """
    from azure.servicebus.amqp import AmqpAnnotatedMessage

    try:
        body = record["body"]
        sections = {name: _values(record[name]) for name in ("header", "annotations", "application_properties")}
        properties = {name: from_json(value) for name, value in record["properties"].items()}
        kind, content = next(iter(body.items()))
        match kind:
            case "text":
                parts: dict[str, Any] = {"data_body": content.encode()}
            case "base64":
                parts = {"data_body": [b64decode(part, validate=True) for part in content]}
            case "value":
                value = from_json(content)
                parts = (
                    {"data_body": b""} if value == "" else {"value_body": value}
                )  # the client leaves out an empty one
            case _:
                raise ValueError(f"its body is of the unknown kind {kind!r}")
    except (AttributeError, KeyError, StopIteration, TypeError) as error:
        raise ValueError(f"it lacks or mixes up {error}") from error
    return AmqpAnnotatedMessage(**parts, **sections, properties=properties)


def body_of(message: ServiceBusReceivedMessage) -> bytes:
    """The body as the function reads it, in one piece."""
    from azure.servicebus.amqp import AmqpMessageBodyType

    body = message.raw_amqp_message.body
    if message.raw_amqp_message.body_type == AmqpMessageBodyType.DATA:
        return b"".join(body)
    if isinstance(body, str):
        return body.encode()
    return bytes(body) if isinstance(body, bytes) else b""


def body_in(record: Record) -> bytes:
    """The same of a record."""
    match record["body"]:
        case {"text": str(text)}:
            return text.encode()
        case {"base64": list(parts)}:
            return b"".join(b64decode(part, validate=True) for part in parts)
        case {"value": value}:
            value = from_json(value)
            return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""
    return b""


def as_text(value: Any) -> Any:
    """The client reads AMQP strings as bytes; what is no UTF-8 stays bytes."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def to_json(value: Any) -> Any:
    """A value of AMQP as JSON; one without a type of its own in JSON becomes an object with one key."""
    descriptor = getattr(value, "descriptor", None)
    if isinstance(descriptor, bytes):
        plain = int(value) if isinstance(value, int) else bytes(value) if isinstance(value, bytes) else value
        return {"described": descriptor.decode(), "value": to_json(plain)}
    value = as_text(value)
    match value:
        case bytes() | bytearray() | memoryview():
            return {"binary": b64encode(bytes(value)).decode()}
        case UUID():
            return {"uuid": str(value)}
        case float() if not math.isfinite(value):
            return {"double": str(value)}
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [to_json(part) for part in value]
        case dict():
            return {"map": [[to_json(key), to_json(part)] for key, part in value.items()]}
    return str(value)


def from_json(value: Any) -> Any:
    """The reverse of `to_json`, as bytes, text, UUID or number."""
    match value:
        case {"binary": str(text)}:
            return b64decode(text, validate=True)
        case {"uuid": str(text)}:
            return UUID(text)
        case {"double": str(text)}:
            return float(text)
        case {"map": list(pairs)}:
            return {from_json(key): from_json(part) for key, part in pairs}
        case list():
            return [from_json(part) for part in value]
    return value


def _values(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _typed(value) for name, value in section.items()}


def _typed(value: Any) -> Any:
    """A property or annotation so that the client writes it with its type."""
    if isinstance(value, dict) and "described" in value:
        inner = value["value"]
        inner = {"TYPE": "LONG", "VALUE": inner} if isinstance(inner, int) else _typed(inner)  # the described are wide
        return {"TYPE": "DESCRIBED", "VALUE": ({"TYPE": "SYMBOL", "VALUE": value["described"].encode()}, inner)}
    value = from_json(value)
    if isinstance(value, bytes):
        return bytearray(value)  # the client would try to make text of bytes
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**31) <= value < 2**31:
        return {"TYPE": "LONG" if value < 2**63 else "ULONG", "VALUE": value}  # it takes every int for 32 bits
    return value


def _properties(section: Any) -> dict[str, Any]:
    found = _section(section, _OUTLIVED)
    user_id = dict(section or {}).get("user_id")
    # The one that is binary whatever it looks like.
    return found | ({"user_id": {"binary": b64encode(user_id).decode()}} if isinstance(user_id, bytes) else {})


def _section(section: Any, left_out: set[str]) -> dict[str, Any]:
    named = {str(as_text(name)): value for name, value in dict(section or {}).items()}
    return {name: to_json(value) for name, value in named.items() if name not in left_out and value is not None}


def _body(raw: AmqpAnnotatedMessage) -> dict[str, Any]:
    from azure.servicebus.amqp import AmqpMessageBodyType

    if raw.body_type == AmqpMessageBodyType.DATA:
        parts = [bytes(part) for part in raw.body]
        if len(parts) == 1:
            try:
                return {"text": parts[0].decode()}
            except UnicodeDecodeError:
                pass
        return {"base64": [b64encode(part).decode() for part in parts]}
    if raw.body_type == AmqpMessageBodyType.VALUE:
        return {"value": to_json(raw.body)}
    return {"value": [to_json(part) for part in raw.body]}  # a sequence: no function can have read it
