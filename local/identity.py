"""A stand-in for the managed-identity endpoint that App Service and Functions give an app; development only.

The real azure-identity gets its tokens here when the two variables of `IdentityEndpoint.environment` are
set. The protocol: https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

import base64
import hmac
import json
import secrets
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import parse_qs

from local.job_router.loopback import LOOPBACK, LoopbackServer, bind_loopback, finish
from local.job_router.recording import RecordedRequest, Recorder
from local.job_router.wire import MalformedRequestError, Reply, Request, RequestReader

# The scope https://communication.azure.com//.default without /.default: the final slash is the audience's own.
COMMUNICATION_AUDIENCE = "https://communication.azure.com/"
API_VERSION = "2019-08-01"
_PATH = "/msi/token"


@dataclass(frozen=True, slots=True)
class _Issued:
    resource: str
    expires_at: datetime


class IdentityEndpoint:
    """Issues tokens over HTTP and remembers them.

    lifetime_seconds: how long tokens are valid; azure-identity asks anew when fewer than 300 are left.
    clock: the real time by default.
    """

    def __init__(
        self, *, port: int = 0, lifetime_seconds: int = 3600, clock: Callable[[], datetime] | None = None
    ) -> None:
        self._port = port
        self._lifetime = timedelta(seconds=lifetime_seconds)
        self._clock = clock or (lambda: datetime.now(UTC))
        self._header = secrets.token_hex(16)
        self._recorder = Recorder()
        self._lock = threading.Lock()
        self._issued: dict[str, _Issued] = {}
        self._tokens_issued = 0
        self._failures: list[int] = []
        self._server: LoopbackServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        if self._server is not None:
            return
        bound = bind_loopback(self._port)
        self._port = bound.getsockname()[1]
        self._server = LoopbackServer(bound, self._serve, name="identity", on_accept=self._recorder.connection_accepted)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables under which azure-identity finds this endpoint."""
        if self._port == 0:
            raise RuntimeError("The port is not known yet. Call start() first.")
        return {
            "IDENTITY_ENDPOINT": f"http://{LOOPBACK}:{self._port}{_PATH}",
            "IDENTITY_HEADER": self._header,
        }

    @property
    def requests(self) -> list[RecordedRequest]:
        return self._recorder.requests

    @property
    def tokens_issued(self) -> int:
        with self._lock:
            return self._tokens_issued

    def verify(self, token: str, audience: str | None = None) -> bool:
        """Whether the token was issued here, is neither expired nor revoked, and is for this audience.

        Audiences are compared exactly, as services compare the `aud` claim: the final slash counts. None:
        any audience.
        """
        with self._lock:
            issued = self._issued.get(token)
        if issued is None or issued.expires_at <= self._clock():
            return False
        return audience is None or issued.resource == audience

    def revoke_all(self) -> None:
        """Tokens issued so far are no longer valid."""
        with self._lock:
            self._issued.clear()

    def fail_next(self, count: int, status: int = 500) -> None:
        """Answer the next `count` requests with `status` and no token."""
        with self._lock:
            self._failures += [status] * count

    def _serve(self, connection: socket.socket, stopping: threading.Event) -> None:
        client_port: int = connection.getpeername()[1]
        reader = RequestReader(connection)
        while not stopping.is_set():
            try:
                request = reader.read()
            except MalformedRequestError as problem:
                reply = _failure(problem.status, problem.message)
                connection.sendall(reply.head({}, keep_alive=False) + reply.body)
                finish(connection)
                return
            if request is None:
                return
            reply = self._answer(request)
            self._recorder.add(self._clock(), request, reply.status, client_port)
            connection.sendall(reply.head({}, keep_alive=request.keep_alive) + reply.body)
            if not request.keep_alive:
                return

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            scripted = self._failures.pop(0) if self._failures else None
        if scripted is not None:
            return _failure(scripted, f"Scripted answer {scripted}.")
        if request.path.rstrip("/") != _PATH:
            return _failure(404, f"Only {_PATH} is served here.")
        if request.method != "GET":
            return _failure(405, f"Use GET for {_PATH}.")
        if not hmac.compare_digest(request.headers.get("x-identity-header", "").encode(), self._header.encode()):
            return _failure(401, "X-IDENTITY-HEADER is missing or not the value of IDENTITY_HEADER.")
        query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        if query.get("api-version") != API_VERSION:
            return _failure(400, f"api-version must be {API_VERSION}.")
        if "resource" not in query:
            return _failure(400, "resource is missing: the audience the token is for.")
        return Reply(200, json.dumps(self._issue(query["resource"], query.get("client_id"))).encode())

    def _issue(self, resource: str, client_id: str | None) -> dict[str, Any]:
        now = self._clock()
        expires_at = now + self._lifetime
        # Shaped like a JWT, for readers that look into it; what makes it valid is being remembered here.
        claims = {
            "aud": resource,
            "appid": client_id or "system-assigned",
            "iat": int(now.timestamp()),
            "exp": int(expires_at.timestamp()),
        }
        token = f"{_encode({'alg': 'none', 'typ': 'JWT'})}.{_encode(claims)}.{secrets.token_urlsafe(32)}"
        with self._lock:
            self._issued[token] = _Issued(resource, expires_at)
            self._tokens_issued += 1
        answer = {
            "access_token": token,
            "expires_on": str(claims["exp"]),  # a string, as the platform sends it
            "resource": resource,
            "token_type": "Bearer",
        }
        return answer if client_id is None else {**answer, "client_id": client_id}


def _failure(status: int, message: str) -> Reply:
    return Reply(status, json.dumps({"statusCode": status, "message": message}).encode())


def _encode(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
