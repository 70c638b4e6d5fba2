"""Dead-lettering by lock token over a real AMQP connection, whatever happens to that connection."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from azure.core.credentials import AccessToken
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusError

from local.service_bus import Broker
from shared import service_bus_connection, settlement
from shared.settings import ServiceBusSettings
from shared.settlement import ServiceBusSettler
from shared.token_source import SharedCredential

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mock import MockerFixture

QUEUE = "job-cancellations"


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


@pytest.fixture
def settler(broker: Broker) -> Iterator[ServiceBusSettler]:
    made = ServiceBusSettler(ServiceBusSettings(QUEUE, broker.connection_string))
    yield made
    made.close()


class Locked:
    """Messages sent and locked by a receiver that stays open, as the host's does."""

    def __init__(self, broker: Broker, count: int) -> None:
        self._client = ServiceBusClient.from_connection_string(broker.connection_string)
        with self._client.get_queue_sender(QUEUE) as sender:
            sender.send_messages([ServiceBusMessage(f"body {n}", message_id=f"m-{n}") for n in range(count)])
        self._receiver = self._client.get_queue_receiver(QUEUE)
        self.tokens: list[str] = []
        while len(self.tokens) < count:
            received = self._receiver.receive_messages(count - len(self.tokens), max_wait_time=5)
            self.tokens += [str(message.lock_token) for message in received]

    def __enter__(self) -> list[str]:
        return self.tokens

    def __exit__(self, *_: object) -> None:
        self._receiver.close()
        self._client.close()


def dead(broker: Broker) -> list[str]:
    return [str(letter.message_id) for letter in broker.messages(QUEUE, dead_letter=True)]


def test_reason_and_description_arrive_with_the_message(broker: Broker, settler: ServiceBusSettler) -> None:
    with Locked(broker, 1) as (token,):
        settler.dead_letter(token, "JobNotFound", "No such job.")

    (letter,) = broker.messages(QUEUE, dead_letter=True)
    assert letter.application_properties == {
        "DeadLetterReason": "JobNotFound",
        "DeadLetterErrorDescription": "No such job.",
    }
    assert bytes(letter.body) == b"body 0"


def test_sixteen_threads_settle_at_once(broker: Broker, settler: ServiceBusSettler) -> None:
    with Locked(broker, 32) as tokens, ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda token: settler.dead_letter(token, "R", "D"), tokens))

    assert sorted(dead(broker)) == sorted(f"m-{n}" for n in range(32))


def test_a_connection_that_was_cut_is_replaced(broker: Broker, settler: ServiceBusSettler) -> None:
    with Locked(broker, 1) as (token,):
        settler.dead_letter(token, "R", "D")
    broker.drop_connections()
    with Locked(broker, 1) as (token,):
        settler.dead_letter(token, "R", "D")

    assert len(dead(broker)) == 2


def test_a_link_that_the_broker_closed_for_idling_is_replaced(broker: Broker, settler: ServiceBusSettler) -> None:
    with Locked(broker, 1) as (token,):
        settler.dead_letter(token, "R", "D")
    broker.detach_links()
    with Locked(broker, 1) as (token,):
        settler.dead_letter(token, "R", "D")

    assert len(dead(broker)) == 2


def test_a_connection_that_rested_too_long_is_closed_though_nobody_asks_for_one(
    broker: Broker, settler: ServiceBusSettler, mocker: MockerFixture
) -> None:
    opened = mocker.spy(settler, "_new")
    mocker.patch.object(settlement, "_IDLE_LIMIT", 0.05)
    with Locked(broker, 2) as (first, second):
        threads = threading.active_count()
        settler.dead_letter(first, "R", "D")
        deadline = time.monotonic() + 10
        while settler._resting or threading.active_count() > threads:  # the connection's threads, and the watchdog's
            assert time.monotonic() < deadline
            time.sleep(0.02)
        settler.dead_letter(second, "R", "D")

    assert opened.call_count == 2
    assert len(dead(broker)) == 2


