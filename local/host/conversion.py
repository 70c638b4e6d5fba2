"""From a received message to exactly what the host sends to a Python worker, and nothing more."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from azure.servicebus.amqp import AmqpMessageBodyType

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage

_NEVER = "9999-12-31T23:59:59.9999999"
_DATA_CONTRACT = b"http://schemas.microsoft.com/2003/10/Serialization/"


class UnsupportedBodyError(Exception):
    """A body that makes the host itself fail: the function is never called."""


def body_of(message: ServiceBusReceivedMessage, *, binary: bool) -> tuple[str, str | bytes]:
    """(datum type, value) of the body.

    Raises:
        UnsupportedBodyError: a sequence, or a value that is no string.
    """
    raw = message.raw_amqp_message
    if raw.body_type == AmqpMessageBodyType.DATA:
        data = b"".join(bytes(part) for part in raw.body)
        return ("bytes", data) if binary else ("string", _text(data))
    value = raw.body if raw.body_type == AmqpMessageBodyType.VALUE else None
    if binary or not isinstance(value, (str, bytes)):
        raise UnsupportedBodyError(f"The host cannot convert a body of type {raw.body_type.name} for this trigger.")
    return "string", value if isinstance(value, str) else value.decode()


def metadata_of(message: ServiceBusReceivedMessage) -> dict[str, tuple[str, str]]:
    """Name to (datum type, value); nulls are left out, everything but strings is JSON text."""
    properties = {_name(key): _plain(value) for key, value in (message.application_properties or {}).items()}
    enqueued = message.enqueued_time_utc
    expires = _expiry(message)
    values: dict[str, Any] = {
        "MessageId": _string(message.message_id),
        "LockToken": str(message.lock_token) if message.lock_token else None,
        "DeliveryCount": (message.delivery_count or 0) + 1,
        "DeadLetterSource": message.dead_letter_source,
        "ExpiresAtUtc": _date(expires) if expires else _NEVER,
        "ExpiresAt": f"{_date(expires) if expires else _NEVER}+00:00",
        "EnqueuedTimeUtc": _date(enqueued) if enqueued else None,
        "EnqueuedTime": f"{_date(enqueued)}+00:00" if enqueued else None,
        "ContentType": _string(message.content_type),
        "ReplyTo": _string(message.reply_to),
        "SequenceNumber": message.sequence_number,
        "To": _string(message.to),
        "Subject": _string(message.subject),
        "Label": _string(message.subject),
        "CorrelationId": _string(message.correlation_id),
        "ApplicationProperties": properties,
        "UserProperties": properties,
        "SessionId": _string(message.session_id),
        "ReplyToSessionId": _string(message.reply_to_session_id),
        "PartitionKey": _string(message.partition_key),
    }
    dates = {"ExpiresAtUtc", "ExpiresAt", "EnqueuedTimeUtc", "EnqueuedTime"}
    return {
        name: ("string", value) if isinstance(value, str) and name not in dates else ("json", json.dumps(value))
        for name, value in values.items()
        if value is not None
    }


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _data_contract_string(data) or data.decode("utf-8", "replace")


def _data_contract_string(data: bytes) -> str | None:
    """The string in .NET binary XML, as legacy senders serialise it (MC-NBFX: chars records 0x98 to 0x9D)."""
    at = data.find(_DATA_CONTRACT)
    if at < 0 or not data.startswith(b"\x40\x06string\x08"):
        return None
    at += len(_DATA_CONTRACT)
    kind, at = data[at], at + 1
    width = {0x98: 1, 0x99: 1, 0x9A: 2, 0x9B: 2, 0x9C: 4, 0x9D: 4}.get(kind)
    if width is None:
        return None
    size = int.from_bytes(data[at : at + width], "little")
    return data[at + width : at + width + size].decode("utf-8", "replace")


def _expiry(message: ServiceBusReceivedMessage) -> datetime | None:
    if not message.time_to_live or not message.enqueued_time_utc:
        return None
    try:
        return message.enqueued_time_utc + message.time_to_live
    except OverflowError:
        return None


def _date(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat()


def _name(key: Any) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)


def _string(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else (None if value is None else str(value))


def _plain(value: Any) -> Any:
    """As .NET's JSON would write it: dates and GUIDs as text, bytes as base64. The SDK gives strings as bytes."""
    match value:
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return b64encode(value).decode()
        case datetime():
            return value.isoformat()
        case UUID() | timedelta():
            return str(value)
        case _:
            return value
