"""Dead-lettering by lock token and delayed redelivery: what the host does not do for a function.

The function never holds the link that received its message, so it settles over the queue's management node, which a
lock token is valid for as well (azure-sdk-for-net, Azure.Messaging.ServiceBus, Sample16: cross receiver settlement).
This module and scheduled_copy.py are the only ones that know azure-servicebus.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from shared.redelivery import ATTEMPT, FIRST_ATTEMPT_TIME
from shared.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from azure.core.credentials import TokenCredential
    from azure.servicebus import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

    from shared.settings import ServiceBusSettings
    from shared.watchdog import Watch

# Seconds. The service closes an idle connection after some minutes, and a firewall may do so without a word: one
# that has rested longer than this is closed before it can fail.
_IDLE_LIMIT = 120.0
# Seconds for the whole of a settlement: connecting, signing in, asking, the answer, and once more on a new connection.
SETTLE_WITHIN = 28.0
_CLOSE_WITHIN = 5.0  # seconds; a connection on its way out gets no more
_SOCKET_TIMEOUT = 10.0  # seconds for a single read, which is all that the SDK bounds by itself
# The SDK wants a message to hang the lock token on; none of its sections is read when settling over management.
_SECTIONS = ("header", "delivery_annotations", "message_annotations", "properties", "application_properties", "footer")
_EMPTY: Any = SimpleNamespace(**dict.fromkeys((*_SECTIONS, "data", "sequence", "value")))
# What a copy cannot do without: when to give up. The rest of its history is for people.
_NEEDED_HISTORY = frozenset({ATTEMPT, FIRST_ATTEMPT_TIME})


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


class CopyTooLargeError(Exception):
    """The message leaves no room for what a copy has to carry; the text names its size and the limit."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"A message with a body of {size:,} bytes leaves no room, within the limit of {limit:,} bytes, for what a "
            "copy has to carry. Send smaller messages; Job Router needs an id and a note."
        )


class SilentServiceBusError(Exception):
    """Service Bus did not answer in time; the connection was cut."""

    def __init__(self) -> None:
        super().__init__(
            f"Service Bus was silent for {SETTLE_WITHIN:g} seconds. Check the network between the function and the "
            "namespace (firewalls, private endpoints, port 5671), and the namespace's own health."
        )


def is_lock_lost(error: Exception) -> bool:
    """Whether an error of the settler's says that somebody else has the message by now."""
    from azure.servicebus.exceptions import MessageLockLostError

    return isinstance(error, MessageLockLostError)


class _Connection:
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