def test_a_message_does_not_wait_for_the_end_of_connections_that_rested_too_long(
    broker: Broker, settler: ServiceBusSettler, mocker: MockerFixture
) -> None:
    settled, closed = threading.Event(), threading.Event()

    close = service_bus_connection.Connection.close

    def slow_close(connection: service_bus_connection.Connection) -> None:
        if settled.wait(10):
            closed.set()
        close(connection)

    mocker.patch.object(service_bus_connection.Connection, "close", slow_close)
    with Locked(broker, 2) as (first, second):
        settler.dead_letter(first, "R", "D")
        mocker.patch.object(settlement, "_IDLE_LIMIT", 0.0)
        settler.dead_letter(second, "R", "D")
        settled.set()
        assert closed.wait(10)


def test_a_connection_that_is_taken_just_as_its_time_is_up_is_not_closed(
    broker: Broker, settler: ServiceBusSettler, mocker: MockerFixture
) -> None:
    close = mocker.spy(service_bus_connection.Connection, "close")
    with Locked(broker, 1) as (token,):
        settler.dead_letter(token, "R", "D")
        taken = settler._pooled()
        assert taken
        settler._expire(taken)
        settler._put_back(taken)
    close.assert_not_called()


def test_a_lost_lock_is_raised_and_the_connection_kept(broker: Broker, settler: ServiceBusSettler) -> None:
    with pytest.raises(MessageLockLostError):
        settler.dead_letter(str(uuid.uuid4()), "R", "D")
    with Locked(broker, 1) as (token,):
        broker.expire_locks(QUEUE)
        with pytest.raises(MessageLockLostError):
            settler.dead_letter(token, "R", "D")

    assert dead(broker) == []


def test_a_token_that_is_no_guid_is_refused_before_anything_is_sent(settler: ServiceBusSettler) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        settler.dead_letter("", "R", "D")


def test_a_broker_that_is_away_raises_and_is_found_again(broker: Broker, settler: ServiceBusSettler) -> None:
    with Locked(broker, 1) as (token,):
        settler.dead_letter(token, "R", "D")
    broker.stop()
    with pytest.raises(ServiceBusError):
        settler.dead_letter(token, "R", "D")
    broker.start()
    with Locked(broker, 1) as (token,):
        settler.dead_letter(token, "R", "D")

    assert len(dead(broker)) == 2


def test_what_fails_on_a_new_connection_too_is_raised(
    broker: Broker, settler: ServiceBusSettler, mocker: MockerFixture
) -> None:
    mocker.patch.object(service_bus_connection.Connection, "dead_letter", side_effect=OSError("still broken"))
    with pytest.raises(OSError, match="still broken"):
        settler.dead_letter(str(uuid.uuid4()), "R", "D")


def test_an_identity_is_used_where_there_is_no_connection_string(mocker: MockerFixture) -> None:
    token_of = SimpleNamespace(get_token=lambda *_, **__: AccessToken("token", 2**31))
    chosen = mocker.patch("shared.settlement.credential_of", return_value=token_of)
    with Broker(verify_jwt=lambda token: token == "token") as broker:
        # The SDK speaks TLS to a namespace; the embedded broker has none.
        plain = mocker.patch("azure.servicebus.ServiceBusClient", side_effect=_without_tls)
        settings = ServiceBusSettings(QUEUE, None, f"localhost:{broker.port}")
        settler = ServiceBusSettler(settings)
        with Locked(broker, 1) as (lock_token,):
            settler.dead_letter(lock_token, "R", "D")
        settler.close()
        assert dead(broker) == ["m-0"]
    assert isinstance(plain.call_args.args[1], SharedCredential)
    chosen.assert_called_once_with(settings)


def _without_tls(namespace: str, credential: object, **options: object) -> ServiceBusClient:
    return ServiceBusClient(namespace, credential, use_tls=False, **options)  # type: ignore[arg-type]
