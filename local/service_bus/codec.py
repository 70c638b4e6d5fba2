"""Between the wire and a queue's entries: batches taken apart, deliveries put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proton import Message, symbol, timestamp, ulong

if TYPE_CHECKING:
    from local.service_bus.queue import Entry

_BATCHED = b"\x00\x53"  # how an encoded AMQP message starts; text and JSON never do
_STATES = {"deferred": 1, "scheduled": 2}


def messages_in(data: bytes) -> list[Message]:
    """The message, or the messages of a batch (message format 0x80013700: one encoded message a data section)."""
    parts = [section for section in _data_sections(data) if section.startswith(_BATCHED)]
    return [decode(part) for part in parts] if parts else [decode(data)]


def decode(data: bytes) -> Message:
    message = Message()
    message.decode(data)
    # proton's binaries are views of memory that its next encoding overwrites.
    message.annotations, message.properties = _owned(message.annotations), _owned(message.properties)
    message.body = _owned(message.body)
    parts = _data_sections(data)
    if len(parts) > 1:  # proton keeps the last one only
        message.body, message.parts = b"".join(parts), parts
    return message


def encode(entry: Entry, *, peeked: bool = False) -> bytes:
    """The message as a receiver gets it: only what the service sets differs from what was sent."""
    message = entry.message
    annotations: dict[Any, Any] = dict(message.annotations or {})
    annotations[symbol("x-opt-sequence-number")] = entry.sequence_number
    annotations[symbol("x-opt-enqueued-time")] = milliseconds(entry.enqueued)
    annotations[symbol("x-opt-enqueue-sequence-number")] = entry.sequence_number
    if entry.locked_until:
        annotations[symbol("x-opt-locked-until")] = milliseconds(entry.locked_until)
    if peeked:
        annotations[symbol("x-opt-message-state")] = _STATES.get(entry.state, 0)
    sent, message.annotations = message.annotations, annotations
    message.delivery_count = entry.delivery_count
    parts = getattr(message, "parts", None)
    data = _encode_parts(message, parts) if parts else bytes(message.encode())
    message.annotations = sent
    return data


def milliseconds(moment: Any) -> timestamp:
    return timestamp(int(moment.timestamp() * 1000))


def status_message(
    request: Message, code: int, description: str, condition: str | None, body: Any, cbs: bool
) -> Message:
    """The answer to a request on `$cbs` or `$management`."""
    names = ("status-code", "status-description") if cbs else ("statusCode", "statusDescription")
    properties: dict[str, Any] = {names[0]: code, names[1]: description}
    if condition:
        properties["errorCondition"] = symbol(condition)
    return Message(body=body, correlation_id=request.id, properties=properties, address=request.reply_to)


def sequence_number(value: int) -> Any:
    return ulong(value)


def _owned(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _owned(part) for name, part in value.items()}
    return bytes(value) if isinstance(value, memoryview) else value


def _encode_parts(message: Message, parts: list[bytes]) -> bytes:
    body, message.body = message.body, None  # proton then writes everything else
    rest = bytes(message.encode())
    message.body = body
    return rest + b"".join(b"\x00\x53\x75\xb0" + len(part).to_bytes(4, "big") + part for part in parts)


def _data_sections(data: bytes) -> list[bytes]:
    sections, at = [], 0
    while at + 3 < len(data) and data[at : at + 2] == _BATCHED:
        code, kind, at = data[at + 2], data[at + 3], at + 4
        if kind in (0x40, 0x45):
            continue
        width = 1 if kind in (0xA0, 0xC0, 0xC1, 0xA1) else 4
        size = int.from_bytes(data[at : at + width], "big")
        at += width
        if code == 0x75:
            sections.append(data[at : at + size])
        at += size
    return sections
