"""A running broker with one queue, the standard client connected to it, and short names for what tests do often."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from local.service_bus import Broker, QueueOptions, SharedKey
from local.service_bus.claims import ROOT_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.servicebus import ServiceBusReceivedMessage, ServiceBusReceiver

QUEUE = "orders"
EXPIRING = "expiring"  # dead-letters what expires
DISCARDING = "discarding"  # drops what expires
UNIQUE = "unique"  # detects duplicates within a minute
SESSIONS = "sessions"
LISTENER = SharedKey("listener", "listener-key", frozenset({"Listen"}))


@pytest.fixture(autouse=True)
def no_keep_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each close of the client waits for a keep-alive thread that sleeps for a second; nothing idles that long here."""
    monkeypatch.setattr("azure.servicebus._pyamqp.client.AMQPClient._keep_alive", lambda _client: None)


@pytest.fixture
def broker() -> Iterator[Broker]:
    logging.getLogger("proton").setLevel(logging.CRITICAL)
    queues = [
        QueueOptions(QUEUE, max_delivery_count=3),
        QueueOptions(EXPIRING, dead_letter_on_expiration=True),
        QueueOptions(DISCARDING),
        QueueOptions(UNIQUE, duplicate_detection_window_seconds=60),
        QueueOptions(SESSIONS, requires_session=True),
    ]
    with Broker(queues, keys=[ROOT_KEY, LISTENER]) as running:
        yield running


class Bus:
    """The standard client, connected; what it opened is closed at the end of the test."""

    def __init__(self, broker: Broker, opened: ExitStack) -> None:
        self.broker = broker
        self._opened = opened
        self.client = opened.enter_context(connect(broker.connection_string))

    def send(self, *messages: ServiceBusMessage | str, queue: str = QUEUE) -> None:
        with self.client.get_queue_sender(queue) as sender:
            for message in messages:
                sender.send_messages(ServiceBusMessage(message) if isinstance(message, str) else message)

    def receiver(self, queue: str = QUEUE, **options: Any) -> ServiceBusReceiver:
        return self._opened.enter_context(self.client.get_queue_receiver(queue, **options))


def connect(connection_string: str) -> ServiceBusClient:
    return ServiceBusClient.from_connection_string(connection_string, retry_total=0)


def receive(receiver: ServiceBusReceiver, count: int = 1) -> list[ServiceBusReceivedMessage]:
    """Exactly `count` messages, however many calls that takes."""
    found: list[ServiceBusReceivedMessage] = []
    while len(found) < count:
        more = receiver.receive_messages(count - len(found), max_wait_time=5)
        assert more, f"{count} messages expected, {len(found)} came"
        found += more
    return found


def receive_one(receiver: ServiceBusReceiver) -> ServiceBusReceivedMessage:
    (message,) = receive(receiver)
    return message


@pytest.fixture
def bus(broker: Broker) -> Iterator[Bus]:
    with ExitStack() as opened:
        yield Bus(broker, opened)
