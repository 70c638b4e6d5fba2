"""The copy that stands in for a message: when it comes, what it carries, and what happens when it cannot be made."""

from __future__ import annotations

import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import azure.functions as func
import proton
import pytest
from azure.functions.meta import Datum
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.amqp import AmqpAnnotatedMessage
from azure.servicebus.exceptions import ServiceBusError, ServiceBusQuotaExceededError

from local.host.conversion import body_of, metadata_of
from local.service_bus import Broker, QueueOptions, SharedKey
from local.service_bus.claims import ROOT_KEY
from shared.redelivery import MESSAGE_ID, Attempt
from shared.scheduled_copy import ExpiredError
from shared.settings import ServiceBusSettings
from shared.settlement import MessageGoneError, SendRightMissingError, ServiceBusSettler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.servicebus import ServiceBusReceivedMessage
    from pytest_mock import MockerFixture

QUEUE = "job-cancellations"
UNIQUE = "unique"  # detects duplicates
DAY = 86_400.0
DELAY = 600.0
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module", autouse=True)
def no_keep_alive() -> Iterator[None]:
    """Each close of the client waits for a keep-alive thread that sleeps for a second; nothing idles that long here."""
    logging.getLogger("proton").setLevel(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("azure.servicebus._pyamqp.client.AMQPClient._keep_alive", lambda _client: None)
        yield


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


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def broker(opened: ExitStack) -> Broker:
    return opened.enter_context(new_broker())


@pytest.fixture
def bus(broker: Broker, opened: ExitStack) -> Bus:
    return Bus(broker, opened)


@pytest.fixture(scope="module")
def carrier() -> Iterator[Bus]:
    """For tests that only look at what a copy carries: opening the client's links takes a second each time."""
    with ExitStack() as stack:
        yield Bus(stack.enter_context(new_broker()), stack)


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


# When it comes


def test_copy_is_delivered_after_the_delay_and_not_before(bus: Bus, broker: Broker) -> None:
    bus.pair(ServiceBusMessage("x"), DELAY)
    broker.clock.advance(DELAY - 10)
    before = broker.counts(QUEUE)
    broker.clock.advance(20)
    after = broker.counts(QUEUE)

    assert [(c.scheduled, c.active) for c in (before, after)] == [(1, 0), (0, 1)]


def test_original_stays_where_and_as_it_is(bus: Bus, broker: Broker) -> None:
    bus.pair(ServiceBusMessage("x", message_id="m"))

    original, _ = broker.messages(QUEUE)
    assert (original.message_id, original.state, original.application_properties) == ("m", "locked", {})


def test_copy_expires_when_the_original_would_have(carrier: Bus) -> None:
    pair = carrier.pair(ServiceBusMessage("x", time_to_live=HOUR))

    assert pair.original.expires_at_utc
    assert pair.copy.expires_at_utc
    assert abs(pair.copy.expires_at_utc - pair.original.expires_at_utc) < timedelta(seconds=1)


def test_copy_comes_no_later_than_after_half_of_the_time_that_is_left(carrier: Bus) -> None:
    pair = carrier.pair(ServiceBusMessage("x", time_to_live=HOUR), delay=3 * 3600)

    due = pair.copy.scheduled_enqueue_time_utc
    assert due
    assert abs(due - (datetime.now(UTC) + HOUR / 2)) < timedelta(seconds=30)


def test_message_that_never_expires_has_a_copy_that_never_expires(carrier: Bus) -> None:
    assert carrier.pair(ServiceBusMessage("x")).copy.time_to_live is None


def test_message_without_time_left_is_not_copied(bus: Bus, broker: Broker) -> None:
    broker.clock.advance(-7200)  # seen from here, the message was sent two hours ago
    number = bus.lock(ServiceBusMessage("x", time_to_live=HOUR))

    with pytest.raises(ExpiredError):
        bus.settler.send_copy(number, DELAY, {})
    assert len(broker.messages(QUEUE)) == 1


def test_time_to_live_too_long_for_its_field_does_not_count_as_ended(bus: Bus, broker: Broker) -> None:
    broker.clock.advance(-60 * DAY)

    pair = bus.pair(proton.Message("x", ttl=(2**32 - 1) / 1000))  # 49.7 days: as much as the header can say

    assert pair.sent_copy.ttl == pair.sent.ttl


# What it carries


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


# The id


def test_copies_of_copies_are_named_after_the_first_message_and_do_not_grow(bus: Bus, broker: Broker) -> None:
    first = "job/" + "1234567890" * 12 + "last"  # 128 characters: as long as may be
    bus.sender.send_messages(ServiceBusMessage("x", message_id=first))
    ids = []
    for _ in range(3):
        message = bus.receive()
        history = Attempt.of(as_function_gets(message), datetime.now(UTC)).next_properties()
        assert history[MESSAGE_ID] == first
        bus.settler.send_copy(message.sequence_number or 0, DELAY, history)
        ids.append(str(broker.messages(QUEUE)[-1].message_id))
        broker.clock.advance(DELAY + 10)

    assert len(set(ids)) == 3
    assert {(message_id[:91], len(message_id)) for message_id in ids} == {(f"{first[:90]}~", 123)}


def test_copy_of_a_message_without_an_id_has_one(carrier: Bus) -> None:
    assert uuid.UUID(str(carrier.pair(proton.Message("x")).copy.message_id))


def test_copy_is_kept_where_the_queue_detects_duplicates(broker: Broker, opened: ExitStack) -> None:
    Bus(broker, opened, UNIQUE).pair(ServiceBusMessage("x", message_id="m"))

    assert broker.counts(UNIQUE).scheduled == 1


# When it cannot be made


def test_message_that_somebody_else_settled_is_gone(bus: Bus) -> None:
    bus.sender.send_messages(ServiceBusMessage("x"))
    message = bus.receive()
    bus.receiver.complete_message(message)

    with pytest.raises(MessageGoneError):
        bus.settler.send_copy(message.sequence_number or 0, DELAY, {})


def test_message_that_is_gone_is_not_mistaken_for_a_later_one(bus: Bus, broker: Broker) -> None:
    bus.sender.send_messages([ServiceBusMessage("gone"), ServiceBusMessage("later")])
    message = bus.receive()
    bus.receiver.complete_message(message)

    with pytest.raises(MessageGoneError):
        bus.settler.send_copy(message.sequence_number or 0, DELAY, {})
    assert broker.counts(QUEUE).scheduled == 0


def test_connection_that_may_only_listen_is_told_which_role_it_needs(broker: Broker, opened: ExitStack) -> None:
    bus = Bus(broker, opened, key="app")
    number = bus.lock(ServiceBusMessage("x"))

    with pytest.raises(SendRightMissingError, match="Azure Service Bus Data Sender"):
        bus.settler.send_copy(number, DELAY, {})
    assert broker.counts(QUEUE).scheduled == 0


def test_right_that_is_granted_later_counts_without_a_restart(broker: Broker, opened: ExitStack) -> None:
    bus = Bus(broker, opened, key="app")
    number = bus.lock(ServiceBusMessage("x"))
    with pytest.raises(SendRightMissingError):
        bus.settler.send_copy(number, DELAY, {})

    broker.keys["app"] = SharedKey("app", "app-key", frozenset({"Listen", "Send"}))
    bus.settler.send_copy(number, DELAY, {})

    assert broker.counts(QUEUE).scheduled == 1


def test_full_queue_is_told_and_the_connection_kept(bus: Bus, broker: Broker, mocker: MockerFixture) -> None:
    opened = mocker.spy(bus.settler, "_open")
    number = bus.lock(ServiceBusMessage("x"))
    broker.refuse_sends()
    with pytest.raises(ServiceBusQuotaExceededError):
        bus.settler.send_copy(number, DELAY, {})
    broker.take_sends()
    bus.settler.send_copy(number, DELAY, {})

    assert (opened.call_count, broker.counts(QUEUE).scheduled) == (1, 1)


@pytest.mark.parametrize("breakage", [Broker.drop_connections, Broker.detach_links])
def test_connection_that_broke_between_copies_is_replaced(bus: Bus, broker: Broker, breakage: Any) -> None:
    number = bus.lock(ServiceBusMessage("x"))
    bus.settler.send_copy(number, DELAY, {})
    breakage(broker)
    bus.settler.send_copy(number, DELAY, {})

    assert broker.counts(QUEUE).scheduled == 2


def test_sixteen_threads_copy_at_once(bus: Bus, broker: Broker) -> None:
    numbers = [bus.lock(ServiceBusMessage("x", message_id=f"m-{n}")) for n in range(32)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda number: bus.settler.send_copy(number, DELAY, {}), numbers))

    copies = [str(m.message_id).partition("~")[0] for m in broker.messages(QUEUE) if m.state == "scheduled"]
    assert sorted(copies) == sorted(f"m-{n}" for n in range(32))
