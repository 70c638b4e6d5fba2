"""The broker as tests, demos and benchmarks use it: start, stop, look inside, break something."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from proton.reactor import ApplicationEvent, Container, EventInjector

from local.service_bus.administration import Administration
from local.service_bus.claims import ROOT_KEY, ROOT_KEY_NAME, SharedKey
from local.service_bus.clock import Clock
from local.service_bus.queue import Queue, QueueCounts, QueueOptions, StoredMessage
from local.service_bus.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DEAD_LETTERS = "$deadletterqueue"


class Broker:
    """A Service Bus namespace on a loopback port. Thread-safe; a context manager.

    port: 0 picks a free one, known after `start`. verify_jwt: says whether an Entra ID token is good.
    administration_port: of the HTTP interface for properties and counts, 0 for a free one; None leaves it out.
    """

    def __init__(
        self,
        queues: Sequence[QueueOptions] = (QueueOptions("job-cancellations"),),
        *,
        port: int = 0,
        clock: Clock | None = None,
        keys: Sequence[SharedKey] = (ROOT_KEY,),
        verify_jwt: Callable[[str], bool] | None = None,
        administration_port: int | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.port = port
        self.keys = {key.name: key for key in keys}
        self.verify_jwt = verify_jwt
        self.lock = threading.RLock()
        self.running = False
        self.send_refusal: tuple[str, str] | None = None
        self._queues = {options.name.lower(): Queue(options, self.clock.now) for options in queues}
        self._change = threading.Condition(self.lock)
        self._ready = threading.Event()
        self.administration = None if administration_port is None else Administration(self, administration_port)

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen on 127.0.0.1; returns once clients can connect."""
        if self.running:
            return
        if self.administration:
            self.administration.start()  # first, because a port that is taken shows here before anything runs
        self.running = True
        self._ready.clear()
        self._server = Server(self)
        self._container = Container(self._server)
        self._injector = EventInjector()
        self._container.selectable(self._injector)
        self._thread = threading.Thread(target=self._container.run, name="embedded-broker", daemon=True)
        self._thread.start()
        if not self._ready.wait(10):
            if self.administration:
                self.administration.stop()
            raise RuntimeError("The embedded broker did not start to listen within 10 seconds.")

    def stop(self) -> None:
        """Close the port and every connection; what is in the queues stays there for a later start."""
        if not self.running:
            return
        self.running = False
        if self.administration:
            self.administration.stop()
        self._on_loop(self._shut)
        self._thread.join(10)

    def listening(self, acceptor: Any) -> None:
        """Told by the server once the port is bound."""
        self._acceptor = acceptor
        self.port = acceptor._selectable._delegate.getsockname()[1]
        self._ready.set()

    @property
    def connection_string(self) -> str:
        return self.connection_string_for(ROOT_KEY_NAME)

    def connection_string_for(self, key_name: str) -> str:
        key = self.keys[key_name]
        return (
            f"Endpoint=sb://localhost:{self.port};SharedAccessKeyName={key.name};SharedAccessKey={key.key};"
            "UseDevelopmentEmulator=true;"
        )

    @property
    def queue_names(self) -> list[str]:
        return [queue.options.name for queue in self._queues.values()]

    def find(self, address: str) -> Queue | None:
        """The queue or dead-letter queue at an address, None when there is none. Names ignore case, as in Azure."""
        name, _, sub = address.lower().partition("/")
        queue = self._queues.get(name)
        if queue is None or sub not in ("", _DEAD_LETTERS):
            return None
        return queue.dead_letters if sub else queue

    def queue(self, address: str) -> Queue:
        found = self.find(address)
        if found is None:
            raise KeyError(f"no queue {address!r}")
        return found

    def counts(self, queue: str) -> QueueCounts:
        with self.lock:
            return self.queue(queue).counts()

    def consumers(self, queue: str) -> int:
        """How many links receive from the queue."""
        return self._server.consumers(self.queue(queue)) if self.running else 0

    def messages(self, queue: str, *, dead_letter: bool = False) -> list[StoredMessage]:
        """What is in the queue now, in order of sequence number."""
        with self.lock:
            found = self.queue(f"{queue}/{_DEAD_LETTERS}" if dead_letter else queue)
            found.tick()
            return [
                StoredMessage(
                    entry.sequence_number,
                    entry.message.id,
                    entry.state,
                    entry.delivery_count,
                    entry.enqueued,
                    entry.visible_from,
                    dict(entry.message.properties or {}),
                    entry.message.body,
                )
                for entry in found.entries.values()
            ]

    def wait_until(self, condition: Callable[[Broker], bool], timeout: float = 10.0) -> bool:
        """Wait for something to become true of the broker; False when it did not within `timeout` seconds."""
        with self._change:
            return self._change.wait_for(lambda: condition(self), timeout)

    def tick(self) -> None:
        """Let time act on every queue, also on those that nobody receives from."""
        for queue in self._queues.values():
            queue.tick()

    def changed(self) -> None:
        self._change.notify_all()

    def drop_connections(self) -> None:
        """Cut every TCP connection without a word, as a network does."""
        self._on_loop(self._cut)

    def detach_links(self, condition: str = "amqp:link:detach-forced") -> None:
        """Close every link, as the service does to idle ones."""
        self._on_loop(lambda: self._server.detach_all(condition))

    def refuse_sends(self, condition: str = "amqp:resource-limit-exceeded") -> None:
        """Reject every message sent from now on, by default as a full queue does, until `take_sends`."""
        self.send_refusal = (condition, "The embedded broker was told to refuse what is sent.")

    def take_sends(self) -> None:
        self.send_refusal = None

    def expire_locks(self, queue: str, sequence_number: int | None = None) -> None:
        """Every lock on the queue, or that of one message, is lost now."""
        with self.lock:
            self.queue(queue).expire_locks(sequence_number)

    def _on_loop(self, function: Callable[[], None]) -> None:
        self._server.call_later(function)
        self._injector.trigger(ApplicationEvent("call"))

    def _cut(self) -> None:
        for connection in self._server.connections():
            transport = connection.transport
            if transport:
                transport.close_tail()
                transport.close_head()

    def _shut(self) -> None:
        self._acceptor.close()
        self._injector.close()
        self._cut()
        self._container.stop()
