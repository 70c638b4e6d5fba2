"""Settling through a network that falls silent: at each stage it ends in time, and nothing stays behind."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from local.service_bus import Broker, QueueOptions
from shared.job_router_error import TIMEOUT, JobRouterError
from shared.processing import RedeliveryError, SettlementError
from shared.service_bus_errors import MessageGoneError
from shared.settings import ServiceBusSettings
from shared.settlement import ServiceBusSettler
from tests.silence.relay import Stage, StageRelay
from tests.unit.edges import Edges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUEUE = "q"
WITHIN = 1.0  # seconds, in the place of SETTLE_WITHIN
GOOD, BAD = b'{"jobId": "job-1"}', b'{"note": "no jobId"}'
TLS_CONNECTION = "Endpoint=sb://127.0.0.1;SharedAccessKeyName=k;SharedAccessKey=v"
AMQPS = 5671


@pytest.fixture
def amqps_port(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the SDK find another port in the place of 5671, the only one that it takes for TLS."""

    def use(port: int) -> None:
        connect = socket.create_connection

        def elsewhere(address: tuple[str, int], *arguments: Any, **options: Any) -> socket.socket:
            return connect((address[0], port) if address[1] == AMQPS else address, *arguments, **options)

        monkeypatch.setattr(socket, "create_connection", elsewhere)

    return use


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker([QueueOptions(QUEUE, lock_duration_seconds=300.0, max_delivery_count=1000)]) as running:
        yield running


class Site:
    """One message, locked as by the host, and a settler whose way to the broker leads through the relay."""

    def __init__(self, broker: Broker, relay: StageRelay, edges: Edges, body: bytes, stage: Stage) -> None:
        self.broker, self.relay, self.edges, self.body = broker, relay, edges, body
        self._plain = broker.connection_string.replace(f":{broker.port}", f":{relay.port}")
        connection = TLS_CONNECTION if stage is Stage.TLS else self._plain
        self.settler = ServiceBusSettler(ServiceBusSettings(QUEUE, connection))
        edges.use(self.settler)
        edges.cancel.side_effect = JobRouterError(None, TIMEOUT, "No answer came in time.")
        self._client = ServiceBusClient.from_connection_string(broker.connection_string)
        self._receiver = self._client.get_queue_receiver(QUEUE)
        with self._client.get_queue_sender(QUEUE) as sender:
            sender.send_messages(ServiceBusMessage(body, message_id="m-1"))
        (self.message,) = self._receiver.receive_messages(1, max_wait_time=10)

    def process(self) -> None:
        self.edges.process(self.body, lock=str(self.message.lock_token), sequence_number=self.message.sequence_number)

    def warm_up(self) -> None:
        """Leave a connection in the pool that has done its work."""
        with suppress(MessageGoneError):
            self.settler.send_copy(999_999, 0.0, {})

    def recover(self) -> None:
        """The network is back: the same worker, and a new connection by the plain way."""
        self.relay.speak()
        self.settler._settings = ServiceBusSettings(QUEUE, self._plain)
        self.settler.within = 20.0

    def close(self) -> None:
        self.settler.close()
        self._receiver.close()
        self._client.close()


def level() -> tuple[int, int]:
    """Threads and open files of this process."""
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll: what ends by itself tells nobody."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux shows them")
@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("is_pooled", [False, True], ids=["new", "pooled"])
@pytest.mark.parametrize("body", [BAD, GOOD], ids=["dead letter", "copy"])
def test_a_silent_network_holds_no_message_and_no_thread(
    broker: Broker, edges: Edges, amqps_port: Callable[[int], None], stage: Stage, is_pooled: bool, body: bytes
) -> None:
    marker = b"com.microsoft:update-disposition" if body == BAD else body
    before_all = broker.counts(QUEUE)
    with StageRelay(broker.port, marker) as relay:
        amqps_port(relay.port)
        site = Site(broker, relay, edges, body, stage)
        before = level()
        if is_pooled and stage is not Stage.TLS:
            site.warm_up()
        relay.fall_silent(stage)
        site.settler.within = WITHIN

        started = time.monotonic()
        with pytest.raises((SettlementError, RedeliveryError)):
            site.process()
        assert time.monotonic() - started < WITHIN + 1.5

        line = edges.lines[0][1]
        assert line["outcome"] == ("SettlementFailed" if body == BAD else "Redeliver")
        assert line["not_settled" if body == BAD else "not_postponed"] == "SilentServiceBusError"
        edges.wait.assert_called_once()  # the hold, before the abandon

        site.recover()
        site.process()
        after = broker.counts(QUEUE)
        if body == BAD:
            assert after.dead_lettered == before_all.dead_lettered + 1
        else:
            # The original, still locked, and its copy.
            assert sum(vars(after).values()) == sum(vars(before_all).values()) + 2

        site.settler.close()
        relay.speak()
        assert wait_for(lambda: level() <= before, 15), (before, level(), threading.enumerate())
        site.close()


def test_a_copy_whose_answer_is_lost_is_sent_again_under_the_same_id(edges: Edges) -> None:
    """So duplicate detection drops the second one; the next delivery's copy is another one."""
    options = QueueOptions(QUEUE, duplicate_detection_window_seconds=600.0, lock_duration_seconds=300.0)
    with Broker([options]) as unique, StageRelay(unique.port, GOOD) as relay:
        site = Site(unique, relay, edges, GOOD, Stage.DISPOSITION)
        relay.fall_silent(Stage.DISPOSITION)
        site.settler.within = 4.0
        with pytest.raises(RedeliveryError):
            site.process()
        assert relay.accepted == 4  # a receiver and a sender for each of the two tries
        assert unique.counts(QUEUE).scheduled == 1

        site.recover()
        site.process()
        assert unique.counts(QUEUE).scheduled == 2
        site.close()


class TlsFront:
    """TLS in front of the broker, which speaks none itself."""

    def __init__(self, broker_port: int, authority: trustme.CA) -> None:
        self._broker_port = broker_port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []

    def __enter__(self) -> TlsFront:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (self._listener, *self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                plain = self._listener.accept()[0]
                with suppress(ssl.SSLError):
                    ours = self._context.wrap_socket(plain, server_side=True)
                    theirs = socket.create_connection(("127.0.0.1", self._broker_port))
                    self._connections += [ours, theirs]
                    for source, sink in ((ours, theirs), (theirs, ours)):
                        threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(65_536):
                sink.sendall(part)


@pytest.mark.parametrize("is_trusted", [True, False])
def test_over_tls_a_message_is_settled_with_an_authority_that_is_trusted_only(
    broker: Broker,
    edges: Edges,
    amqps_port: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    is_trusted: bool,
) -> None:
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    (authority if is_trusted else trustme.CA()).cert_pem.write_to_path(str(bundle))
    monkeypatch.setattr("certifi.where", lambda: str(bundle))
    before = broker.counts(QUEUE)
    with StageRelay(broker.port, b"") as relay, TlsFront(broker.port, authority) as front:
        amqps_port(front.port)
        site = Site(broker, relay, edges, BAD, Stage.TLS)
        key = broker.connection_string.split("SharedAccessKeyName=")[1].split(";")
        secure = f"Endpoint=sb://127.0.0.1;SharedAccessKeyName={key[0]};{key[1]}"
        site.settler._settings = ServiceBusSettings(QUEUE, secure)
        if is_trusted:
            site.process()
            assert broker.counts(QUEUE).dead_lettered == before.dead_lettered + 1
        else:
            with pytest.raises(SettlementError):
                site.process()
            assert broker.counts(QUEUE).dead_lettered == before.dead_lettered
        site.close()
