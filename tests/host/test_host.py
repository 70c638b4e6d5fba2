"""What the host stand-in does with a delivery, told by what the broker holds afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azure.servicebus.amqp import AmqpAnnotatedMessage

from tests.host.conftest import QUEUE, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.service_bus import Broker
    from tests.host.conftest import Running

_RETURNS = "def main(message, context):\n    pass\n"
_RAISES = "def main(message, context):\n    raise RuntimeError('boom')\n"


def test_function_that_returns_completes_the_message(broker: Broker, run_app: Callable[..., Running]) -> None:
    host = run_app(_RETURNS)

    send(broker, "x")

    (result,) = host.wait_for(1)
    assert (result.settlement, result.error, result.delivery_count) == ("completed", None, 1)
    assert broker.wait_until(lambda b: b.counts(QUEUE).locked == b.counts(QUEUE).active == 0, 5)


def test_function_that_raises_abandons_until_the_broker_dead_letters(
    broker: Broker, run_app: Callable[..., Running]
) -> None:
    host = run_app(_RAISES)

    send(broker, "x")

    results = host.wait_for(2)
    assert [result.settlement for result in results] == ["abandoned", "abandoned"]
    assert [result.delivery_count for result in results] == [1, 2]
    assert "boom" in (results[0].error or "")
    assert broker.wait_until(lambda b: b.counts(QUEUE).dead_lettered == 1, 5)


def test_function_that_cannot_be_loaded_fails_each_invocation(broker: Broker, run_app: Callable[..., Running]) -> None:
    host = run_app("import no_such_module_anywhere\n")

    send(broker, "x")

    results = host.wait_for(2)
    assert all("no_such_module_anywhere" in (result.error or "") for result in results)
    assert {result.settlement for result in results} == {"abandoned"}


def test_body_that_is_a_value_but_no_string_never_reaches_the_function(
    broker: Broker, run_app: Callable[..., Running]
) -> None:
    from azure.servicebus import ServiceBusClient

    host = run_app(_RETURNS)

    with (
        ServiceBusClient.from_connection_string(broker.connection_string) as client,
        client.get_queue_sender(QUEUE) as sender,
    ):
        sender.send_messages(AmqpAnnotatedMessage(value_body=17))

    results = host.wait_for(2)
    assert {result.settlement for result in results} == {"abandoned"}
    assert "VALUE" in (results[0].error or "")


def test_lock_is_renewed_while_the_function_runs(broker: Broker, run_app: Callable[..., Running]) -> None:
    # The lock lasts two seconds, the function three and a half: real time, as renewing goes by real time.
    host = run_app("import time\ndef main(message, context):\n    time.sleep(3.5)\n")

    send(broker, "x")

    (result,) = host.wait_for(1)
    assert (result.settlement, result.delivery_count) == ("completed", 1)


def test_host_goes_on_after_its_connection_was_cut(broker: Broker, run_app: Callable[..., Running]) -> None:
    host = run_app(_RETURNS)
    send(broker, "before")
    host.wait_for(1)

    broker.drop_connections()
    send(broker, "after")

    assert host.wait_for(2)[1].settlement == "completed"


def test_no_more_calls_at_once_than_host_json_allows(broker: Broker, run_app: Callable[..., Running]) -> None:
    code = """
import threading
gate, running, most = threading.Lock(), 0, 0
pair = threading.Barrier(2)

def main(message, context):
    global running, most
    with gate:
        running += 1
        most = max(most, running)
    pair.wait(10)
    with gate:
        running -= 1
        if most > 2:
            raise RuntimeError(f"{most} at once")
"""
    host = run_app(code, maxConcurrentCalls=2)

    send(broker, *(f"{number}" for number in range(8)))

    assert [(result.settlement, result.error) for result in host.wait_for(8)] == [("completed", None)] * 8
