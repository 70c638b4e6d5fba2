"""Schedules, times to live, duplicates, peeking, batches, and what survives the way through the queue."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient as AsyncServiceBusClient
from azure.servicebus.exceptions import MessageNotFoundError
from proton import Message

from tests.service_bus.conftest import DISCARDING, EXPIRING, QUEUE, UNIQUE, receive, receive_one

if TYPE_CHECKING:
    from local.service_bus import Broker
    from tests.service_bus.conftest import Bus


def in_an_hour(broker: Broker) -> datetime:
    return broker.clock.now() + timedelta(hours=1)


def test_scheduled_message_appears_when_its_time_comes(bus: Bus, broker: Broker) -> None:
    with bus.client.get_queue_sender(QUEUE) as sender:
        sender.schedule_messages(ServiceBusMessage("later"), in_an_hour(broker))
    assert (broker.counts(QUEUE).scheduled, broker.counts(QUEUE).active) == (1, 0)

    broker.clock.advance(3601)

    assert str(receive_one(bus.receiver())) == "later"


def test_scheduled_enqueue_time_on_a_sent_message_delays_it(bus: Bus, broker: Broker) -> None:
    bus.send(ServiceBusMessage("later", scheduled_enqueue_time_utc=in_an_hour(broker)))
    assert broker.counts(QUEUE).scheduled == 1

    broker.clock.advance(3601)

    assert str(receive_one(bus.receiver())) == "later"


def test_cancelled_schedule_never_appears(bus: Bus, broker: Broker) -> None:
    with bus.client.get_queue_sender(QUEUE) as sender:
        numbers = sender.schedule_messages([ServiceBusMessage("a"), ServiceBusMessage("b")], in_an_hour(broker))
        sender.cancel_scheduled_messages(numbers[0])

    broker.clock.advance(3601)

    assert str(receive_one(bus.receiver())) == "b"
    assert broker.counts(QUEUE).active == 0


def test_schedule_that_does_not_exist_cannot_be_cancelled(bus: Bus) -> None:
    with bus.client.get_queue_sender(QUEUE) as sender, pytest.raises(MessageNotFoundError):
        sender.cancel_scheduled_messages(99)


def test_expired_message_is_dead_lettered_where_the_queue_says_so(bus: Bus, broker: Broker) -> None:
    bus.send(ServiceBusMessage("old", time_to_live=timedelta(seconds=30)), queue=EXPIRING)

    broker.clock.advance(31)

    letter = receive_one(bus.receiver(EXPIRING, sub_queue="deadletter"))
    assert letter.dead_letter_reason == "TTLExpiredException"
    assert str(letter) == "old"


def test_expired_message_is_dropped_where_the_queue_says_nothing(bus: Bus, broker: Broker) -> None:
    bus.send(ServiceBusMessage("old", time_to_live=timedelta(seconds=30)), queue=DISCARDING)
    assert broker.counts(DISCARDING).active == 1

    broker.clock.advance(31)

    assert (broker.counts(DISCARDING).active, broker.counts(DISCARDING).dead_lettered) == (0, 0)


def test_message_whose_lock_ends_after_its_time_to_live_expires_then(bus: Bus, broker: Broker) -> None:
    bus.send(ServiceBusMessage("old", time_to_live=timedelta(seconds=30)), queue=EXPIRING)
    receiver = bus.receiver(EXPIRING)
    message = receive_one(receiver)
    broker.clock.advance(40)
    assert broker.counts(EXPIRING).locked == 1

    receiver.abandon_message(message)

    assert broker.wait_until(lambda b: b.counts(EXPIRING).dead_lettered == 1, 5)


def test_second_message_with_the_same_id_is_dropped_within_the_window(bus: Bus, broker: Broker) -> None:
    bus.send(ServiceBusMessage("first", message_id="m"), ServiceBusMessage("second", message_id="m"), queue=UNIQUE)
    assert broker.counts(UNIQUE).active == 1

    broker.clock.advance(61)
    bus.send(ServiceBusMessage("third", message_id="m"), queue=UNIQUE)

    assert [str(message) for message in receive(bus.receiver(UNIQUE), 2)] == ["first", "third"]


def test_peek_shows_active_locked_deferred_and_scheduled_messages(bus: Bus, broker: Broker) -> None:
    bus.send("locked", "deferred")
    receiver = bus.receiver()
    _, deferred = receive(receiver, 2)
    receiver.defer_message(deferred)
    receiver.close()
    bus.send(ServiceBusMessage("scheduled", scheduled_enqueue_time_utc=in_an_hour(broker)), "active")

    peeked = bus.receiver().peek_messages(10, sequence_number=1)

    assert [(str(message), message.state.name) for message in peeked] == [
        ("locked", "ACTIVE"),
        ("deferred", "DEFERRED"),
        ("scheduled", "SCHEDULED"),
        ("active", "ACTIVE"),
    ]
    assert broker.counts(QUEUE).locked == 1


def test_peek_goes_on_where_the_last_one_ended(bus: Bus) -> None:
    bus.send("a", "b", "c")
    receiver = bus.receiver()

    pages = [[str(message) for message in receiver.peek_messages(2)] for _ in range(3)]

    assert pages == [["a", "b"], ["c"], []]


def test_peek_begins_at_the_sequence_number_asked_for(bus: Bus) -> None:
    bus.send("a", "b", "c")

    assert [str(message) for message in bus.receiver().peek_messages(10, sequence_number=2)] == ["b", "c"]


def test_peek_shows_dead_letters(bus: Bus) -> None:
    bus.send("bad")
    receiver = bus.receiver()
    receiver.dead_letter_message(receive_one(receiver), reason="Why")

    (letter,) = bus.receiver(sub_queue="deadletter").peek_messages(10, sequence_number=1)

    assert (str(letter), letter.dead_letter_reason) == ("bad", "Why")


def test_batch_arrives_as_single_messages_in_order(bus: Bus) -> None:
    with bus.client.get_queue_sender(QUEUE) as sender:
        batch = sender.create_message_batch()
        for number in range(50):
            batch.add_message(ServiceBusMessage(f"{number}", message_id=f"m-{number}"))
        sender.send_messages(batch)

    received = receive(bus.receiver(), 50)

    assert [str(message) for message in received] == [f"{number}" for number in range(50)]
    assert [message.message_id for message in received] == [f"m-{number}" for number in range(50)]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 70_000, 200_000])
def test_body_of_any_size_arrives_whole(bus: Bus, size: int) -> None:
    bus.send(ServiceBusMessage(b"x" * size))

    message = receive_one(bus.receiver())

    assert b"".join(message.body) == b"x" * size


@pytest.mark.parametrize(
    "value",
    [
        UUID("12345678-1234-5678-1234-567812345678"),
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        7,
        2**31 - 1,
        1.5,
        True,
        None,
    ],
    ids=repr,
)
def test_application_property_keeps_its_type(bus: Bus, value: Any) -> None:
    bus.send(ServiceBusMessage("x", application_properties={"key": value}))

    properties = receive_one(bus.receiver()).application_properties or {}

    found = properties[b"key"]
    if isinstance(value, datetime):
        assert found == int(value.timestamp() * 1000)  # the client leaves AMQP timestamps in milliseconds
    else:
        assert (found, type(found)) == (value, type(value))


def test_message_properties_arrive_as_sent(bus: Bus) -> None:
    sent: dict[str, Any] = {
        "message_id": "m",
        "correlation_id": "c",
        "subject": "s",
        "content_type": "application/json",
        "reply_to": "r",
        "to": "t",
        "partition_key": "p",
    }
    bus.send(ServiceBusMessage("x", **sent))

    message = receive_one(bus.receiver())

    assert {name: getattr(message, name) for name in sent} == sent
    assert message.enqueued_time_utc is not None


def test_async_client_sends_receives_and_settles(broker: Broker) -> None:
    async def round_trip() -> list[str]:
        async with AsyncServiceBusClient.from_connection_string(broker.connection_string) as client:
            async with client.get_queue_sender(QUEUE) as sender:
                await sender.send_messages([ServiceBusMessage("good"), ServiceBusMessage("bad")])
            async with client.get_queue_receiver(QUEUE) as receiver:
                good, bad = await receiver.receive_messages(2, max_wait_time=5)
                await receiver.complete_message(good)
                await receiver.dead_letter_message(bad, reason="Why")
            async with client.get_queue_receiver(QUEUE, sub_queue="deadletter") as letters:
                found = await letters.receive_messages(2, max_wait_time=1)
                return [f"{letter} {letter.dead_letter_reason}" for letter in found]

    assert asyncio.run(round_trip()) == ["bad Why"]
    assert broker.counts(QUEUE).locked == 0


def test_async_client_schedules_and_peeks(broker: Broker) -> None:
    async def round_trip() -> list[str]:
        async with AsyncServiceBusClient.from_connection_string(broker.connection_string) as client:
            async with client.get_queue_sender(QUEUE) as sender:
                await sender.schedule_messages(ServiceBusMessage("later"), in_an_hour(broker))
            async with client.get_queue_receiver(QUEUE) as receiver:
                return [str(message) for message in await receiver.peek_messages(10, sequence_number=1)]

    assert asyncio.run(round_trip()) == ["later"]
    assert broker.counts(QUEUE).scheduled == 1


def test_thousands_of_locks_may_end_at_once(broker: Broker) -> None:
    queue = broker.queue(QUEUE)
    with broker.lock:
        for number in range(5_000):
            queue.send(Message(id=str(number)))
        while queue.take():
            pass
    broker.clock.advance(61)

    assert broker.counts(QUEUE).active == 5_000


def test_a_renewed_lock_ends_once(broker: Broker) -> None:
    queue = broker.queue(QUEUE)
    with broker.lock:
        queue.send(Message())
        entry = queue.take()
        assert entry is not None
        broker.clock.advance(1)
        queue.renew(entry.tag)
    broker.clock.advance(99)

    assert (broker.counts(QUEUE).active, broker.messages(QUEUE)[0].delivery_count) == (1, 1)
