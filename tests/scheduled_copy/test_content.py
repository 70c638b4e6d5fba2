"""What a copy carries of the message that it stands in for."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import proton
import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.amqp import AmqpAnnotatedMessage
from azure.servicebus.exceptions import ServiceBusError

from local.host.conversion import body_of
from local.service_bus import Broker
from shared.redelivery import Attempt

if TYPE_CHECKING:
    pass

from tests.scheduled_copy.copying import DELAY, QUEUE, Bus, annotated, as_function_gets, described, typed, wire


def test_data_body_survives_part_by_part(carrier: Bus) -> None:
    parts = [b'{"jobId"', b"", b': "\xff\x00"}']

    assert list(carrier.pair(annotated(data_body=parts)).copy.raw_amqp_message.body) == parts


@pytest.mark.parametrize("body", ["text", "ümlaut", b"\xff\x00"], ids=repr)
def test_value_body_survives_with_its_type(carrier: Bus, body: str | bytes) -> None:
    pair = carrier.pair(AmqpAnnotatedMessage(value_body=body))

    assert wire(pair.sent_copy.body) == wire(pair.sent.body)


def test_empty_value_body_stays_an_empty_text_for_the_function(carrier: Bus) -> None:
    copy = carrier.pair(proton.Message("")).copy  # the client would leave an empty value out

    assert body_of(copy, binary=False) == ("string", "")


def test_message_without_a_body_has_a_copy_without_one(carrier: Bus) -> None:
    assert carrier.pair(ServiceBusMessage(None)).copy.raw_amqp_message.body is None


def test_header_and_standard_properties_survive_but_for_the_id(carrier: Bus) -> None:
    properties = {
        "user_id": b"\xff\x00",
        "to": "to",
        "subject": "subject",
        "reply_to": "reply-to",
        "correlation_id": "correlation",
        "content_type": "application/json",
        "content_encoding": "gzip",
        "creation_time": 1_700_000_000_000,
        "absolute_expiry_time": 1_900_000_000_000,
        "group_id": "session",
        "group_sequence": 7,
        "reply_to_group_id": "reply-session",
    }
    pair = carrier.pair(annotated(header={"durable": True, "priority": 7}, properties=properties))

    original, copy = (dict(message.raw_amqp_message.properties or {}) for message in (pair.original, pair.copy))
    assert copy | {"message_id": None} == original
    assert (pair.sent_copy.durable, pair.sent_copy.priority) == (True, 7)


@pytest.mark.parametrize("value", [uuid.UUID(int=5), 5, 2**40, b"\xff\x00"], ids=repr)
def test_correlation_id_that_is_no_text_survives(carrier: Bus, value: Any) -> None:
    pair = carrier.pair(annotated(properties={"correlation_id": value}))

    assert wire(pair.sent_copy.correlation_id) == wire(pair.sent.correlation_id)


PROPERTIES = {
    "text": "ümlaut",
    "empty text": "",
    "int": 7,
    "negative int": -7,
    "smallest int": -(2**31),
    "long": typed("LONG", 2**31),
    "negative long": typed("LONG", -(2**63)),
    "ulong": typed("ULONG", 2**64 - 1),
    "double": 1.5,
    "true": True,
    "false": False,
    "null": None,
    "uuid": uuid.UUID(int=5),
    "binary": bytearray(b"\xff\x00"),
    "TimeSpan of .NET": described(b"com.microsoft:timespan", "LONG", 5),
    "DateTimeOffset of .NET": described(b"com.microsoft:datetime-offset", "LONG", 639_000_000_000_000_000),
    "Uri of .NET": described(b"com.microsoft:uri", "STRING", "https://example.org"),
    "Diagnostic-Id": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


@pytest.mark.parametrize("name", PROPERTIES)
def test_user_property_survives_with_its_type(carrier: Bus, name: str) -> None:
    pair = carrier.pair(annotated(application_properties={name: PROPERTIES[name]}))

    assert wire(pair.sent_copy.properties[name]) == wire(pair.sent.properties[name])


@pytest.mark.parametrize(
    "value, before, after",
    [
        (datetime(2026, 1, 2, tzinfo=UTC), ("timestamp", 1767312000000), ("int", 1767312000000)),
        (typed("LONG", 7), ("int", 7), ("int32", 7)),
        (typed("SHORT", 7), ("short", 7), ("int32", 7)),
        (typed("FLOAT", 1.5), ("float32", 1.5), ("float", 1.5)),
        (bytearray(b"text"), ("bytes", b"text"), ("str", "text")),
    ],
    ids=["timestamp as long", "small long as int", "short as int", "float as double", "binary that is text as text"],
)
def test_client_hides_some_types_so_that_only_the_value_survives(
    carrier: Bus, value: Any, before: object, after: object
) -> None:
    pair = carrier.pair(annotated(application_properties={"key": value}))

    assert (wire(pair.sent.properties["key"]), wire(pair.sent_copy.properties["key"])) == (before, after)


def test_message_that_the_client_cannot_read_is_not_copied(bus: Bus, broker: Broker) -> None:
    with broker.lock:  # the client knows no char
        broker.queue(QUEUE).send(proton.Message("x", properties={"key": proton.char("c")}))

    with pytest.raises(ServiceBusError):
        bus.settler.send_copy(1, DELAY, {})
    assert len(broker.messages(QUEUE)) == 1


def test_annotations_of_the_sender_survive_and_those_of_the_broker_do_not(carrier: Bus) -> None:
    sent = {"x-opt-partition-key": "key", "x-int": 7, "x-long": 2**40, "x-bytes": b"\xff", "x-id": uuid.UUID(int=5)}
    wide = {name: typed("LONG", value) if value == 2**40 else value for name, value in sent.items()}
    pair = carrier.pair(annotated(annotations=wide))

    found = {str(name): value for name, value in pair.sent_copy.annotations.items()}
    assert found.pop("x-opt-scheduled-enqueue-time")
    assert found == sent


def test_history_comes_on_top_of_the_sender_s_properties(carrier: Bus) -> None:
    sent = {"mine": "yes", "CancelJobAttempt": 1}

    assert carrier.pair(annotated(application_properties=sent)).sent_copy.properties == sent | {"CancelJobAttempt": 2}


def test_history_survives_the_way_through_copy_host_and_worker(bus: Bus, broker: Broker) -> None:
    number = bus.lock(ServiceBusMessage("x", message_id="m"))
    (original,) = bus.receiver.peek_messages(1, sequence_number=number)
    first = Attempt.of(as_function_gets(original), datetime.now(UTC))
    bus.settler.send_copy(number, DELAY, first.next_properties())
    broker.clock.advance(DELAY + 10)

    second = Attempt.of(as_function_gets(bus.receive()), broker.clock.now())

    assert second == Attempt(2, first.since.replace(microsecond=0), original.enqueued_time_utc, "m")