class ServiceBusSettler:
    """Settles messages of one queue for all threads of a worker, over as many connections as settle at once.

    within: seconds for the whole of a settlement, whatever the peer does and at whatever stage it falls silent.
    """

    def __init__(self, settings: ServiceBusSettings, *, within: float = SETTLE_WITHIN) -> None:
        self._settings = settings
        self.within = within
        self._watchdog = Watchdog()
        self._lock = threading.Lock()
        self._resting: list[_Connection] = []  # the last one used last
        self._credential: TokenCredential | None = None
        self._tls: _HandshakeInTime | None = None

    def dead_letter(self, lock_token: str, reason: str, description: str) -> None:
        """Move the locked message to the dead-letter queue.

        Raises:
            azure.servicebus.exceptions.ServiceBusError: MessageLockLostError when the lock is no longer ours.
            SilentServiceBusError: there was no answer in time.
            ValueError: the lock token is not a GUID.
        """
        token = uuid.UUID(lock_token)
        self._use(lambda connection: connection.dead_letter(token, reason, description))

    def send_copy(self, sequence_number: int, delay: float, history: Mapping[str, str | int]) -> None:
        """Send a copy of the locked message that is delivered `delay` seconds from now; the original stays.

        history: application properties that the copy gets on top of the original's.

        Raises:
            SendRightMissingError: the connection may not send.
            MessageGoneError: there is nothing to copy.
            CopyTooLargeError: there is no room for what the copy has to carry.
            SilentServiceBusError: there was no answer in time.
            azure.servicebus.exceptions.ServiceBusError: the queue is full, the broker cannot be reached, …
        """
        from azure.servicebus.exceptions import ServiceBusAuthorizationError

        # The same id for both tries: where only the answer to the first one was lost, duplicate detection drops the
        # second.
        copy_id = uuid.uuid4().hex
        try:
            self._use(lambda connection: connection.send_copy(sequence_number, delay, history, copy_id))
        except ServiceBusAuthorizationError as error:
            raise SendRightMissingError from error

    def close(self) -> None:
        """Close the connections that are not in use, all at the same time."""
        with self._lock:
            resting, self._resting = self._resting, []
        for connection in resting:
            if connection.resting:
                self._watchdog.cancel(connection.resting)
        for thread in [self._discard(connection) for connection in resting]:
            thread.join(2 * _CLOSE_WITHIN)

    def _use(self, action: Callable[[_Connection], None]) -> None:
        """Act on a connection of the pool, and once more on a new one where the first turns out to be broken."""
        started = time.monotonic()
        try:
            self._try(self._pooled() or self._new(), action, self.within / 2)
        except _answers():
            raise
        except Exception:  # noqa: BLE001  # whatever broke, a new connection may not be broken; else its error is raised
            self._try(self._new(), action, started + self.within - time.monotonic())

    def _try(self, connection: _Connection, action: Callable[[_Connection], None], seconds: float) -> None:
        with self._watchdog.limit(seconds, connection.cut) as watch:
            try:
                action(connection)
            except _answers():
                self._put_back(connection)  # an answer of the broker's: the connection works
                raise
            except BaseException as error:
                self._discard(connection)
                if watch.is_overdue and isinstance(error, Exception):
                    raise SilentServiceBusError from error
                raise
        self._put_back(connection)

    def _put_back(self, connection: _Connection) -> None:
        with self._lock:
            self._resting.append(connection)
        connection.resting = self._watchdog.after(_IDLE_LIMIT, lambda: self._expire(connection))

    def _pooled(self) -> _Connection | None:
        with self._lock:
            connection = self._resting.pop() if self._resting else None
        if connection and connection.resting:
            self._watchdog.cancel(connection.resting)
        return connection

    def _expire(self, connection: _Connection) -> None:
        with self._lock:
            if connection not in self._resting:
                return  # it was taken just now
            self._resting.remove(connection)
        self._discard(connection)

    def _new(self) -> _Connection:
        """A connection of which nothing is open yet."""
        from azure.servicebus import ServiceBusClient

        settings = self._settings
        options: dict[str, Any] = {
            "socket_timeout": _SOCKET_TIMEOUT,
            "retry_total": 0,  # the one retry is ours, on a new connection
            "try_timeout": self.within,
        }
        if settings.connection_string:
            if "usedevelopmentemulator=true" not in settings.connection_string.lower():
                options["ssl_context"] = self._tls_context()
            client = ServiceBusClient.from_connection_string(settings.connection_string, **options)
        else:
            self._credential = self._credential or _credential(settings.client_id)
            options["ssl_context"] = self._tls_context()
            client = ServiceBusClient(settings.fully_qualified_namespace or "", self._credential, **options)
        return _Connection(client, settings.queue_name)

    def _tls_context(self) -> ssl.SSLContext:
        import certifi

        if self._tls is None:
            context = _HandshakeInTime(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(certifi.where())
            self._tls = context
        self._tls.seconds = self.within / 2 + 0.1  # a little longer than the try that it is part of
        return self._tls

    def _discard(self, connection: _Connection) -> threading.Thread:
        """Close it in the background: the SDK takes up to a second for each, and a message must not wait for that."""

        def close() -> None:
            # A connection on its way out: that its end is not clean says nothing that anybody could act on.
            with self._watchdog.limit(_CLOSE_WITHIN, connection.cut), suppress(Exception):
                connection.close()

        thread = threading.Thread(target=close, name="closing", daemon=True)
        thread.start()
        return thread


class _HandshakeInTime(ssl.SSLContext):
    """The SDK's own settings (its bundle, TLS client defaults), read once; and a handshake that ends.

    The SDK lifts its socket's timeout for the handshake, and nobody else can reach the socket meanwhile.
    """

    seconds = SETTLE_WITHIN / 2

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        sock.settimeout(self.seconds)
        return super().wrap_socket(sock, *arguments, **options)


def _answers() -> tuple[type[Exception], ...]:
    """What the broker says, or what we say of its answer: the connection itself works."""
    from azure.servicebus.exceptions import (
        MessageLockLostError,
        ServiceBusAuthorizationError,
        ServiceBusQuotaExceededError,
    )

    return (
        MessageLockLostError,
        MessageGoneError,
        CopyTooLargeError,
        ServiceBusAuthorizationError,
        ServiceBusQuotaExceededError,
    )


def _socket_of(handler: object) -> socket.socket | None:
    """The socket under a receiver or sender; None while it has none.

    azure-servicebus 7.15 offers no way to it; tests/silence holds this one to every stage of a connection.
    """
    found: Any = handler
    for name in ("_handler", "_connection", "_transport", "sock"):
        found = getattr(found, name, None)
    return found if isinstance(found, socket.socket) else None


def _credential(client_id: str | None) -> TokenCredential:
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=client_id) if client_id else DefaultAzureCredential()
