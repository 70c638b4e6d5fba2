"""One connection's requests and answers, and how each scripted fault looks on the wire."""

import logging
import re
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime

from local.job_router.api import JobRouterApi, parse_route
from local.job_router.errors import Dialect, code_for_status, error_reply, in_dialect
from local.job_router.faults import Fault, FaultScript
from local.job_router.loopback import finish, reset
from local.job_router.recording import Recorder
from local.job_router.wire import MalformedRequestError, Reply, Request, RequestReader, chunked

# A dripping body is padded (JSON allows leading spaces) to this many bytes, so that the pause between two of
# them stays shorter than a client's read timeout while the whole takes longer.
DRIPPED_BYTES = 20
_VERSIONS = "2021-04-07-preview1, 2021-10-20-preview2, 2022-07-18-preview, 2023-11-01, 2024-01-18-preview"
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """What every connection of one server shares."""

    api: JobRouterApi
    faults: FaultScript
    recorder: Recorder
    clock: Callable[[], datetime]
    endpoint: str
    service_time_seconds: float
    dialect: Dialect


def serve_connection(service: Service, connection: socket.socket, stopping: threading.Event) -> None:
    """Answer requests until the client closes, a fault ends the connection, or the server stops."""
    client_port: int = connection.getpeername()[1]
    reader = RequestReader(connection)
    while not stopping.is_set():
        try:
            request = reader.read()
        except MalformedRequestError as problem:
            error = error_reply(problem.status, code_for_status(problem.status), problem.message)
            reply = in_dialect(error, service.dialect, "/")
            connection.sendall(reply.head(_service_headers(service, None), keep_alive=False) + reply.body)
            finish(connection)
            return
        if request is None or not _Exchange(service, connection, stopping, request, client_port).run():
            return


@dataclass(frozen=True, slots=True)
class _Exchange:
    service: Service
    connection: socket.socket
    stopping: threading.Event
    request: Request
    client_port: int

    def run(self) -> bool:
        """Whether the connection stays open for another request."""
        request = self.request
        route = parse_route(request.path)
        fault = self.service.faults.take(request.method, None if route is None else route.job_id)
        if fault is not None and fault.kind in ("reset_before", "close"):
            self._record(None)
            if not self._wait(fault.delay_seconds):
                return False
            if fault.kind == "reset_before":
                reset(self.connection)
            return False
        if fault is not None and fault.replaces_answer:
            reply = fault.reply(self.service.endpoint)
        else:
            try:
                reply = self.service.api.answer(request, route)
            except Exception:
                logger.exception("%s %s could not be answered", request.method, request.path)
                reply = error_reply(500, "InternalServerError", "The stand-in failed; its log says how.")
        if fault is not None and fault.kind == "reset_after":
            self._record(None)
            if self._wait(fault.delay_seconds):
                reset(self.connection)
            return False
        # Before any waiting: a client that gives up meanwhile still finds its request in the record.
        self._record(reply.status)
        return self._wait(self.service.service_time_seconds) and self._send(reply, fault)

    def _send(self, reply: Reply, fault: Fault | None) -> bool:
        keep_alive = self.request.keep_alive
        kind = None if fault is None else fault.kind
        delay_seconds = 0.0 if fault is None else fault.delay_seconds
        # A body that a fault gives is what something in between answers: it has none of the service's headers.
        is_services = fault is None or not fault.replaces_answer or reply.error is not None
        reply = in_dialect(reply, self.service.dialect, self.request.path)
        if kind == "slow_body":
            reply = replace(reply, body=reply.body.rjust(DRIPPED_BYTES))
        is_chunked = is_services and self.service.dialect == "recorded" and bool(reply.body)
        headers = _service_headers(self.service, self.request) if is_services else _date(self.service)
        head = reply.head(headers, keep_alive=keep_alive, is_chunked=is_chunked)
        body = b"" if self.request.method == "HEAD" else chunked(reply.body) if is_chunked else reply.body
        if kind == "slow_body":
            self.connection.sendall(head)
            return self._drip(body, delay_seconds) and keep_alive
        if fault is not None and kind == "interim":
            self.connection.sendall(Reply(fault.status or 103).interim())
        if not self._wait(delay_seconds):
            return False
        if kind == "half_body":
            self.connection.sendall(head + body[: len(body) // 2])
            return False
        self.connection.sendall(head + body)
        return keep_alive

    def _drip(self, body: bytes, seconds: float) -> bool:
        for byte in body:
            if not self._wait(seconds / len(body)):
                return False
            self.connection.sendall(bytes([byte]))
        return True

    def _wait(self, seconds: float) -> bool:
        """Wait; False when the server stopped meanwhile."""
        return seconds <= 0 or not self.stopping.wait(seconds)

    def _record(self, status: int | None) -> None:
        self.service.recorder.add(self.service.clock(), self.request, status, self.client_port)


def _date(service: Service) -> dict[str, str]:
    return {"Date": format_datetime(service.clock().astimezone(UTC), usegmt=True)}


def _service_headers(service: Service, request: Request | None) -> dict[str, str]:
    sent = request.headers if request else {}
    if service.dialect == "recorded":
        traced = _TRACE_PARENT.fullmatch(sent.get("traceparent", ""))
        return {
            **_date(service),
            "trace-id": traced[1] if traced else str(uuid.uuid4()),
            "x-azure-ref": f"{service.clock().astimezone(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex}",
            "X-Cache": "CONFIG_NOCACHE",
            "api-supported-versions": _VERSIONS,
        }
    headers = {**_date(service), "x-ms-request-id": str(uuid.uuid4())}
    if "x-ms-client-request-id" in sent:
        headers["x-ms-client-request-id"] = sent["x-ms-client-request-id"]
    return headers
