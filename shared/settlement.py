"""Dead-lettering by lock token and delayed redelivery: what the host does not do for a function.

The function never holds the link that received its message, so it settles over the queue's management node, which a
lock token is valid for as well (azure-sdk-for-net, Azure.Messaging.ServiceBus, Sample16: cross receiver settlement).
This module and scheduled_copy.py are the only ones that know azure-servicebus.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from queue import Empty, LifoQueue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from shared.service_bus_credential import credential_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from azure.core.credentials import TokenCredential
    from azure.servicebus import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

    from shared.settings import ServiceBusSettings

# Seconds. The service closes an idle connection after some minutes, and a firewall may do so without a word: one
# that has rested longer than this is replaced before it can fail.
_IDLE_LIMIT = 120.0
# The SDK wants a message to hang the lock token on; none of its sections is read when settling over management.
_SECTIONS = ("header", "delivery_annotations", "message_annotations", "properties", "application_properties", "footer")
_EMPTY: Any = SimpleNamespace(**dict.fromkeys((*_SECTIONS, "data", "sequence", "value")))
_SOCKET_TIMEOUT = 10.0  # seconds; settling has to end well inside the lock


class MessageGoneError(Exception):
    """The queue no longer holds the message: its lock was lost and somebody else settled it, or it expired."""


class SendRightMissingError(Exception):
    """The connection may receive but not send; the text says what to grant."""

    def __init__(self) -> None:
        super().__init__(
            "Delayed redelivery needs the Send right on the queue: give the function app's identity the role Azure "
            "Service Bus Data Sender, or use a policy with Listen and Send in ServiceBusConnection. Until then an "
            "outage of more than some minutes turns good messages into dead letters (MaxDeliveryCountExceeded)."
        )


class _Connection:
    """One client with one opened receiver: neither is thread-safe, so one thread uses it at a time."""

    def __init__(self, client: ServiceBusClient, queue_name: str) -> None:
        self._client = client
        self._queue_name = queue_name
        # Opened, but asking for nothing: with the default prefetch of 0 this receiver takes no message.
        self._receiver: ServiceBusReceiver = client.get_queue_receiver(queue_name)
        self._receiver.__enter__()
        self._sender: ServiceBusSender | None = None
        self.last_used = time.monotonic()

    def dead_letter(self, lock_token: UUID, reason: str, description: str) -> None:
        from azure.servicebus import ServiceBusReceivedMessage

        message = ServiceBusReceivedMessage(
            _EMPTY, receiver=self._receiver, is_deferred_message=True, lock_token=lock_token
        )
        self._receiver.dead_letter_message(message, reason=reason, error_description=description)

    def send_copy(self, sequence_number: int, delay: float, history: Mapping[str, str | int]) -> None:
        from shared.scheduled_copy import scheduled_copy

        # A peek also shows locked messages; where the number is gone it shows the next one.
        found = self._receiver.peek_messages(1, sequence_number=sequence_number)
        if not found or found[0].sequence_number != sequence_number:
            raise MessageGoneError("The queue does not hold the message any more.")
        now = datetime.now(UTC)
        if self._sender is None:
            self._sender = self._client.get_queue_sender(self._queue_name)
        self._sender.send_messages(scheduled_copy(found[0], history, now + timedelta(seconds=delay), now))

    def close(self) -> None:
        if self._sender:
            self._sender.close()
        self._receiver.close()
        self._client.close()


class ServiceBusSettler:
    """Settles messages of one queue for all threads of a worker, over as many connections as settle at once."""

    def __init__(self, settings: ServiceBusSettings) -> None:
        self._settings = settings
        self._idle: LifoQueue[_Connection] = LifoQueue()
        self._credential: TokenCredential | None = None

    def dead_letter(self, lock_token: str, reason: str, description: str) -> None:
        """Move the locked message to the dead-letter queue.

        Raises:
            azure.servicebus.exceptions.ServiceBusError: MessageLockLostError when the lock is no longer ours.
            ValueError: the lock token is not a GUID.
        """
        token = UUID(lock_token)
        self._use(lambda connection: connection.dead_letter(token, reason, description))

    def send_copy(self, sequence_number: int, delay: float, history: Mapping[str, str | int]) -> None:
        """Send a copy of the locked message that is delivered `delay` seconds from now; the original stays.

        history: application properties that the copy gets on top of the original's.

        Raises:
            SendRightMissingError: the connection may not send.
            MessageGoneError: there is nothing to copy.
            azure.servicebus.exceptions.ServiceBusError: the queue is full, the broker cannot be reached, …
        """
        from azure.servicebus.exceptions import ServiceBusAuthorizationError

        try:
            self._use(lambda connection: connection.send_copy(sequence_number, delay, history))
        except ServiceBusAuthorizationError as error:
            raise SendRightMissingError from error

    def close(self) -> None:
        """Close the connections that are not in use, all at the same time."""
        closing = []
        with suppress(Empty):
            while True:
                closing.append(_discard(self._idle.get_nowait()))
        for thread in closing:
            thread.join()

    def _use(self, action: Callable[[_Connection], None]) -> None:
        """Act on a connection of the pool, and once more on a new one where the first turns out to be broken."""
        from azure.servicebus.exceptions import (
            MessageLockLostError,
            ServiceBusAuthorizationError,
            ServiceBusQuotaExceededError,
        )

        connection = self._connection()
        try:
            action(connection)
        except (
            MessageLockLostError,
            MessageGoneError,
            ServiceBusAuthorizationError,
            ServiceBusQuotaExceededError,
        ):
            self._put_back(connection)  # an answer of the broker's: the connection works
            raise
        except Exception:  # noqa: BLE001  # raised again below unless a second try mends it
            # Whatever broke, a new connection may not be broken; if it is, its error is the one to raise.
            _discard(connection)
            connection = self._open()
            try:
                action(connection)
            except BaseException:
                _discard(connection)
                raise
        self._put_back(connection)

    def _put_back(self, connection: _Connection) -> None:
        connection.last_used = time.monotonic()
        self._idle.put(connection)

    def _connection(self) -> _Connection:
        with suppress(Empty):
            while True:
                connection = self._idle.get_nowait()
                if time.monotonic() - connection.last_used < _IDLE_LIMIT:
                    return connection
                _discard(connection)
        return self._open()

    def _open(self) -> _Connection:
        from azure.servicebus import ServiceBusClient

        settings = self._settings
        if settings.connection_string:
            client = ServiceBusClient.from_connection_string(
                settings.connection_string, socket_timeout=_SOCKET_TIMEOUT, retry_total=1
            )
        else:
            self._credential = self._credential or credential_of(settings)
            client = ServiceBusClient(
                settings.fully_qualified_namespace or "",
                self._credential,
                socket_timeout=_SOCKET_TIMEOUT,
                retry_total=1,
            )
        try:
            return _Connection(client, self._settings.queue_name)
        except BaseException:
            client.close()
            raise


def _discard(connection: _Connection) -> threading.Thread:
    """Close it in the background: the SDK takes up to a second for each, and a message must not wait for that."""
    thread = threading.Thread(target=_close, args=(connection,), name="closing", daemon=True)
    thread.start()
    return thread


def _close(connection: _Connection) -> None:
    # A connection on its way out: that its end is not clean says nothing that anybody could act on.
    with suppress(Exception):
        connection.close()
