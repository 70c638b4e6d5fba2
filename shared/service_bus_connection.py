"""One connection to Service Bus, which can be cut from outside. Knows azure-servicebus; knows nothing of threads.

The function never holds the link that received its message, so it settles over the queue's management node, which a
lock token is valid for as well (azure-sdk-for-net, Azure.Messaging.ServiceBus, Sample16: cross receiver settlement).
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from shared.redelivery import ATTEMPT, FIRST_ATTEMPT_TIME
from shared.service_bus_errors import SETTLE_WITHIN, CopyTooLargeError, MessageGoneError

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping

    from azure.servicebus import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

    from shared.watchdog import Watch

# The SDK wants a message to hang the lock token on; none of its sections is read when settling over management.
_SECTIONS = ("header", "delivery_annotations", "message_annotations", "properties", "application_properties", "footer")
_EMPTY: Any = SimpleNamespace(**dict.fromkeys((*_SECTIONS, "data", "sequence", "value")))
# What a copy cannot do without: when to give up. The rest of its history is for people.
_NEEDED_HISTORY = frozenset({ATTEMPT, FIRST_ATTEMPT_TIME})


class Connection:
    """One client with one receiver: neither is thread-safe, so one thread uses it at a time."""

    def __init__(self, client: ServiceBusClient, queue_name: str) -> None:
        self._client = client
        self._queue_name = queue_name
        self._receiver: ServiceBusReceiver | None = None
        self._sender: ServiceBusSender | None = None
        self._cut: set[socket.socket] = set()
        self.resting: Watch | None = None

    def open(self) -> ServiceBusReceiver:
        """The receiver, opened. With the default prefetch of 0 it asks for nothing, so it takes no message."""
        if self._receiver is None:
            self._receiver = self._client.get_queue_receiver(self._queue_name)
            self._receiver.__enter__()
        return self._receiver

    def dead_letter(self, lock_token: uuid.UUID, reason: str, description: str) -> None:
        from azure.servicebus import ServiceBusReceivedMessage

        receiver = self.open()
        message = ServiceBusReceivedMessage(_EMPTY, receiver=receiver, is_deferred_message=True, lock_token=lock_token)
        receiver.dead_letter_message(message, reason=reason, error_description=description)

    def send_copy(self, sequence_number: int, delay: float, history: Mapping[str, str | int], copy_id: str) -> None:
        from azure.servicebus.exceptions import MessageSizeExceededError

        from shared.scheduled_copy import scheduled_copy

        # A peek also shows locked messages; where the number is gone it shows the next one.
        found = self.open().peek_messages(1, sequence_number=sequence_number)
        if not found or found[0].sequence_number != sequence_number:
            raise MessageGoneError("The queue does not hold the message any more.")
        now = datetime.now(UTC)
        due = now + timedelta(seconds=delay)
        if self._sender is None:
            self._sender = self._client.get_queue_sender(self._queue_name)
        try:
            self._sender.send_messages(scheduled_copy(found[0], history, due, now, copy_id))
        except MessageSizeExceededError:
            needed = {name: value for name, value in history.items() if name in _NEEDED_HISTORY}
            copy = scheduled_copy(found[0], needed, due, now, copy_id)
            try:
                self._sender.send_messages(copy)
            except MessageSizeExceededError:
                size = sum(len(part) for part in found[0].raw_amqp_message.body)
                limit = self._sender.create_message_batch().max_size_in_bytes
                raise CopyTooLargeError(size, limit) from None

    def cut(self) -> None:
        """Cut its sockets, whoever may be waiting on them."""
        for handler in (self._receiver, self._sender):
            found = _socket_of(handler)
            if found is not None:
                self._cut.add(found)
                with suppress(OSError):  # it was closed meanwhile
                    socket.socket.shutdown(found, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all of it; the SDK leaves the socket of a dead connection open."""
        sockets = {found for handler in (self._receiver, self._sender) if (found := _socket_of(handler))}
        try:
            for handler in (self._sender, self._receiver, self._client):
                if handler:
                    handler.close()
        finally:
            for found in sockets | self._cut:
                found.close()


class HandshakeInTime(ssl.SSLContext):
    """The SDK's own settings (its bundle, TLS client defaults), read once; and a handshake that ends.

    The SDK lifts its socket's timeout for the handshake, and nobody else can reach the socket meanwhile.
    """

    seconds = SETTLE_WITHIN / 2

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        sock.settimeout(self.seconds)
        return super().wrap_socket(sock, *arguments, **options)


def _socket_of(handler: object) -> socket.socket | None:
    """The socket under a receiver or sender; None while it has none.

    azure-servicebus 7.15 offers no way to it; tests/silence holds this one to every stage of a connection.
    """
    found: Any = handler
    for name in ("_handler", "_connection", "_transport", "sock"):
        found = getattr(found, name, None)
    return found if isinstance(found, socket.socket) else None
