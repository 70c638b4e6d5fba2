"""The trigger: receive, invoke, and settle as the host does.

One thread owns the receiver, because azure-servicebus receivers are not thread-safe: it alternates short receives
with settling what the invocation threads have finished. Each invocation waits on a thread of its own, so the
receiver's thread never waits for a function.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.servicebus import ServiceBusClient
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusError

from local.host.configuration import Trigger, read_trigger
from local.host.conversion import UnsupportedBodyError, body_of, metadata_of
from local.host.worker import Worker, make_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from azure.servicebus import ServiceBusReceivedMessage, ServiceBusReceiver

logger = logging.getLogger("local.host")

_IDLE_WAIT = 0.5  # seconds of one receive when nothing is in flight
_BUSY_WAIT = 0.02  # while something is, so that settling never waits long
_RECONNECT_WAIT = 0.2


@dataclass(frozen=True)
class InvocationResult:
    """What became of one delivery. settlement: completed, abandoned, lock_lost or failed. duration in seconds."""

    message_id: str | None
    invocation_id: str
    sequence_number: int | None
    delivery_count: int
    error: str | None
    settlement: str
    duration: float


@dataclass
class _Delivery:
    message: ServiceBusReceivedMessage
    invocation_id: str
    started: float
    renew_at: float
    error: str | None = None
    finished: float = 0.0


class FunctionsHost:
    """Runs the function app in a folder until stopped. A context manager.

    settings: the app settings; the function itself reads os.environ, as on the platform.
    on_result: called after each settlement, on the receiver's thread.

    Raises:
        ConfigurationError: host.json, function.json or a setting keeps the listener from starting.
    """

    def __init__(
        self,
        app_directory: Path,
        settings: Mapping[str, str],
        *,
        worker: Worker | None = None,
        on_result: Callable[[InvocationResult], None] | None = None,
    ) -> None:
        self.trigger: Trigger = read_trigger(app_directory, settings)
        self._worker = worker or make_worker(self.trigger, settings)
        self._on_result = on_result
        self._in_flight: dict[str, _Delivery] = {}
        self._finished: queue.SimpleQueue[_Delivery] = queue.SimpleQueue()
        self._invokers = ThreadPoolExecutor(self.trigger.max_concurrent_calls, thread_name_prefix="invocation")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="functions-host", daemon=True)

    def __enter__(self) -> FunctionsHost:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Stop receiving, let what runs finish and settle; what does not finish in time stays unsettled."""
        self._deadline = time.monotonic() + timeout_seconds
        self._stopping.set()
        self._thread.join(timeout_seconds + 5)
        self._invokers.shutdown(wait=False)
        # The runtime library waits for its threads, however long they take; the platform does not wait for it.
        closing = threading.Thread(target=self._worker.close, name="closing-worker", daemon=True)
        closing.start()
        closing.join(max(1.0, self._deadline - time.monotonic()))

    def _run(self) -> None:
        while not self._done():
            try:
                with self._client() as client, client.get_queue_receiver(self.trigger.queue_name) as receiver:
                    self._pump(receiver)
            except (ServiceBusError, OSError, ValueError, RuntimeError, AttributeError) as error:
                # The SDK shows a connection cut under its hands in all of these; each is answered by a new one.
                logger.warning("The receiver lost its connection (%s) and connects anew.", type(error).__name__)
                self._stopping.wait(_RECONNECT_WAIT)

    def _done(self) -> bool:
        return self._stopping.is_set() and (not self._in_flight or time.monotonic() > self._deadline)

    def _pump(self, receiver: ServiceBusReceiver) -> None:
        while not self._done():
            self._settle_finished(receiver)
            self._renew(receiver)
            free = self.trigger.max_concurrent_calls - len(self._in_flight)
            if free and not self._stopping.is_set():
                wait = _BUSY_WAIT if self._in_flight else _IDLE_WAIT
                for message in receiver.receive_messages(max_message_count=free, max_wait_time=wait):
                    self._begin(message)
            elif self._in_flight:
                self._wait_for_one()

    def _wait_for_one(self) -> None:
        try:
            self._finished.put(self._finished.get(timeout=_BUSY_WAIT))
        except queue.Empty:
            return

    def _begin(self, message: ServiceBusReceivedMessage) -> None:
        now = time.monotonic()
        delivery = _Delivery(message, str(uuid.uuid4()), now, self._next_renewal(message, now))
        self._in_flight[delivery.invocation_id] = delivery
        self._invokers.submit(self._invoke, delivery)

    def _invoke(self, delivery: _Delivery) -> None:
        try:
            body = body_of(delivery.message, binary=self.trigger.binary)
            delivery.error = self._worker.invoke(
                delivery.invocation_id, body, metadata_of(delivery.message), _trace_parent(delivery.message)
            )
        except UnsupportedBodyError as error:
            delivery.error = str(error)
        except Exception as error:  # noqa: BLE001  # a fault of the stand-in must show as a failed invocation
            delivery.error = f"{type(error).__name__}: {error}"
        delivery.finished = time.monotonic()
        self._finished.put(delivery)

    def _settle_finished(self, receiver: ServiceBusReceiver) -> None:
        while True:
            try:
                delivery = self._finished.get_nowait()
            except queue.Empty:
                return
            del self._in_flight[delivery.invocation_id]
            settlement = self._settle(receiver, delivery)
            if self._on_result:
                message = delivery.message
                self._on_result(
                    InvocationResult(
                        message.message_id,
                        delivery.invocation_id,
                        message.sequence_number,
                        (message.delivery_count or 0) + 1,
                        delivery.error,
                        settlement,
                        delivery.finished - delivery.started,
                    )
                )

    def _settle(self, receiver: ServiceBusReceiver, delivery: _Delivery) -> str:
        try:
            if delivery.error is not None:
                logger.error("Executed '%s' (Failed): %s", self.trigger.function_name, delivery.error)
                receiver.abandon_message(delivery.message)
                return "abandoned"
            if self.trigger.auto_complete:
                receiver.complete_message(delivery.message)
                return "completed"
        except MessageLockLostError:
            logger.error("Settling failed, the lock is lost: message %s.", delivery.message.message_id)  # noqa: TRY400  # one line, as the host
            return "lock_lost"
        except (ServiceBusError, OSError, ValueError, RuntimeError, AttributeError) as error:
            logger.error("Settling failed (%s): message %s.", type(error).__name__, delivery.message.message_id)  # noqa: TRY400
            return "failed"
        return "left"

    def _renew(self, receiver: ServiceBusReceiver) -> None:
        now = time.monotonic()
        for delivery in self._in_flight.values():
            if now < delivery.renew_at or now - delivery.started > self.trigger.max_lock_renewal_seconds:
                continue
            try:
                receiver.renew_message_lock(delivery.message)
                delivery.renew_at = self._next_renewal(delivery.message, now)
            except MessageLockLostError:
                delivery.renew_at = float("inf")

    def _next_renewal(self, message: ServiceBusReceivedMessage, now: float) -> float:
        until = message.locked_until_utc
        remaining = until.timestamp() - time.time() if until else 30.0
        return now + max(0.1, remaining / 2)

    def _client(self) -> ServiceBusClient:
        if self.trigger.connection_string:
            return ServiceBusClient.from_connection_string(self.trigger.connection_string, retry_total=1)
        return ServiceBusClient(self.trigger.fully_qualified_namespace or "", _credential(self.trigger.client_id))


def _credential(client_id: str | None) -> Any:
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=client_id) if client_id else DefaultAzureCredential()


def _trace_parent(message: ServiceBusReceivedMessage) -> str:
    """A span of its own in the sender's trace, or in a new one (W3C Trace Context)."""
    properties = message.application_properties or {}
    sent = properties.get(b"Diagnostic-Id") or properties.get(b"traceparent") or b""
    parts = (sent.decode() if isinstance(sent, bytes) else str(sent)).split("-")
    trace_id = parts[1] if len(parts) == 4 and len(parts[1]) == 32 else secrets.token_hex(16)
    return f"00-{trace_id}-{secrets.token_hex(8)}-01"
