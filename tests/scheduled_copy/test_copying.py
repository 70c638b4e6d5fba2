"""When a copy comes, what it is called, and what happens when it cannot be made."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import proton
import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import ServiceBusQuotaExceededError

from local.service_bus import Broker, SharedKey
from shared.redelivery import ATTEMPT, FIRST_ATTEMPT_TIME, FIRST_ENQUEUED_TIME, MESSAGE_ID, Attempt
from shared.scheduled_copy import ExpiredError
from shared.service_bus_errors import CopyTooLargeError, MessageGoneError, SendRightMissingError

if TYPE_CHECKING:
    from pytest_mock import MockerFixture

from tests.scheduled_copy.copying import DAY, DELAY, HOUR, QUEUE, UNIQUE, Bus, as_function_gets

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
    opened = mocker.spy(bus.settler, "_new")
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


# A copy that hardly fits

LIMIT = 256 * 1024  # bytes, of the Standard tier
HISTORY: dict[str, str | int] = {
    ATTEMPT: 2,
    FIRST_ATTEMPT_TIME: "2026-03-01T12:00:00+00:00",
    FIRST_ENQUEUED_TIME: "2026-03-01T11:59:58.250+00:00",
    MESSAGE_ID: "m" * 128,
}


def hardly_fitting(room: int) -> ServiceBusMessage:
    return ServiceBusMessage("x" * (LIMIT - room), message_id="m" * 128)


@pytest.mark.parametrize("room, kept", [(600, set(HISTORY)), (350, {ATTEMPT, FIRST_ATTEMPT_TIME})])
def test_a_copy_that_hardly_fits_goes_without_what_is_only_for_people(
    bus: Bus, broker: Broker, room: int, kept: set[str]
) -> None:
    bus.settler.send_copy(bus.lock(hardly_fitting(room)), DELAY, HISTORY)

    (copy,) = (message for message in broker.messages(QUEUE) if message.state == "scheduled")
    assert {name for name in HISTORY if name in copy.application_properties} == kept


def test_a_copy_that_does_not_fit_names_size_and_limit_and_keeps_the_connection(
    bus: Bus, broker: Broker, mocker: MockerFixture
) -> None:
    opened = mocker.spy(bus.settler, "_new")
    with pytest.raises(CopyTooLargeError, match=r"body of 261,944 bytes .* limit of 262,144 bytes"):
        bus.settler.send_copy(bus.lock(hardly_fitting(200)), DELAY, HISTORY)
    bus.settler.send_copy(bus.lock(ServiceBusMessage("x")), DELAY, HISTORY)

    assert (opened.call_count, broker.counts(QUEUE).scheduled) == (1, 1)
