"""The host hands over exactly what the platform's host does: nothing more, in the same forms."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from azure.functions import get_binding_registry
from azure.functions.meta import Datum
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.amqp import AmqpAnnotatedMessage

from local.host.conversion import UnsupportedBodyError, body_of, metadata_of
from tests.host.conftest import QUEUE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.servicebus import ServiceBusReceivedMessage

    from local.service_bus import Broker

_ALWAYS = {
    "MessageId",
    "LockToken",
    "DeliveryCount",
    "ExpiresAtUtc",
    "ExpiresAt",
    "EnqueuedTimeUtc",
    "EnqueuedTime",
    "SequenceNumber",
    "ApplicationProperties",
    "UserProperties",
}


class Way:
    """Through the broker and back."""

    def __init__(self, client: ServiceBusClient) -> None:
        self._client = client

    def through(self, message: ServiceBusMessage | AmqpAnnotatedMessage) -> ServiceBusReceivedMessage:
        with self._client.get_queue_sender(QUEUE) as sender:
            sender.send_messages(message)
        with self._client.get_queue_receiver(QUEUE) as receiver:
            (received,) = receiver.receive_messages(1, max_wait_time=5)
        return received


@pytest.fixture
def way(broker: Broker) -> Iterator[Way]:
    with ServiceBusClient.from_connection_string(broker.connection_string) as client:
        yield Way(client)


def test_plain_message_carries_only_what_is_always_there(way: Way) -> None:
    metadata = metadata_of(way.through(ServiceBusMessage("x", message_id="m")))

    assert set(metadata) == _ALWAYS
    assert metadata["MessageId"] == ("string", "m")
    assert metadata["DeliveryCount"] == ("json", "1")
    assert metadata["ExpiresAtUtc"] == ("json", '"9999-12-31T23:59:59.9999999"')


def test_application_properties_pass_through_json(way: Way) -> None:
    key = UUID("12345678-1234-5678-1234-567812345678")
    properties: dict[str | bytes, Any] = {"text": "t", "number": 3, "key": key}

    metadata = metadata_of(way.through(ServiceBusMessage("x", application_properties=properties)))

    assert metadata["UserProperties"] == metadata["ApplicationProperties"]
    assert json.loads(metadata["UserProperties"][1]) == {"text": "t", "number": 3, "key": str(key)}


def test_functions_own_converter_reads_it_back(way: Way) -> None:
    received = way.through(
        ServiceBusMessage(
            "x",
            message_id="m",
            correlation_id="c",
            subject="s",
            content_type="application/json",
            time_to_live=timedelta(hours=1),
            application_properties={"tenant": "blue"},
        )
    )
    registry: Any = get_binding_registry()  # type: ignore[no-untyped-call]
    kind, body = body_of(received, binary=False)

    message = registry.get("serviceBusTrigger").decode(
        Datum(body, kind),
        trigger_metadata={name: Datum(value, type_) for name, (type_, value) in metadata_of(received).items()},
    )

    assert message.get_body() == b"x"
    assert (message.message_id, message.correlation_id, message.subject) == ("m", "c", "s")
    assert (message.content_type, message.delivery_count) == ("application/json", 1)
    assert message.application_properties == {"tenant": "blue"}
    assert message.lock_token == str(received.lock_token)
    assert message.expires_at_utc - message.enqueued_time_utc == timedelta(hours=1)
    assert (message.locked_until, message.time_to_live, message.dead_letter_reason) == (None, None, None)


@pytest.mark.parametrize(
    "sent, text",
    [
        ("grüß dich".encode(), "grüß dich"),
        (b"\xff{}", "\ufffd{}"),
        (b"@\x06string\x083http://schemas.microsoft.com/2003/10/Serialization/\x99\x02hi", "hi"),
    ],
    ids=["utf-8", "not-utf-8", "data-contract"],
)
def test_data_body_becomes_text(way: Way, sent: bytes, text: str) -> None:
    assert body_of(way.through(ServiceBusMessage(sent)), binary=False) == ("string", text)


def test_binary_trigger_gets_the_bytes_as_they_are(way: Way) -> None:
    assert body_of(way.through(ServiceBusMessage(b"\xff{}")), binary=True) == ("bytes", b"\xff{}")


def test_value_body_that_is_a_string_becomes_text(way: Way) -> None:
    assert body_of(way.through(AmqpAnnotatedMessage(value_body="hello")), binary=False) == ("string", "hello")


@pytest.mark.parametrize("body", [{"value_body": 17}, {"sequence_body": [[1, 2]]}], ids=["value", "sequence"])
def test_other_body_is_not_converted(way: Way, body: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedBodyError):
        body_of(way.through(AmqpAnnotatedMessage(**body)), binary=False)
