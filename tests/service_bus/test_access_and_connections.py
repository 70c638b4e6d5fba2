"""Who gets in, what is refused and how it is told, and what a broken connection does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.exceptions import (
    MessageSizeExceededError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusError,
)
from proton import Message
from proton.utils import BlockingConnection

from local.service_bus.claims import ROOT_KEY, ClaimRefusedError, rights_of
from local.service_bus.management import ManagementError, perform
from tests.service_bus.conftest import QUEUE, SESSIONS, connect, receive_one

if TYPE_CHECKING:
    from local.service_bus import Broker
    from tests.service_bus.conftest import Bus

_REFUSED = (ServiceBusAuthenticationError, ServiceBusAuthorizationError)


def send_one(client: ServiceBusClient, queue: str = QUEUE) -> None:
    with client.get_queue_sender(queue) as sender:
        sender.send_messages(ServiceBusMessage("x"))


@pytest.mark.parametrize("wrong", ["SharedAccessKey=WRONG", "SharedAccessKey=SAS_KEY_VALUE2"])
def test_wrong_key_is_refused(broker: Broker, wrong: str) -> None:
    right = "SharedAccessKey=SAS_KEY_VALUE"
    with connect(broker.connection_string.replace(right, wrong)) as client, pytest.raises(_REFUSED):
        send_one(client)
    assert broker.counts(QUEUE).active == 0


def test_unknown_policy_is_refused(broker: Broker) -> None:
    with connect(broker.connection_string.replace(ROOT_KEY.name, "Nobody")) as client, pytest.raises(_REFUSED):
        send_one(client)


def test_key_that_may_only_listen_receives_but_cannot_send(bus: Bus, broker: Broker) -> None:
    bus.send("for the listener")

    with connect(broker.connection_string_for("listener")) as client:
        with client.get_queue_receiver(QUEUE) as receiver:
            assert str(receive_one(receiver)) == "for the listener"
        with pytest.raises(ServiceBusError):
            send_one(client)
    assert broker.counts(QUEUE).active == 0


def test_a_link_takes_more_sends_than_a_delivery_tag_has_ascii_bytes(bus: Bus, broker: Broker) -> None:
    bus.send(*map(str, range(300)))  # the client counts its deliveries in binary tags

    assert broker.counts(QUEUE).active == 300


@pytest.mark.parametrize("expiry", ["1", "soon", "", "-5"])
def test_token_without_a_good_expiry_is_refused(expiry: str) -> None:
    import hmac
    from base64 import b64encode
    from urllib.parse import quote_plus

    digest = hmac.digest(ROOT_KEY.key.encode(), f"sb\n{expiry}".encode(), "sha256")
    signature = quote_plus(b64encode(digest).decode())
    token = f"SharedAccessSignature sr=sb&sig={signature}&se={expiry}&skn={ROOT_KEY.name}"

    with pytest.raises(ClaimRefusedError, match="ExpiredToken"):
        rights_of(token, {ROOT_KEY.name: ROOT_KEY})


def test_unknown_queue_is_refused(bus: Bus) -> None:
    with pytest.raises(ServiceBusError):
        send_one(bus.client, "nowhere")


def test_link_tells_the_client_its_size_limit(bus: Bus) -> None:
    with bus.client.get_queue_sender(QUEUE) as sender, pytest.raises(MessageSizeExceededError):
        sender.send_messages([ServiceBusMessage(b"x" * 300_000)])


def test_queue_name_ignores_case(bus: Bus, broker: Broker) -> None:
    bus.send("x", queue=QUEUE.upper())

    assert broker.counts(QUEUE).active == 1


def test_queue_with_sessions_has_no_plain_receiver(bus: Bus) -> None:
    with bus.client.get_queue_receiver(SESSIONS) as receiver, pytest.raises(ServiceBusError, match="session"):
        receiver.receive_messages(1, max_wait_time=1)


def request(bus: Bus, operation: str, body: Any) -> Any:
    """Ask the management node for something that the client has no method for."""
    receiver: Any = bus.receiver()

    def answer(status: int, message: Any, description: Any, **_: Any) -> Any:
        return status, description

    return receiver._mgmt_request_response_with_retry(operation.encode(), body, answer)


def test_unknown_management_operation_is_refused_by_name(bus: Bus) -> None:
    status, description = request(bus, "com.microsoft:make-coffee", {})

    assert status == 501
    assert "make-coffee" in str(description)


def test_management_request_that_makes_no_sense_is_answered_and_harms_nobody(bus: Bus) -> None:
    status, _ = request(bus, "com.microsoft:update-disposition", {"disposition-status": "completed"})
    bus.send("still here")

    assert status == 400
    assert str(receive_one(bus.receiver())) == "still here"


def test_disposition_without_a_known_status_is_refused(broker: Broker) -> None:
    from uuid import uuid4

    body = {"disposition-status": "eaten", "lock-tokens": [uuid4()]}
    with pytest.raises(ManagementError, match="eaten"):
        perform("com.microsoft:update-disposition", broker.queue(QUEUE), body)


def test_message_survives_a_cut_connection_and_comes_again_when_its_lock_ends(bus: Bus, broker: Broker) -> None:
    bus.send("x")
    with ServiceBusClient.from_connection_string(broker.connection_string) as client:
        cut = client.get_queue_receiver(QUEUE)
        receive_one(cut)
        broker.drop_connections()
        broker.clock.advance(61)

    with connect(broker.connection_string) as client, client.get_queue_receiver(QUEUE) as receiver:
        assert receive_one(receiver).delivery_count == 1


def test_client_recovers_from_a_detached_link(broker: Broker) -> None:
    with (
        ServiceBusClient.from_connection_string(broker.connection_string, retry_backoff_factor=0.01) as client,
        client.get_queue_sender(QUEUE) as sender,
    ):
        sender.send_messages(ServiceBusMessage("before"))
        broker.detach_links()
        sender.send_messages(ServiceBusMessage("after"))

    assert broker.counts(QUEUE).active == 2


def test_stopped_broker_keeps_its_messages_for_a_later_start(bus: Bus, broker: Broker) -> None:
    bus.send("x")
    port = broker.port

    broker.stop()
    broker.start()

    assert broker.port == port
    with connect(broker.connection_string) as client, client.get_queue_receiver(QUEUE) as receiver:
        assert str(receive_one(receiver)) == "x"


def test_wait_until_gives_up_when_nothing_comes(broker: Broker) -> None:
    assert not broker.wait_until(lambda b: b.counts(QUEUE).active == 1, 0.1)


def test_unknown_queue_name_is_a_key_error(broker: Broker) -> None:
    with pytest.raises(KeyError, match="nowhere"):
        broker.counts("nowhere")


def test_the_broker_tells_how_many_links_receive(bus: Bus, broker: Broker) -> None:
    before = broker.consumers(QUEUE)
    receiver = bus.receiver()
    during = broker.consumers(QUEUE)
    receiver.close()

    assert (before, during) == (0, 1)
    assert broker.wait_until(lambda _: broker.consumers(QUEUE) == 0)


def test_a_client_may_acknowledge_the_answers_that_it_gets(bus: Bus, broker: Broker) -> None:
    """As the vendor's JavaScript client does."""
    connection = BlockingConnection(f"localhost:{broker.port}", timeout=5, allowed_mechs="ANONYMOUS")
    receiver = connection.create_receiver("$cbs")
    sender = connection.create_sender("$cbs")
    question = {"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": "x"}
    sender.send(Message("no token", properties=question, reply_to="cbs"))

    assert receiver.receive().properties["status-code"] == 401
    receiver.accept()
    connection.close()

    bus.send("still there")
    assert broker.counts(QUEUE).active == 1
