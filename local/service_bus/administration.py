"""Queue properties and counts over HTTP: the part of Service Bus's ATOM interface that reads queues, and nothing else.

What `ServiceBusAdministrationClient` needs for get_queue, get_queue_runtime_properties and list_queues. Reads only.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from local.job_router.loopback import LOOPBACK, LoopbackServer, bind_loopback, finish
from local.job_router.wire import MalformedRequestError, Reply, Request, RequestReader
from local.service_bus.claims import ClaimRefusedError, rights_of

if TYPE_CHECKING:
    import socket
    import threading
    from datetime import datetime

    from local.service_bus.broker import Broker
    from local.service_bus.queue import Queue

_ATOM = "http://www.w3.org/2005/Atom"
_SERVICE_BUS = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
_COUNTS = "http://schemas.microsoft.com/netservices/2011/06/servicebus"
_LISTING = re.compile(r"/\$resources/queues/?", re.IGNORECASE)
_NEVER = "P10675199DT2H48M5.4775807S"  # the longest time span of .NET: how the service says that nothing expires
_LONGEST_PAGE = 100


class Administration:
    """An HTTP listener beside the broker's AMQP port, with the broker's queues and keys.

    port: 0 picks a free one, known after `start` and kept over `stop`.
    """

    def __init__(self, broker: Broker, port: int = 0) -> None:
        self.port = port
        self._broker = broker
        self._created = broker.clock.now()
        self._server: LoopbackServer | None = None

    def start(self) -> None:
        bound = bind_loopback(self.port)
        self.port = bound.getsockname()[1]
        self._server = LoopbackServer(bound, self._serve, name="service-bus-administration")
        self._server.start()

    def stop(self) -> None:
        if self._server:
            self._server.stop()
            self._server = None

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def _serve(self, connection: socket.socket, stopping: threading.Event) -> None:
        reader = RequestReader(connection)
        while not stopping.is_set():
            try:
                request = reader.read()
            except MalformedRequestError as problem:
                reply = _error(problem.status, problem.message)
                connection.sendall(reply.head({}, keep_alive=False) + reply.body)
                finish(connection)
                return
            if request is None:
                return
            reply = self._answer(request)
            connection.sendall(reply.head({}, keep_alive=request.keep_alive) + reply.body)
            if not request.keep_alive:
                return

    def _answer(self, request: Request) -> Reply:
        try:
            rights = rights_of(request.headers.get("authorization", ""), self._broker.keys)
        except ClaimRefusedError as error:
            return _error(401, str(error))
        if "Manage" not in rights:
            return _error(401, "Manage,EntityRead claims required for this operation.")
        if request.method != "GET":
            return _error(405, "The embedded broker's administration only reads.")
        if _LISTING.fullmatch(request.path):
            return self._listing(parse_qs(request.query))
        name = unquote(request.path).strip("/")
        with self._broker.lock:
            queue = self._broker.find(name)
            if queue is None or queue.is_dead_letter:
                return _error(404, f"Entity '{name}' was not found.")
            return _atom(self._entry(queue))

    def _listing(self, query: dict[str, list[str]]) -> Reply:
        texts = query.get("$skip", ["0"])[0], query.get("$top", [str(_LONGEST_PAGE)])[0]
        if not all(text.isascii() and text.isdigit() for text in texts):
            return _error(400, "$skip and $top are whole numbers.")
        skip, top = int(texts[0]), min(int(texts[1]), _LONGEST_PAGE)
        with self._broker.lock:
            queues = [self._broker.queue(name) for name in self._broker.queue_names]
            page = "".join(self._entry(queue) for queue in queues[skip : skip + top])
        here = f"{self.endpoint}/$Resources/queues"
        links = f'<link rel="self" href="{here}?$skip={skip}&amp;$top={top}"/>'
        if skip + top < len(queues):
            links += f'<link rel="next" href="{here}?$skip={skip + top}&amp;$top={top}"/>'
        head = f'<title type="text">Queues</title><id>{here}</id>{_tag("updated", self._created)}'
        return _atom(f'<feed xmlns="{_ATOM}">{head}{links}{page}</feed>')

    def _entry(self, queue: Queue) -> str:
        name, moment = escape(queue.options.name), _tag("published", self._created) + _tag("updated", self._created)
        properties = "".join(_tag(tag, value) for tag, value in _properties(queue, self._created).items())
        return (
            f'<entry xmlns="{_ATOM}"><id>{self.endpoint}/{name}</id><title type="text">{name}</title>{moment}'
            f'<content type="application/xml"><QueueDescription xmlns="{_SERVICE_BUS}" '
            'xmlns:i="http://www.w3.org/2001/XMLSchema-instance">'
            f"{properties}{_count_details(queue)}</QueueDescription></content></entry>"
        )


def _properties(queue: Queue, created: datetime) -> dict[str, Any]:
    options, counts = queue.options, queue.counts()
    seconds = options.default_time_to_live_seconds
    window = options.duplicate_detection_window_seconds
    everything = [*queue.entries.values(), *queue.dead_letters.entries.values()]
    newest = next(reversed(queue.entries.values()), None)
    bodies = (entry.message.body for entry in everything)
    return {
        "LockDuration": timedelta(seconds=options.lock_duration_seconds),
        "MaxSizeInMegabytes": 1024,
        "RequiresDuplicateDetection": window is not None,
        "RequiresSession": options.requires_session,
        "DefaultMessageTimeToLive": timedelta(seconds=seconds) if seconds else _NEVER,
        "DeadLetteringOnMessageExpiration": options.dead_letter_on_expiration,
        "DuplicateDetectionHistoryTimeWindow": timedelta(seconds=window or 600),
        "MaxDeliveryCount": options.max_delivery_count,
        "EnableBatchedOperations": True,
        # Bodies alone: close enough to show, and cheap enough to ask for with 100,000 messages in the queue.
        "SizeInBytes": sum(len(body) for body in bodies if isinstance(body, bytes | str)),
        "MessageCount": counts.active + counts.locked + counts.deferred + counts.scheduled + counts.dead_lettered,
        "Status": "Active",
        "CreatedAt": created,
        "UpdatedAt": created,
        "AccessedAt": newest.enqueued if newest else created,
        "EnablePartitioning": False,
    }


def _count_details(queue: Queue) -> str:
    counts = queue.counts()
    numbers = {
        "ActiveMessageCount": counts.active + counts.locked + counts.deferred,
        "DeadLetterMessageCount": counts.dead_lettered,
        "ScheduledMessageCount": counts.scheduled,
        "TransferMessageCount": 0,
        "TransferDeadLetterMessageCount": 0,
    }
    details = "".join(_tag(f"d2p1:{name}", number) for name, number in numbers.items())
    return f'<CountDetails xmlns:d2p1="{_COUNTS}">{details}</CountDetails>'


def _tag(name: str, value: Any) -> str:
    match value:
        case bool():
            text = str(value).lower()
        case timedelta():
            text = f"P{value.days}DT{value.seconds}.{value.microseconds:06}S"
        case int() | str():
            text = str(value)
        case _:  # a time
            text = value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"<{name}>{escape(text)}</{name}>"


def _atom(document: str) -> Reply:
    return Reply(200, document.encode(), content_type="application/atom+xml;type=entry;charset=utf-8")


def _error(status: int, detail: str) -> Reply:
    document = f"<Error><Code>{status}</Code><Detail>{escape(detail)}</Detail></Error>"
    return Reply(status, document.encode(), content_type="application/xml; charset=utf-8")
