"""The AMQP side: links, credit, transfers and dispositions, on the proton container's own thread."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from proton import Condition, Delivery, Endpoint, Message, Terminus
from proton.handlers import EndpointStateHandler, MessagingHandler

from local.service_bus import codec
from local.service_bus.claims import ClaimRefusedError, rights_of
from local.service_bus.management import LOCK_LOST, LOCK_LOST_TEXT, ManagementError, perform, right_for
from local.service_bus.queue import LockLostError
from local.service_bus.refusals import MAX_MESSAGE_SIZE, refusal_of_link, refusal_of_messages

if TYPE_CHECKING:
    from proton import Event, Link, Receiver, Sender

    from local.service_bus.broker import Broker
    from local.service_bus.queue import Queue

_CREDIT = 500
_TICK_SECONDS = 0.05


class Server(MessagingHandler):  # type: ignore[misc]  # proton ships no types
    """One per broker. Every method runs on the container's thread, under the broker's lock where state is touched."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(prefetch=0, auto_accept=False, auto_settle=False)
        # Transfers are read raw (a batch is several messages), so proton's own decoding handlers are left out.
        self.handlers: list[Any] = [handler for handler in self.handlers if isinstance(handler, EndpointStateHandler)]
        self._broker = broker
        self._rights: dict[Any, set[str]] = {}
        self._consumers: dict[str, tuple[Sender, Queue]] = {}
        self._replies: dict[tuple[Any, str], Sender] = {}
        self._inbound: dict[str, Receiver] = {}
        self._refused: dict[str, tuple[str, str]] = {}
        self._partial: dict[str, bytes] = {}  # by link: the transfers of one delivery follow each other on theirs
        self._calls: deque[Any] = deque()

    def on_start(self, event: Event) -> None:
        self._container = event.container
        acceptor = event.container.listen(f"127.0.0.1:{self._broker.port}")
        self._broker.listening(acceptor)
        event.container.schedule(_TICK_SECONDS, self)

    def on_timer_task(self, event: Event) -> None:
        if self._broker.running:
            event.container.schedule(_TICK_SECONDS, self)
            self.pump()

    def on_call(self, _event: Event) -> None:
        """Something that another thread wants done on this one."""
        while self._calls:
            self._calls.popleft()()
        self.pump()

    def consumers(self, queue: Queue) -> int:
        return sum(consumed is queue for _, consumed in list(self._consumers.values()))

    def connections(self) -> list[Any]:
        return list(self._rights)

    def detach_all(self, condition: str) -> None:
        for link in [*(link for link, _ in self._consumers.values()), *self._replies.values(), *self._inbound.values()]:
            link.condition = Condition(condition, "The link was closed by the broker because it was idle.")
            link.close()
        self._consumers.clear()
        self._replies.clear()
        self._inbound.clear()

    def call_later(self, function: Any) -> None:
        self._calls.append(function)

    def on_connection_opening(self, event: Event) -> None:
        event.connection.container = "embedded-broker"
        self._rights[event.connection] = set()

    def on_transport_closed(self, event: Event) -> None:
        connection = event.connection
        self._rights.pop(connection, None)
        for name, (link, _) in list(self._consumers.items()):
            if link.connection == connection:
                del self._consumers[name]
        for key in [key for key in self._replies if key[0] == connection]:
            del self._replies[key]
        for name, inbound in list(self._inbound.items()):
            if inbound.connection == connection:
                del self._inbound[name]

    def on_link_opening(self, event: Event) -> None:
        link = event.link
        address = _address(link)
        rights = self._rights.get(link.connection, set())
        refusal = refusal_of_link(self._broker.find(address.removesuffix("/$management")), address, rights, link)
        if refusal:
            # Answered with no terminus, which is how AMQP says that a detach with the reason follows (part 2, 2.6.3).
            if link.is_receiver:  # a client that saw a target would send at once, and lose the reason over that
                link.target.type = Terminus.UNSPECIFIED
            self._refused[_key(link)] = refusal
            return
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        if link.is_receiver:
            link.max_message_size = MAX_MESSAGE_SIZE
            link.open()
            link.flow(_CREDIT)
            self._inbound[_key(link)] = link
        elif address == "$cbs" or address.endswith("/$management"):
            self._replies[(link.connection, address)] = link
        else:
            self._consumers[_key(link)] = (link, self._broker.queue(address))

    def on_link_local_open(self, event: Event) -> None:
        """proton answers an attach after `on_link_opening`; only then can a refused link be closed."""
        refusal = self._refused.pop(_key(event.link), None)
        if refusal:
            event.link.condition = Condition(*refusal)
            event.link.close()

    def on_link_closed(self, event: Event) -> None:
        self._forget(event.link)

    def on_link_remote_detach(self, event: Event) -> None:
        self._forget(event.link)
        event.link.detach()

    def on_link_flow(self, event: Event) -> None:
        if event.link.is_sender:
            self.pump()
            if event.link.drain_mode:
                event.link.drained()

    def on_delivery(self, event: Event) -> None:
        delivery, link = event.delivery, event.link
        if link.state & Endpoint.LOCAL_CLOSED:
            return  # sent before the peer saw the link close: as good as never arrived
        if link.is_receiver:
            if delivery.readable:
                self._read(link, delivery)
        elif delivery.updated:
            with self._broker.lock:
                self._settle(link, delivery)
            self.pump()

    def pump(self) -> None:
        """Hand out what is ready to whoever has credit."""
        with self._broker.lock:
            self._broker.tick()  # what expires in a queue may be what a reader of its dead letters waits for
            for link, queue in list(self._consumers.values()):
                while link.credit > 0 and link.state & Endpoint.LOCAL_ACTIVE:
                    entry = queue.take()
                    if entry is None:
                        break
                    self._deliver(link, queue, entry)
            self._broker.changed()

    def _deliver(self, link: Sender, queue: Queue, entry: Any) -> None:
        delivery = link.delivery(entry.tag)
        link.stream(codec.encode(entry))
        link.advance()
        if link.snd_settle_mode == link.SND_SETTLED or link.remote_snd_settle_mode == link.SND_SETTLED:
            delivery.settle()
            queue.complete(entry.tag)

    def _read(self, link: Receiver, delivery: Delivery) -> None:
        data = self._partial.pop(_key(link), b"") + (link.recv(delivery.pending) or b"")
        if delivery.partial:
            self._partial[_key(link)] = data
            return
        link.advance()
        address = _address(link)
        if address == "$cbs":
            self._answer(link, "$cbs", codec.decode(data), self._put_token)
        elif address.endswith("/$management"):
            self._answer(link, address, codec.decode(data), self._manage)
        else:
            self._accept(link, delivery, data)
            link.flow(1)
            self.pump()
            return
        delivery.update(Delivery.ACCEPTED)
        delivery.settle()
        link.flow(1)
        self.pump()

    def _accept(self, link: Receiver, delivery: Delivery, data: bytes) -> None:
        queue, messages = self._broker.queue(_address(link)), codec.messages_in(data)
        refusal = self._broker.send_refusal or refusal_of_messages(queue, messages, len(data))
        if refusal:
            # With all three fields of an AMQP error: azure-servicebus stumbles over one without the last.
            delivery.local.condition = Condition(*refusal, {"embedded-broker": True})
            delivery.update(Delivery.REJECTED)
        else:
            with self._broker.lock:
                for message in messages:
                    queue.send(message)
            delivery.update(Delivery.ACCEPTED)
        delivery.settle()

    def _answer(self, link: Receiver, address: str, request: Message, handle: Any) -> None:
        reply = self._replies.get((link.connection, address))
        with self._broker.lock:
            try:
                body = handle(link, address, request)
                answer = codec.status_message(
                    request, 202 if address == "$cbs" else 200, "OK", None, body, address == "$cbs"
                )
            except ManagementError as error:
                answer = codec.status_message(
                    request, error.status, error.description, error.condition, {}, address == "$cbs"
                )
        if reply is not None:
            reply.send(answer)

    def _put_token(self, link: Receiver, _address: str, request: Message) -> Any:
        token = request.body if isinstance(request.body, str) else bytes(request.body).decode()
        kind = str((request.properties or {}).get("type", ""))
        if kind == "jwt" and self._broker.verify_jwt and self._broker.verify_jwt(token):
            self._rights[link.connection] |= {"Listen", "Send"}
            return None
        try:
            self._rights[link.connection] |= rights_of(token, self._broker.keys)
        except ClaimRefusedError as error:
            raise ManagementError(401, "amqp:unauthorized-access", str(error)) from None
        return None

    def _manage(self, link: Receiver, address: str, request: Message) -> Any:
        operation = str((request.properties or {}).get("operation", ""))
        right = right_for(operation)
        if right not in self._rights[link.connection]:
            raise ManagementError(401, "amqp:unauthorized-access", f"Unauthorized access: '{right}' is required.")
        if self._broker.send_refusal and operation.endswith(":schedule-message"):
            raise ManagementError(403, *self._broker.send_refusal)
        return perform(operation, self._broker.queue(address.removesuffix("/$management")), request.body)

    def _settle(self, link: Sender, delivery: Delivery) -> None:
        if _key(link) not in self._consumers:
            delivery.settle()  # an answer of $cbs or $management, which some clients acknowledge
            return
        queue, tag = self._broker.queue(_address(link)), delivery.tag
        try:
            match delivery.remote_state:
                case Delivery.ACCEPTED:
                    queue.complete(tag)
                case Delivery.REJECTED:
                    info = (delivery.remote.condition.info or {}) if delivery.remote.condition else {}
                    queue.dead_letter(tag, info.get("DeadLetterReason"), info.get("DeadLetterErrorDescription"))
                case Delivery.MODIFIED if delivery.remote.undeliverable:
                    queue.defer(tag)
                case Delivery.RELEASED:
                    # A client gives back what came too late for its call; Service Bus does not count that as a
                    # delivery (its team in amqpnetlite issue 342).
                    queue.give_back(tag)
                case Delivery.MODIFIED:
                    queue.abandon(tag)
                case _:
                    return
            delivery.update(delivery.remote_state)
        except LockLostError:
            delivery.local.condition = Condition(LOCK_LOST, LOCK_LOST_TEXT)
            delivery.update(Delivery.REJECTED)
        delivery.settle()

    def _forget(self, link: Link) -> None:
        self._consumers.pop(_key(link), None)
        self._inbound.pop(_key(link), None)
        self._partial.pop(_key(link), None)


def _key(link: Link) -> str:
    """A name for a link that is unique while its connection lives."""
    return f"{link.connection.remote_container}/{link.name}"


def _address(link: Link) -> str:
    """The entity's path: the Python SDK gives a whole URL, the JavaScript SDK a bare path, on either terminus."""
    terminus = link.remote_target if link.is_receiver else link.remote_source
    address = terminus.address or ""
    if "://" in address:
        address = address.split("://", 1)[1].partition("/")[2]
    return address.strip("/")
