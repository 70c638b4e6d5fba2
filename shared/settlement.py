"""Dead-lettering by lock token and delayed redelivery: what the host does not do for a function.

Every settlement has an end: docs/decisions/0012-every-wait-ends.md. This module, service_bus_connection.py and
scheduled_copy.py are the only ones that know azure-servicebus.
"""

from __future__ import annotations

import ssl
import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from shared.service_bus_connection import Connection, HandshakeInTime
from shared.service_bus_credential import credential_of
from shared.service_bus_errors import SETTLE_WITHIN, SendRightMissingError, SilentServiceBusError, answers
from shared.token_source import SharedCredential
from shared.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from azure.core.credentials import TokenCredential

    from shared.settings import ServiceBusSettings

# Seconds. The service closes an idle connection after some minutes, and a firewall may do so without a word: one
# that has rested longer than this is closed before it can fail.
_IDLE_LIMIT = 120.0
_CLOSE_WITHIN = 5.0  # seconds; a connection on its way out gets no more
_SOCKET_TIMEOUT = 10.0  # seconds for a single read, which is all that the SDK bounds by itself


class ServiceBusSettler:
    """Settles messages of one queue for all threads of a worker, over as many connections as settle at once.

    within: seconds for the whole of a settlement, whatever the peer does and at whatever stage it falls silent.
    """

    def __init__(self, settings: ServiceBusSettings, *, within: float = SETTLE_WITHIN) -> None:
        self._settings = settings
        self.within = within
        self._watchdog = Watchdog()
        self._lock = threading.Lock()
        self._resting: list[Connection] = []  # the last one used last
        self._credential: TokenCredential | None = None
        self._tls: HandshakeInTime | None = None

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
            self._watchdog.cancel(connection.resting)
        for thread in [self._discard(connection) for connection in resting]:
            thread.join(2 * _CLOSE_WITHIN)

    def _use(self, action: Callable[[Connection], None]) -> None:
        """Act on a connection of the pool, and once more on a new one where the first turns out to be broken."""
        started = time.monotonic()
        try:
            self._try(self._pooled() or self._new(), action, self.within / 2)
        except answers():
            raise
        except Exception:  # noqa: BLE001  # whatever broke, a new connection may not be broken; else its error is raised
            self._try(self._new(), action, started + self.within - time.monotonic())

    def _try(self, connection: Connection, action: Callable[[Connection], None], seconds: float) -> None:
        with self._watchdog.limit(seconds, connection.cut) as watch:
            try:
                action(connection)
            except answers():
                self._put_back(connection)  # an answer of the broker's: the connection works
                raise
            except BaseException as error:
                self._discard(connection)
                if watch.is_overdue and isinstance(error, Exception):
                    raise SilentServiceBusError from error
                raise
        self._put_back(connection)

    def _put_back(self, connection: Connection) -> None:
        with self._lock:
            self._resting.append(connection)
        connection.resting = self._watchdog.after(_IDLE_LIMIT, lambda: self._expire(connection))

    def _pooled(self) -> Connection | None:
        with self._lock:
            connection = self._resting.pop() if self._resting else None
        if connection:
            self._watchdog.cancel(connection.resting)
        return connection

    def _expire(self, connection: Connection) -> None:
        with self._lock:
            if connection not in self._resting:
                return  # it was taken just now
            self._resting.remove(connection)
        self._discard(connection)

    def _new(self) -> Connection:
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
            self._credential = self._credential or SharedCredential(lambda: credential_of(settings))
            options["ssl_context"] = self._tls_context()
            client = ServiceBusClient(settings.fully_qualified_namespace or "", self._credential, **options)
        return Connection(client, settings.queue_name)

    def _tls_context(self) -> ssl.SSLContext:
        import certifi

        if self._tls is None:
            context = HandshakeInTime(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(certifi.where())
            self._tls = context
        self._tls.seconds = self.within / 2 + 0.1  # a little longer than the try that it is part of
        return self._tls

    def _discard(self, connection: Connection) -> threading.Thread:
        """Close it in the background: the SDK takes up to a second for each, and a message must not wait for that."""

        def close() -> None:
            # A connection on its way out: that its end is not clean says nothing that anybody could act on.
            with self._watchdog.limit(_CLOSE_WITHIN, connection.cut), suppress(Exception):
                connection.close()

        thread = threading.Thread(target=close, name="closing", daemon=True)
        thread.start()
        return thread
