"""The client of Azure Communication Services Job Router: cancel a job, read a job's status.

Knows HTTP and the API's shapes; knows nothing of messages, and judges nothing: it answers or raises.
Source of the API: "Job Router Operations - Cancel Job" and "Get Job", version 2023-11-01.
"""

from __future__ import annotations

import re
import ssl
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import requests
from requests.exceptions import InvalidSchema, InvalidURL
from urllib3.exceptions import HTTPError, LocationValueError, ReadTimeoutError

from shared.job_router_auth import AccessKeyAuth, EntraIdAuth, JobRouterAuth
from shared.job_router_endpoint import normalise_endpoint, parse_connection_string
from shared.job_router_error import (
    BYTE_ORDER_MARK,
    CLIENT_REQUEST_ID,
    CONNECTION_FAILED,
    ERROR_KEYS,
    NOT_JOB_ROUTER,
    TIMEOUT,
    TLS_VERIFICATION_FAILED,
    UNREADABLE,
    JobRouterError,
    RequestId,
    code_or_none,
    error_from_response,
    repeats_long,
    request_id_of,
)
from shared.one_host_adapter import CaBundleError, OneHostAdapter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shared.cancellation import CancellationRequest

__all__ = ["AccessKeyAuth", "EntraIdAuth", "JobRouterClient", "JobRouterError", "normalise_endpoint"]

# Bytes; a stray download must not fill memory. A job may hold many notes, each as long as a message.
_BODY_LIMIT, _JOB_LIMIT = 256 * 1024, 4 * 1024 * 1024
# Seconds for one call, whatever the timeouts and the credential take: with three attempts, the reading back and the
# settlement a delivery stays inside its time (DELIVERY_SECONDS in processing.py).
CALL_SECONDS = 90.0
# As the API documents them: no note hides one of these.
_STATUSES = frozenset(
    {
        *("pendingclassification", "queued", "assigned", "completed", "closed", "cancelled", "classificationfailed"),
        *("created", "pendingschedule", "scheduled", "schedulefailed", "waitingforactivation"),
    }
)
_ERROR_MEMBERS = frozenset(key.lower() for key in ERROR_KEYS)
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")  # what http.client says of a proxy's answer


class JobRouterClient:
    """One pooled session for all threads of a worker.

    Args:
        endpoint: `https://…` of the Communication Services resource; http only to loopback addresses.
        auth: AccessKeyAuth or EntraIdAuth; asked anew for each attempt.
        connect_timeout, read_timeout: seconds; the read timeout bounds the whole answer, headers and body.
        pool_size: connections kept open; as many as threads will call.

    Raises:
        ValueError: the endpoint is not one that a key or token may be sent to.
    """

    def __init__(
        self,
        endpoint: str,
        auth: JobRouterAuth,
        *,
        api_version: str = "2023-11-01",
        connect_timeout: float = 5.0,
        read_timeout: float = 15.0,
        pool_size: int = 16,
    ) -> None:
        self._endpoint = normalise_endpoint(endpoint)
        self._auth = auth
        self._query = f"?api-version={quote(api_version, safe='')}"
        self._timeout = (connect_timeout, read_timeout)
        # The adapter alone: a Session adds redirects, cookies, hooks and .netrc, none of which may happen here.
        self._adapter = OneHostAdapter(pool_connections=1, pool_maxsize=pool_size)
        # Proxies and the CA bundle from the environment, read once instead of at each call.
        with requests.Session() as session:
            self._environment: Any = session.merge_environment_settings(self._endpoint, {}, True, None, None)

    @classmethod
    def from_connection_string(cls, connection_string: str, **options: object) -> JobRouterClient:
        """A client from `endpoint=https://…;accesskey=…`; ValueError names what is missing, never the key."""
        endpoint, key = parse_connection_string(connection_string)
        return cls(endpoint, AccessKeyAuth(key), **options)  # type: ignore[arg-type]  # the caller's keywords

    def close(self) -> None:
        """Close the pooled connections."""
        self._adapter.close()

    def cancel_job(self, request: CancellationRequest, *, trace_parent: str | None = None) -> RequestId:
        """Cancel a job; returns the id by which the service's support finds the call.

        Raises:
            JobRouterError: for every other end, from a refusal to a dead network. It repeats no note.
        """
        fields = {"note": request.note, "dispositionCode": request.disposition_code}
        body = msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
        path = f"{_segment(request.job_id)}:cancel"
        return self._call("POST", path, body, trace_parent, request.private_texts)[1]

    def get_job_status(self, job_id: str, *, trace_parent: str | None = None, private: tuple[str, ...] = ()) -> str:
        """The job's status as the service spells it, such as `queued` or `cancelled`.

        private: what an error may not repeat; the job that is read may hold a note.

        Raises:
            JobRouterError: as for cancel_job.
        """
        job, request_id = self._call("GET", _segment(job_id), None, trace_parent, private)
        status = code_or_none(job.get("status"))
        if status is None:
            raise JobRouterError(200, NOT_JOB_ROUTER, "The answer is not a job with a status.", request_id=request_id)
        return status if status.casefold() in _STATUSES or not repeats_long(status, private) else UNREADABLE

    def _call(
        self, method: str, path: str, body: bytes | None, trace_parent: str | None, private: tuple[str, ...]
    ) -> tuple[dict[str, object], RequestId]:
        request = self._prepared(method, path, body, trace_parent)
        client_request_id = request.headers[CLIENT_REQUEST_ID]
        ends = time.monotonic() + CALL_SECONDS
        status, headers, content = self._attempt(request, ends)
        if status == 401 and self._auth.refresh(request):
            status, headers, content = self._attempt(request, ends)
        if not 200 <= status < 300:
            raise error_from_response(status, headers, content, client_request_id, lambda: datetime.now(UTC), private)
        request_id = request_id_of(headers, client_request_id, private)
        return _success(status, content, request_id), request_id

    def _prepared(
        self, method: str, path: str, body: bytes | None, trace_parent: str | None
    ) -> requests.PreparedRequest:
        # Filled directly: requests' own preparing reads the environment, .netrc and cookies at every call.
        request = requests.PreparedRequest()
        request.method = method
        request.url = f"{self._endpoint}/routing/jobs/{path}{self._query}"
        # A plain dict, each name in one spelling: requests' own kind of dictionary is slow, and copied on the way.
        request.headers = {  # type: ignore[assignment]
            "Accept": "application/json",
            "User-Agent": "cancel-job-function",
            CLIENT_REQUEST_ID: str(uuid.uuid4()),
        }
        if body is not None:
            request.body = body
            request.headers["Content-Type"] = "application/json"
            request.headers["Content-Length"] = str(len(body))
        if trace_parent:
            request.headers["traceparent"] = trace_parent
        return request

    def _attempt(self, request: requests.PreparedRequest, ends: float) -> tuple[int, Mapping[str, str], bytes]:
        self._auth(request)
        request_id = RequestId(CLIENT_REQUEST_ID, request.headers[CLIENT_REQUEST_ID])
        connect, read = self._timeout
        left = max(1.0, ends - time.monotonic())
        timeout = (min(connect, left / 2), min(read, left / 2)) if connect + read > left else self._timeout
        try:
            response = self._adapter.send(request, timeout=timeout, **self._environment)
            try:
                if response.status_code < 200:
                    # The true answer is still to come on this connection, where the next request would take it for
                    # its own: so nothing is read, and `close` ends the connection.
                    message = f"Something in between sent an interim answer ({response.status_code}) as the last one."
                    raise JobRouterError(None, CONNECTION_FAILED, message, request_id=request_id)
                return (
                    response.status_code,
                    response.headers,
                    b"".join(_body(response, _JOB_LIMIT if request.method == "GET" else _BODY_LIMIT)),
                )
            finally:
                response.close()
        # requests' errors are OSErrors; reading the body raises urllib3's; a ValueError is about a URL, also a proxy's.
        except (OSError, HTTPError, ValueError) as error:
            # `from None`: the text of an error may quote what was answered.
            raise _network_error(error, request_id) from None


