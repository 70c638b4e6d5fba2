"""The embedded Job Router: an HTTP server on 127.0.0.1 with jobs, real authentication and scripted faults."""

import base64
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Self, Unpack

from local.job_router.api import JobRouterApi
from local.job_router.authentication import Authenticator
from local.job_router.errors import DIALECTS, Dialect
from local.job_router.exchange import Service, serve_connection
from local.job_router.faults import FaultScript
from local.job_router.jobs import Job, JobFields, JobStore
from local.job_router.loopback import LOOPBACK, LoopbackServer, bind_loopback
from local.job_router.recording import RecordedRequest, Recorder

# Known to everyone who reads this, and of use nowhere but here.
DEVELOPMENT_ACCESS_KEY = base64.b64encode(b"an access key for local development only").decode()
REFUSAL_STATUSES = (400, 404, 409, 412)
SECOND_CANCEL_STATUSES = (200, 400, 404, 409, 412)


class JobRouter:
    """A stand-in for Azure Communication Services Job Router; development only.

    port: 0 for any free one; kept over `stop` and `start`.
    access_key: base64, as in a connection string.
    clock: the service's time, for signatures' dates, notes and records; the real time by default.
    tls: serve https with this context.
    token_verifier: judges bearer tokens; without it every one is refused.
    service_time_seconds: how long each answer takes, as real work would.
    refusal_status: 400, 404, 409 or 412, for a cancel of a job that is closed or completed. Nobody has seen which.
    second_cancel: 200, 400, 404, 409 or 412, for a cancel of a cancelled job. Nobody has seen which.
    dialect: `recorded`, as the service was seen to answer, or `specified`, as its OpenAPI file says (errors.py).
    record: keep the latest requests for `requests`; False for load tests.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        access_key: str = DEVELOPMENT_ACCESS_KEY,
        clock: Callable[[], datetime] | None = None,
        tls: ssl.SSLContext | None = None,
        token_verifier: Callable[[str], bool] | None = None,
        service_time_seconds: float = 0.0,
        refusal_status: int = 409,
        second_cancel: int = 409,
        dialect: Dialect = "recorded",
        record: bool = True,
    ) -> None:
        if refusal_status not in REFUSAL_STATUSES:
            raise ValueError(f"refusal_status is {refusal_status!r}. Use 400, 404, 409 or 412.")
        if second_cancel not in SECOND_CANCEL_STATUSES:
            raise ValueError(f"second_cancel is {second_cancel!r}. Use 200, 400, 404, 409 or 412.")
        if dialect not in DIALECTS:
            raise ValueError(f"dialect is {dialect!r}. Use recorded or specified.")
        self.faults = FaultScript()
        self._port = port
        self._access_key = access_key
        self._clock = clock or _utc_now
        self._tls = tls
        self._service_time_seconds = service_time_seconds
        self._dialect = dialect
        self._jobs = JobStore(second_cancel_is_ok=second_cancel == 200)
        self._api = JobRouterApi(
            self._jobs, Authenticator(access_key, token_verifier), self._clock, refusal_status, second_cancel
        )
        self._recorder = Recorder(keep=record)
        # Re-entrant, because `stop` is `down` and a little more.
        self._lifecycle = threading.RLock()
        self._server: LoopbackServer | None = None
        self._reserved: socket.socket | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; nothing happens when it does already."""
        with self._lifecycle:
            if self._server is not None:
                return
            bound = self._reserved or bind_loopback(self._port)
            self._reserved = None
            self._port = bound.getsockname()[1]
            service = Service(
                self._api,
                self.faults,
                self._recorder,
                self._clock,
                self.endpoint,
                self._service_time_seconds,
                self._dialect,
            )
            self._server = LoopbackServer(
                bound,
                partial(serve_connection, service),
                name="job-router",
                tls=self._tls,
                on_accept=self._recorder.connection_accepted,
            )
            self._server.start()

    def stop(self) -> None:
        """Close the listener and every connection, end delays, wait for the threads, free the port."""
        with self._lifecycle:
            if self._server is not None:
                self._server.stop()
                self._server = None
            if self._reserved is not None:
                self._reserved.close()
                self._reserved = None

    def down(self) -> None:
        """Be unreachable: open connections are closed, new ones refused, until `up`."""
        with self._lifecycle:
            if self._server is None:
                return
            self._server.stop()
            self._server = None
            # Kept, not listening: nobody else takes the port meanwhile, and connecting to it is refused.
            self._reserved = bind_loopback(self._port)

    def up(self) -> None:
        """Listen again on the same port."""
        self.start()

    def add_job(self, job_id: str, status: str = "queued", **fields: Unpack[JobFields]) -> Job:
        """Add a job, or replace the one with this id. ValueError for a status the service does not know."""
        return self._jobs.add(job_id, status, self._clock(), **fields)

    def job(self, job_id: str) -> Job:
        """The job as it is now. Raises JobNotFoundError."""
        return self._jobs.get(job_id)

    def jobs(self) -> list[Job]:
        """All jobs as they are now, in the order they were added."""
        return self._jobs.all()

    @property
    def port(self) -> int:
        """The port listened on; RuntimeError before the first start when any free one was asked for."""
        if self._port == 0:
            raise RuntimeError("The port is not known yet. Call start() first.")
        return self._port

    @property
    def endpoint(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://{LOOPBACK}:{self.port}"

    @property
    def connection_string(self) -> str:
        return f"endpoint={self.endpoint}/;accesskey={self._access_key}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The latest requests, oldest first; complete before the client sees the answer."""
        return self._recorder.requests

    @property
    def requests_handled(self) -> int:
        """How many requests were read and dealt with, the faulty ones included."""
        return self._recorder.requests_handled

    @property
    def connections_accepted(self) -> int:
        return self._recorder.connections_accepted


def _utc_now() -> datetime:
    return datetime.now(UTC)
