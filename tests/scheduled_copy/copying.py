"""A queue, its client and the settler that copies, and the ways to write what the client cannot."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import azure.functions as func
import proton
from azure.functions.meta import Datum
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.amqp import AmqpAnnotatedMessage

from local.host.conversion import body_of, metadata_of
from local.service_bus import Broker, QueueOptions, SharedKey
from local.service_bus.claims import ROOT_KEY
from shared.settings import ServiceBusSettings
from shared.settlement import ServiceBusSettler

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage

QUEUE = "job-cancellations"
UNIQUE = "unique"  # detects duplicates
DAY = 86_400.0
DELAY = 600.0
HOUR = timedelta(hours=1)


def new_broker() -> Broker:
    queues = [
        QueueOptions(QUEUE, lock_duration_seconds=DAY),
        QueueOptions(UNIQUE, lock_duration_seconds=DAY, duplicate_detection_window_seconds=DAY),
    ]
    return Broker(queues, keys=[ROOT_KEY, SharedKey("app", "app-key", frozenset({"Listen"}))])


@dataclass(frozen=True)
class Pair:
    """A message and its copy, as the client reads them and as they are on the wire."""

    original: ServiceBusReceivedMessage
    copy: ServiceBusReceivedMessage
    sent: proton.Message
    sent_copy: proton.Message


class Bus:
    """A queue with a sender, a receiver that holds what it locked, as the host's does, and the settler under test."""

    def __init__(self, broker: Broker, opened: ExitStack, queue: str = QUEUE, key: str = ROOT_KEY.name) -> None:
        self.broker, self.queue = broker, queue
        client = opened.enter_context(ServiceBusClient.from_connection_string(broker.connection_string))
        self.sender = opened.enter_context(client.get_queue_sender(queue))
        self.receiver = opened.enter_context(client.get_queue_receiver(queue))
        self.settler = ServiceBusSettler(ServiceBusSettings(queue, broker.connection_string_for(key)))
        opened.callback(self.settler.close)

    def receive(self) -> ServiceBusReceivedMessage:
        (message,) = self.receiver.receive_messages(1, max_wait_time=5)
        return message

    def lock(self, message: ServiceBusMessage | AmqpAnnotatedMessage | proton.Message) -> int:
        """Send a message and lock it; its sequence number."""
        if isinstance(message, proton.Message):  # what the client cannot write
            with self.broker.lock:
                self.broker.queue(self.queue).send(message)
        else:
            self.sender.send_messages(message)
        return self.receive().sequence_number or 0

    def pair(self, message: ServiceBusMessage | AmqpAnnotatedMessage | proton.Message, delay: float = DELAY) -> Pair:
        """Send a message, copy it, and look at both."""
        number = self.lock(message)
        self.settler.send_copy(number, delay, {"CancelJobAttempt": 2})
        original, copy = self.receiver.peek_messages(2, sequence_number=number)
        with self.broker.lock:
            sent, sent_copy = [entry.message for entry in self.broker.queue(self.queue).entries.values()][-2:]
        return Pair(original, copy, sent, sent_copy)


def annotated(**sections: Any) -> AmqpAnnotatedMessage:
    return AmqpAnnotatedMessage(**({"data_body": b"x"} | sections))


def typed(kind: str, value: Any) -> Any:
    """How the client is told which AMQP type to write."""
    return {"TYPE": kind, "VALUE": value}


def described(name: bytes, kind: str, value: Any) -> Any:
    return typed("DESCRIBED", (typed("SYMBOL", name), typed(kind, value)))


def wire(value: Any) -> tuple[str, Any]:
    """An AMQP value with its type; proton calls a long int and a double float."""
    return type(value).__name__, value


def as_function_gets(message: ServiceBusReceivedMessage) -> func.ServiceBusMessage:
    """By the way of the host and the worker."""
    kind, body = body_of(message, binary=False)
    metadata = {name: Datum(value, form) for name, (form, value) in metadata_of(message).items()}
    converter: Any = func.get_binding_registry().get("serviceBusTrigger")  # type: ignore[no-untyped-call]
    decoded: func.ServiceBusMessage = converter.decode(Datum(body, kind), trigger_metadata=metadata)
    return decoded
