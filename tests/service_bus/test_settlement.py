"""Receiving under a lock, and the ways a delivery ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.exceptions import MessageLockLostError, MessageNotFoundError

from tests.service_bus.conftest import QUEUE, receive, receive_one

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceiver

    from local.service_bus import Broker, QueueCounts
    from tests.service_bus.conftest import Bus

_SECTIONS = ("header", "delivery_annotations", "message_annotations", "properties", "application_properties", "footer")


def counts(bus: Bus, queue: str = QUEUE) -> QueueCounts:
    return bus.broker.counts(queue)


def by_token(receiver: ServiceBusReceiver, token: UUID) -> ServiceBusReceivedMessage:
    """A message that is nothing but its lock token: what settles it goes through $management."""
    nothing: Any = SimpleNamespace(**dict.fromkeys((*_SECTIONS, "data", "sequence", "value")))
    return ServiceBusReceivedMessage(nothing, receiver=receiver, is_deferred_message=True, lock_token=token)


def test_received_message_is_locked_until_completed(bus: Bus) -> None:
    bus.send("hello")
    receiver = bus.receiver()

    message = receive_one(receiver)
    locked = counts(bus)
    receiver.complete_message(message)

    assert str(message) == "hello"
    assert (locked.active, locked.locked) == (0, 1)
    assert (counts(bus).active, counts(bus).locked, counts(bus).dead_lettered) == (0, 0, 0)


def test_messages_come_in_the_order_they_were_sent(bus: Bus) -> None:
    bus.send("a", "b", "c")

    received = receive(bus.receiver(), 3)

    assert [str(message) for message in received] == ["a", "b", "c"]
    assert [message.sequence_number for message in received] == [1, 2, 3]


def test_abandoned_message_comes_again_at_once_with_one_more_delivery(bus: Bus) -> None:
    bus.send("again")
    receiver = bus.receiver()
    first = receive_one(receiver)

    receiver.abandon_message(first)
    second = receive_one(receiver)

    assert not first.delivery_count  # the client tells 0 as None where the header leaves a default out
    assert second.delivery_count == 1
    assert second.sequence_number == first.sequence_number
    assert second.lock_token != first.lock_token


def test_message_abandoned_as_often_as_allowed_is_dead_lettered(bus: Bus) -> None:
    bus.send("poison")
    receiver = bus.receiver()

    for _ in range(3):
        receiver.abandon_message(receive_one(receiver))

    letter = receive_one(bus.receiver(sub_queue="deadletter"))
    assert letter.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert "3" in (letter.dead_letter_error_description or "")
    assert str(letter) == "poison"


def test_lock_that_ran_out_gives_the_message_to_the_next_receiver(bus: Bus, broker: Broker) -> None:
    bus.send("slow")
    receiver = bus.receiver()
    late = receive_one(receiver)

    broker.clock.advance(61)
    again = receive_one(receiver)

    assert again.delivery_count == 1
    with pytest.raises(MessageLockLostError):
        receiver.complete_message(late)
    receiver.complete_message(again)
    assert counts(bus).locked == 0


def test_renewed_lock_outlives_its_first_duration(bus: Bus, broker: Broker) -> None:
    bus.send("slow")
    receiver = bus.receiver()
    message = receive_one(receiver)
    first_until = message.locked_until_utc

    broker.clock.advance(40)
    renewed_until = receiver.renew_message_lock(message)
    broker.clock.advance(40)

    assert first_until is not None
    assert (renewed_until - first_until).total_seconds() == pytest.approx(40, abs=5)
    receiver.complete_message(message)
    assert counts(bus).locked == counts(bus).active == 0


def test_lost_lock_cannot_be_renewed(bus: Bus, broker: Broker) -> None:
    bus.send("slow")
    receiver = bus.receiver()
    message = receive_one(receiver)
    broker.clock.advance(61)

    with pytest.raises(MessageLockLostError):
        receiver.renew_message_lock(message)


def test_deferred_message_is_received_by_its_sequence_number_only(bus: Bus) -> None:
    bus.send("later", "now")
    receiver = bus.receiver()
    later, now = receive(receiver, 2)
    receiver.complete_message(now)

    receiver.defer_message(later)
    assert counts(bus).deferred == 1
    assert receiver.receive_messages(1, max_wait_time=0.2) == []
    (back,) = receiver.receive_deferred_messages(later.sequence_number or 0)

    assert str(back) == "later"
    receiver.complete_message(back)
    assert counts(bus).deferred == counts(bus).locked == 0


def test_sequence_number_that_is_not_deferred_is_not_found(bus: Bus) -> None:
    bus.send("active")

    with pytest.raises(MessageNotFoundError):
        bus.receiver().receive_deferred_messages(1)


def test_dead_lettering_on_the_link_carries_reason_and_description(bus: Bus) -> None:
    bus.send("bad")
    receiver = bus.receiver()

    receiver.dead_letter_message(receive_one(receiver), reason="Why", error_description="Because.")

    letter = receive_one(bus.receiver(sub_queue="deadletter"))
    assert (letter.dead_letter_reason, letter.dead_letter_error_description) == ("Why", "Because.")
    assert counts(bus).locked == 0


def test_another_receiver_dead_letters_by_lock_token(bus: Bus) -> None:
    bus.send("bad")
    message = receive_one(bus.receiver())
    other = bus.receiver()
    assert isinstance(message.lock_token, UUID)

    other.dead_letter_message(by_token(other, message.lock_token), reason="Why", error_description="Because.")

    letter = receive_one(bus.receiver(sub_queue="deadletter"))
    assert (letter.dead_letter_reason, letter.dead_letter_error_description) == ("Why", "Because.")
    assert counts(bus).locked == 0


@pytest.mark.parametrize("settle", ["complete_message", "abandon_message", "defer_message", "dead_letter_message"])
def test_lock_token_that_nobody_holds_is_a_lost_lock(bus: Bus, settle: str) -> None:
    receiver = bus.receiver()

    with pytest.raises(MessageLockLostError):
        getattr(receiver, settle)(by_token(receiver, uuid4()))


@pytest.mark.parametrize(
    "settle, expected",
    [
        ("complete_message", (0, 0, 0, 0)),
        ("abandon_message", (1, 0, 0, 0)),
        ("defer_message", (0, 0, 1, 0)),
        ("dead_letter_message", (0, 0, 0, 1)),
    ],
)
def test_lock_token_settles_in_every_way(bus: Bus, settle: str, expected: tuple[int, ...]) -> None:
    bus.send("one")
    holder = bus.receiver()
    message = receive_one(holder)
    holder.close()  # so that an abandoned message stays in the queue
    other = bus.receiver()
    assert isinstance(message.lock_token, UUID)

    getattr(other, settle)(by_token(other, message.lock_token))

    now = counts(bus)
    assert (now.active, now.locked, now.deferred, now.dead_lettered) == expected


def test_delivery_settled_twice_is_a_lost_lock(bus: Bus) -> None:
    bus.send("once")
    receiver = bus.receiver()
    message = receive_one(receiver)
    assert isinstance(message.lock_token, UUID)

    token = message.lock_token
    receiver.complete_message(message)

    with pytest.raises(MessageLockLostError):
        receiver.complete_message(by_token(receiver, token))


def test_receive_and_delete_leaves_nothing_locked(bus: Bus) -> None:
    bus.send("gone")

    message = receive_one(bus.receiver(receive_mode="receiveanddelete"))

    assert str(message) == "gone"
    assert (counts(bus).active, counts(bus).locked) == (0, 0)


def test_dead_letter_keeps_body_ids_and_properties(bus: Bus) -> None:
    from azure.servicebus import ServiceBusMessage

    bus.send(
        ServiceBusMessage(
            "bad",
            message_id="m-1",
            correlation_id="c-1",
            subject="s",
            content_type="text/plain",
            application_properties={"tenant": "blue", "attempt": 3},
        )
    )
    receiver = bus.receiver()
    receiver.dead_letter_message(receive_one(receiver), reason="Why")

    letter = receive_one(bus.receiver(sub_queue="deadletter"))

    assert (str(letter), letter.message_id, letter.correlation_id) == ("bad", "m-1", "c-1")
    assert (letter.subject, letter.content_type) == ("s", "text/plain")
    properties = letter.application_properties or {}
    assert (properties[b"tenant"], properties[b"attempt"]) == (b"blue", 3)


def test_dead_letter_can_be_completed_from_its_queue(bus: Bus) -> None:
    bus.send("bad")
    receiver = bus.receiver()
    receiver.dead_letter_message(receive_one(receiver))
    letters = bus.receiver(sub_queue="deadletter")

    letters.complete_message(receive_one(letters))

    assert counts(bus).dead_lettered == 0


def test_message_that_came_too_late_for_a_call_is_given_back_uncounted(bus: Bus) -> None:
    receiver = bus.receiver()
    assert receiver.receive_messages(max_message_count=5, max_wait_time=0.1) == []  # leaves credit at the broker
    bus.send("late")
    assert bus.broker.wait_until(lambda _: counts(bus).locked == 1)

    receiver.close()  # what is in flight is released

    assert bus.broker.wait_until(lambda _: counts(bus).active == 1)
    (message,) = bus.broker.messages(QUEUE)
    assert message.delivery_count == 0