def _segment(job_id: str) -> str:
    return quote(job_id, safe="")


def _body(response: requests.Response, limit: int) -> Iterator[bytes]:
    """The body as it arrives, up to `limit` bytes."""
    size = 0
    while chunk := response.raw.read1(65536, decode_content=True):
        yield chunk
        size += len(chunk)
        if size > limit:
            return  # enough to see what it is; the rest is dropped with the connection


def _success(status: int, content: bytes, request_id: RequestId) -> dict[str, object]:
    """The service's answer: 200 with a JSON object that holds no error; anything else is somebody else's."""
    try:
        document = msgspec.json.decode(content.removeprefix(BYTE_ORDER_MARK), type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    if status != 200 or document is None or any(name.lower() in _ERROR_MEMBERS for name in document):
        message = "The success is not Job Router's, which is 200 with a JSON object that holds no error."
        raise JobRouterError(status, NOT_JOB_ROUTER, message, request_id=request_id)
    return document


def _network_error(error: OSError | HTTPError | ValueError, request_id: RequestId) -> JobRouterError:
    chain = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in chain):
        return JobRouterError(None, TLS_VERIFICATION_FAILED, "The certificate did not verify.", request_id=request_id)
    if isinstance(error, CaBundleError):
        return JobRouterError(None, TLS_VERIFICATION_FAILED, "The CA bundle cannot be read.", request_id=request_id)
    if isinstance(error, (InvalidSchema, InvalidURL, LocationValueError)) or (
        isinstance(error, ValueError) and not isinstance(error, (OSError, HTTPError))
    ):
        message = f"The endpoint or the proxy setting cannot be used ({type(error).__name__})."
        return JobRouterError(None, NOT_JOB_ROUTER, message, request_id=request_id)
    tunnel = next((found for cause in chain if (found := _TUNNEL_REFUSED.match(str(cause)))), None)
    if tunnel and int(tunnel[1]) < 500:
        message = f"The proxy refused the connection ({tunnel[1]})."
        return JobRouterError(int(tunnel[1]), NOT_JOB_ROUTER, message, request_id=request_id)
    if isinstance(error, (requests.Timeout, ReadTimeoutError)):
        return JobRouterError(None, TIMEOUT, "No answer came in time.", request_id=request_id)
    return JobRouterError(
        None, CONNECTION_FAILED, f"The connection failed ({type(chain[-1]).__name__}).", request_id=request_id
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what is packed in it: requests and urllib3 keep the first cause in `args` or `reason`."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        item = waiting.pop()
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting += [item.__context__, item.__cause__, getattr(item, "reason", None), *item.args]
