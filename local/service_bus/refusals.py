"""What Service Bus does not let through, each as the condition and description of an AMQP error. Pure: no socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proton import Link, Message

    from local.service_bus.queue import Queue

MAX_MESSAGE_SIZE = 256 * 1024  # bytes, of the Standard tier

Refusal = tuple[str, str]


def refusal_of_link(queue: Queue | None, address: str, rights: set[str], link: Link) -> Refusal | None:
    """Why this link may not be; None when it may. queue: what the address names; rights: of the link's connection."""
    if address == "$cbs":
        return None
    if queue is None:
        return "amqp:not-found", f"The messaging entity {address!r} could not be found."
    wanted = "Send" if link.is_receiver else "Listen"
    if address.endswith("/$management"):
        return None if rights else ("amqp:unauthorized-access", "Unauthorized access: no claim was made.")
    if wanted not in rights:
        return "amqp:unauthorized-access", f"Unauthorized access: '{wanted}' claims are required for {address!r}."
    if queue.options.requires_session and not link.is_receiver:
        return (
            "amqp:not-allowed",
            "It is not possible for an entity that requires sessions to create a non-sessionful message receiver.",
        )
    return None


def refusal_of_messages(queue: Queue, messages: Iterable[Message], size: int) -> Refusal | None:
    """Why what was sent at once is not taken, as a whole; None when it is. size: bytes on the wire."""
    if size > MAX_MESSAGE_SIZE:
        return "amqp:link:message-size-exceeded", f"The message is larger than {MAX_MESSAGE_SIZE:,} bytes."
    if queue.options.requires_session and not all(message.group_id for message in messages):
        return "amqp:not-allowed", "The SessionId was not set on a message for an entity that requires sessions."
    return None
