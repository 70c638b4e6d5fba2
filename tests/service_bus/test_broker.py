"""The embedded broker, through the real azure-servicebus."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusReceiver
from azure.servicebus.aio import ServiceBusClient as AsyncServiceBusClient
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusError,
)

from local.service_bus import Broker, QueueOptions, SharedKey
from local.service_bus.claims import ROOT_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

QUEUE = "q"
LISTEN = SharedKey("listen", "LISTEN_KEY", frozenset({"Listen"}))


@contextmanager
def opened(**options: object) -> Iterator[tuple[Broker, ServiceBusClient, ServiceBusReceiver]]:
    """A broker with one queue, a client and a receiver of it."""
    with (
        Broker([QueueOptions(QUEUE, **options)], keys=(ROOT_KEY, LISTEN)) as broker,  # type: ignore[arg-type]
        ServiceBusClient.from_connection_string(broker.connection_string, retry_total=0) as client,
        client.get_queue_receiver(QUEUE) as receiver,
    ):
        yield broker, client, receiver


def send(client: ServiceBusClient, *messages: ServiceBusMessage) -> None:
    with client.get_queue_sender(QUEUE) as sender:
        sender.send_messages(list(messages))


def named(number: int, **options: object) -> ServiceBusMessage:
    return ServiceBusMessage(f"body {number}", message_id=f"m-{number}", **options)  # type: ignore[arg-type]


def take(receiver: ServiceBusReceiver, count: int = 1) -> list[str]:
    """Receive and complete; the ids."""
    received = receiver.receive_messages(count, max_wait_time=2)
    for message in received:
        receiver.complete_message(message)
    return [str(message.message_id) for message in received]


def test_an_abandoned_message_is_redelivered_at_once_with_the_next_delivery_count() -> None:
    with opened() as (_, client, receiver):
        send(client, named(1))
        (first,) = receiver.receive_messages(1, max_wait_time=2)
        receiver.abandon_message(first)
        (second,) = receiver.receive_messages(1, max_wait_time=2)
        assert (first.delivery_count or 0, second.delivery_count) == (0, 1)


def test_the_last_delivery_that_fails_makes_a_dead_letter() -> None:
    with opened(max_delivery_count=2) as (broker, client, receiver):
        send(client, named(1))
        for _ in range(2):
            receiver.abandon_message(receiver.receive_messages(1, max_wait_time=2)[0])
        (letter,) = broker.messages(QUEUE, dead_letter=True)
        assert letter.application_properties["DeadLetterReason"] == "MaxDeliveryCountExceeded"


def test_a_lock_that_runs_out_gives_the_message_back_and_loses_the_token() -> None:
    with opened(lock_duration_seconds=30) as (broker, client, receiver):
        send(client, named(1))
        (first,) = receiver.receive_messages(1, max_wait_time=2)
        broker.clock.advance(31)
        with pytest.raises(MessageLockLostError):
            receiver.renew_message_lock(first)
        (second,) = receiver.receive_messages(1, max_wait_time=2)
        assert second.delivery_count == 1


def test_a_renewed_lock_holds_longer() -> None:
    with opened(lock_duration_seconds=30) as (broker, client, receiver):
        send(client, named(1))
        (message,) = receiver.receive_messages(1, max_wait_time=2)
        broker.clock.advance(20)
        receiver.renew_message_lock(message)
        broker.clock.advance(20)
        assert broker.counts(QUEUE).locked == 1


def test_a_deferred_message_is_received_by_its_number_only() -> None:
    with opened() as (broker, client, receiver):
        send(client, named(1))
        (message,) = receiver.receive_messages(1, max_wait_time=2)
        receiver.defer_message(message)
        assert broker.counts(QUEUE).deferred == 1
        (deferred,) = receiver.receive_deferred_messages(message.sequence_number or 0)
        receiver.complete_message(deferred)
        assert broker.messages(QUEUE) == []


def test_a_dead_letter_keeps_body_ids_and_typed_properties() -> None:
    key = uuid.uuid4()
    with opened() as (_, client, receiver):
        send(
            client,
            named(1, correlation_id="c", subject="s", application_properties={"key": key, "n": 7, "raw": b"\x00"}),
        )
        (message,) = receiver.receive_messages(1, max_wait_time=2)
        receiver.dead_letter_message(message, reason="R", error_description="D")
        with client.get_queue_receiver(QUEUE, sub_queue="deadletter") as dead_letters:
            (letter,) = dead_letters.receive_messages(1, max_wait_time=2)
            assert (letter.dead_letter_reason, letter.dead_letter_error_description) == ("R", "D")
            assert (letter.message_id, letter.correlation_id, letter.subject, str(letter)) == (
                "m-1",
                "c",
                "s",
                "body 1",
            )
            properties = letter.application_properties or {}
            assert (properties[b"key"], properties[b"n"], properties[b"raw"]) == (key, 7, b"\x00")


def test_a_scheduled_message_waits_for_its_time() -> None:
    with opened() as (broker, client, receiver):
        due = datetime.now(UTC) + timedelta(minutes=5)
        with client.get_queue_sender(QUEUE) as sender:
            first, second = sender.schedule_messages([named(1), named(2)], due)
            sender.cancel_scheduled_messages(second)
        send(client, named(3, scheduled_enqueue_time_utc=due))
        assert broker.counts(QUEUE).scheduled == 2
        broker.clock.advance(301)
        assert sorted(take(receiver, 1) + take(receiver, 1)) == ["m-1", "m-3"]
        assert first != second


@pytest.mark.parametrize("keep,letters", [(True, 1), (False, 0)])
def test_an_expired_message_is_dropped_unless_the_queue_keeps_it(keep: bool, letters: int) -> None:
    with opened(dead_letter_on_expiration=keep) as (broker, client, _):
        send(client, named(1, time_to_live=timedelta(seconds=30)))
        broker.clock.advance(31)
        counts = broker.counts(QUEUE)
        assert (counts.active, counts.dead_lettered) == (0, letters)


def test_a_second_message_with_the_same_id_is_dropped_within_the_window() -> None:
    with opened(duplicate_detection_window_seconds=60) as (broker, client, _):
        send(client, named(1))
        send(client, named(1))
        assert broker.counts(QUEUE).active == 1
        broker.clock.advance(61)
        send(client, named(1))
        assert broker.counts(QUEUE).active == 2


def test_peeking_shows_locked_deferred_and_scheduled_messages_and_takes_none() -> None:
    with opened() as (broker, client, receiver):
        send(client, named(1), named(2), named(3, scheduled_enqueue_time_utc=datetime.now(UTC) + timedelta(hours=1)))
        (locked,) = receiver.receive_messages(1, max_wait_time=2)
        peeked = receiver.peek_messages(10, sequence_number=1)
        assert [message.message_id for message in peeked] == ["m-1", "m-2", "m-3"]
        assert broker.counts(QUEUE).locked == 1
        assert locked.message_id == "m-1"


def test_a_wrong_key_is_refused() -> None:
    with Broker([QueueOptions(QUEUE)]) as broker:
        wrong = broker.connection_string.replace(ROOT_KEY.key, "WRONG")
        with (
            ServiceBusClient.from_connection_string(wrong, retry_total=0) as client,
            pytest.raises((ServiceBusAuthenticationError, ServiceBusAuthorizationError)),
        ):
            client.get_queue_receiver(QUEUE).__enter__()


def test_a_key_that_may_only_listen_cannot_send() -> None:
    with (
        opened() as (broker, _, _receiver),
        ServiceBusClient.from_connection_string(broker.connection_string_for("listen"), retry_total=0) as listener,
        listener.get_queue_receiver(QUEUE),
    ):
        with pytest.raises(ServiceBusError):
            send(listener, named(1))
        assert broker.messages(QUEUE) == []


def test_an_unknown_queue_is_refused() -> None:
    with opened() as (_, client, _receiver), pytest.raises(MessagingEntityNotFoundError):
        client.get_queue_receiver("nowhere").receive_messages(1, max_wait_time=2)


def test_a_queue_with_sessions_is_refused_to_a_receiver_without() -> None:
    with opened(requires_session=True) as (_, _client, receiver), pytest.raises(ServiceBusError, match="sessions"):
        receiver.receive_messages(1, max_wait_time=2)


def test_an_operation_it_does_not_know_is_refused() -> None:
    from local.service_bus.management import ManagementError, perform

    with Broker([QueueOptions(QUEUE)]) as broker, pytest.raises(ManagementError, match="add-rule") as refusal:
        perform("com.microsoft:add-rule", broker.queue(QUEUE), {})
    assert refusal.value.status == 501


def test_a_message_over_the_limit_is_refused() -> None:
    with opened() as (_, client, _receiver), pytest.raises((MessageSizeExceededError, ValueError)):
        send(client, ServiceBusMessage(b"x" * 300_000))


def test_the_asyncio_client_is_served_too() -> None:
    async def round_trip(connection_string: str) -> list[str]:
        async with AsyncServiceBusClient.from_connection_string(connection_string) as client:
            async with client.get_queue_sender(QUEUE) as sender:
                await sender.send_messages([named(number) for number in range(3)])
            async with client.get_queue_receiver(QUEUE) as receiver:
                received = await receiver.receive_messages(3, max_wait_time=2)
                for message in received:
                    await receiver.complete_message(message)
                return [str(message.message_id) for message in received]

    with Broker([QueueOptions(QUEUE)]) as broker:
        assert asyncio.run(round_trip(broker.connection_string)) == ["m-0", "m-1", "m-2"]
        assert broker.messages(QUEUE) == []
