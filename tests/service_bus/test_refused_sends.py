"""A broker that was told to refuse what is sent, as the real client sees it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import (
    MessageSizeExceededError,
    MessagingEntityDisabledError,
    ServiceBusError,
    ServiceBusQuotaExceededError,
)

from tests.service_bus.conftest import QUEUE, SESSIONS, receive, receive_one

if TYPE_CHECKING:
    from local.service_bus import Broker
    from tests.service_bus.conftest import Bus


def schedule(bus: Bus, *bodies: str) -> list[int]:
    """Through the management node, unlike a message that is sent with a scheduled time."""
    with bus.client.get_queue_sender(QUEUE) as sender:
        due = bus.broker.clock.now() + timedelta(hours=1)
        return sender.schedule_messages([ServiceBusMessage(body) for body in bodies], due)


def test_refused_message_is_refused_as_by_a_full_queue(bus: Bus, broker: Broker) -> None:
    broker.refuse_sends()

    with pytest.raises(ServiceBusQuotaExceededError, match="told to refuse"):
        bus.send("x")


@pytest.mark.parametrize(
    "condition, error",
    [("com.microsoft:entity-disabled", MessagingEntityDisabledError), ("com.example:anything", ServiceBusError)],
)
def test_condition_of_the_refusal_may_be_chosen(
    bus: Bus, broker: Broker, condition: str, error: type[ServiceBusError]
) -> None:
    broker.refuse_sends(condition)

    with pytest.raises(ServiceBusError) as refused:
        bus.send("x")
    assert type(refused.value) is error


def test_a_queue_with_sessions_takes_no_message_without_a_session_and_no_batch_with_one(
    bus: Bus, broker: Broker
) -> None:
    with bus.client.get_queue_sender(SESSIONS) as sender:
        for without in (ServiceBusMessage("x"), [ServiceBusMessage("x", session_id="s"), ServiceBusMessage("x")]):
            with pytest.raises(ServiceBusError, match="SessionId was not set"):
                sender.send_messages(without)
        sender.send_messages(ServiceBusMessage("y", session_id="s"))

    assert [bytes(message.body) for message in broker.messages(SESSIONS)] == [b"y"]


def test_a_message_over_the_limit_is_refused(bus: Bus, broker: Broker) -> None:
    with pytest.raises(MessageSizeExceededError, match="larger than 262,144 bytes"):
        bus.send("x" * 262_144)

    assert broker.messages(QUEUE) == []


def test_refused_message_is_not_stored(bus: Bus, broker: Broker) -> None:
    broker.refuse_sends()

    with pytest.raises(ServiceBusError):
        bus.send("x")
    assert broker.messages(QUEUE) == []


def test_batch_is_refused_as_a_whole(bus: Bus, broker: Broker) -> None:
    broker.refuse_sends()

    with bus.client.get_queue_sender(QUEUE) as sender, pytest.raises(ServiceBusQuotaExceededError):
        sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    assert broker.messages(QUEUE) == []


def test_schedule_is_refused_with_the_same_error(bus: Bus, broker: Broker) -> None:
    broker.refuse_sends()

    with pytest.raises(ServiceBusQuotaExceededError, match="told to refuse"):
        schedule(bus, "x")


def test_refused_schedule_is_not_stored(bus: Bus, broker: Broker) -> None:
    broker.refuse_sends()

    with pytest.raises(ServiceBusError):
        schedule(bus, "a", "b")
    assert broker.messages(QUEUE) == []


def test_schedule_can_be_cancelled_while_sends_are_refused(bus: Bus, broker: Broker) -> None:
    (number,) = schedule(bus, "x")
    broker.refuse_sends()

    with bus.client.get_queue_sender(QUEUE) as sender:
        sender.cancel_scheduled_messages(number)

    assert broker.messages(QUEUE) == []


def test_what_is_in_the_queue_is_delivered_while_sends_are_refused(bus: Bus, broker: Broker) -> None:
    bus.send("before")
    broker.refuse_sends()

    assert str(receive_one(bus.receiver())) == "before"


def test_sender_that_was_refused_sends_again_once_sends_are_taken(bus: Bus, broker: Broker) -> None:
    with bus.client.get_queue_sender(QUEUE) as sender:
        broker.refuse_sends()
        with pytest.raises(ServiceBusQuotaExceededError):
            sender.send_messages(ServiceBusMessage("refused"))
        broker.take_sends()
        sender.send_messages(ServiceBusMessage("taken"))
        sender.schedule_messages(ServiceBusMessage("scheduled"), broker.clock.now() + timedelta(hours=1))
    broker.clock.advance(3601)

    assert [str(message) for message in receive(bus.receiver(), 2)] == ["taken", "scheduled"]
