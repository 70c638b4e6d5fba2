"""Properties and counts of queues, asked for by the vendor's administration client over a socket."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.servicebus import ServiceBusMessage
from azure.servicebus.management import ServiceBusAdministrationClient

from local.service_bus import Broker, QueueOptions, SharedKey
from local.service_bus.claims import ROOT_KEY, ROOT_KEY_NAME
from ops.emulator import PlainHttpTransport
from tests.service_bus.conftest import LISTENER, QUEUE, Bus, receive_one

if TYPE_CHECKING:
    from collections.abc import Iterator

SPECIAL = QueueOptions(
    "Special-Queue",
    lock_duration_seconds=30,
    max_delivery_count=7,
    default_time_to_live_seconds=86_400.5,
    dead_letter_on_expiration=True,
    duplicate_detection_window_seconds=90,
    requires_session=True,
)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker([QueueOptions(QUEUE), SPECIAL], keys=[ROOT_KEY, LISTENER], administration_port=0) as running:
        yield running


@pytest.fixture
def bus(broker: Broker) -> Iterator[Bus]:
    with ExitStack() as opened:
        yield Bus(broker, opened)


def administration(broker: Broker, key_name: str = ROOT_KEY_NAME) -> ServiceBusAdministrationClient:
    assert broker.administration is not None
    # The client knows https on the AMQP port only; its transport is where Azure's libraries let that be changed.
    return ServiceBusAdministrationClient.from_connection_string(
        broker.connection_string_for(key_name), transport=PlainHttpTransport(broker.administration.port), retry_total=0
    )


def test_a_queue_tells_its_properties(broker: Broker) -> None:
    with administration(broker) as client:
        queue = client.get_queue(SPECIAL.name)
    assert queue.lock_duration == timedelta(seconds=30)
    assert queue.max_delivery_count == 7
    assert queue.default_message_time_to_live == timedelta(days=1, microseconds=500_000)
    assert queue.duplicate_detection_history_time_window == timedelta(seconds=90)
    assert (queue.requires_session, queue.requires_duplicate_detection) == (True, True)
    assert queue.dead_lettering_on_message_expiration is True


def test_a_queue_without_options_tells_the_defaults(broker: Broker) -> None:
    with administration(broker) as client:
        queue = client.get_queue(QUEUE)
    assert isinstance(queue.default_message_time_to_live, timedelta)
    assert queue.default_message_time_to_live > timedelta(days=10_000_000)
    assert (queue.requires_session, queue.requires_duplicate_detection) == (False, False)
    assert queue.dead_lettering_on_message_expiration is False


def test_counts_are_those_of_the_queue(bus: Bus) -> None:
    later = ServiceBusMessage("later", scheduled_enqueue_time_utc=datetime.now(UTC) + timedelta(hours=1))
    bus.send("dead", "locked", "active", later)
    receiver = bus.receiver()
    receiver.dead_letter_message(receive_one(receiver))
    receive_one(receiver)
    with administration(bus.broker) as client:
        now = client.get_queue_runtime_properties(QUEUE)
    # A locked message is still in the queue and counts as active, as in Azure.
    assert (now.active_message_count, now.scheduled_message_count, now.dead_letter_message_count) == (2, 1, 1)
    assert now.total_message_count == 4
    assert now.size_in_bytes == len("deadlockedactivelater")


def test_times_are_those_of_the_brokers_clock(bus: Bus) -> None:
    bus.broker.clock.advance(3600)
    bus.send("late")
    with administration(bus.broker) as client:
        now = client.get_queue_runtime_properties(QUEUE)
    assert now.created_at_utc is not None
    assert now.accessed_at_utc is not None
    assert now.created_at_utc == now.updated_at_utc
    assert now.accessed_at_utc - now.created_at_utc >= timedelta(hours=1)


def test_a_name_is_found_in_any_case(broker: Broker) -> None:
    with administration(broker) as client:
        assert client.get_queue(QUEUE.upper()).max_delivery_count == 10


def test_queues_are_listed_page_by_page() -> None:
    names = [f"queue-{number:03}" for number in range(230)]
    with (
        Broker([QueueOptions(name) for name in names], administration_port=0) as broker,
        administration(broker) as client,
    ):
        assert [queue.name for queue in client.list_queues()] == names
        assert [queue.name for queue in client.list_queues_runtime_properties()] == names


@pytest.mark.parametrize("name", ["ghost", f"{QUEUE}/$DeadLetterQueue"])
def test_what_is_no_queue_is_not_found(broker: Broker, name: str) -> None:
    with administration(broker) as client, pytest.raises(ResourceNotFoundError):
        client.get_queue(name)


def test_without_the_manage_right_nothing_is_told(broker: Broker) -> None:
    with administration(broker, LISTENER.name) as client, pytest.raises(ClientAuthenticationError, match="Manage"):
        client.get_queue(QUEUE)


def test_a_wrong_key_is_refused(broker: Broker) -> None:
    with administration(broker) as client:
        broker.keys[ROOT_KEY_NAME] = SharedKey(ROOT_KEY_NAME, "another key", ROOT_KEY.rights)
        with pytest.raises(ClientAuthenticationError, match="invalid signature"):
            client.get_queue(QUEUE)


def test_it_only_reads(broker: Broker) -> None:
    with administration(broker) as client, pytest.raises(HttpResponseError, match="only reads"):
        client.create_queue("new")


def test_a_request_without_a_token_is_refused(broker: Broker) -> None:
    assert broker.administration is not None
    request = Request(f"{broker.administration.endpoint}/{QUEUE}")  # noqa: S310  # http, to this very machine
    with pytest.raises(OSError, match="401"):
        urlopen(request, timeout=5)  # noqa: S310


def test_it_comes_back_on_its_port_after_a_restart(broker: Broker) -> None:
    with administration(broker) as client:
        broker.stop()
        broker.start()
        assert client.get_queue(QUEUE).max_delivery_count == 10


def test_a_taken_port_stops_the_broker_from_starting(broker: Broker) -> None:
    assert broker.administration is not None
    second = Broker(administration_port=broker.administration.port)
    with pytest.raises(OSError, match="in use"):
        second.start()
    assert not second.running
