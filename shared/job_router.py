"""The client of Azure Communication Services Job Router: cancel a job, read a job's status.

Knows HTTP and the API's shapes; knows nothing of messages, and judges nothing: it answers or raises.
Source of the API: "Job Router Operations - Cancel Job" and "Get Job", version 2023-11-01.
"""

from __future__ import annotations

import ssl
import time
import uuid
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec
import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from shared.job_router_auth import AccessKeyAuth, EntraIdAuth, JobRouterAuth
from shared.job_router_error import (
    CONNECTION_FAILED,
    NOT_JOB_ROUTER,
    TIMEOUT,
    TLS_VERIFICATION_FAILED,
    JobRouterError,
    error_from_response,
)
from shared.one_host_adapter import OneHostAdapter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shared.cancellation import CancellationRequest

__all__ = ["AccessKeyAuth", "EntraIdAuth", "JobRouterClient", "JobRouterError", "normalise_endpoint"]

_BODY_LIMIT = 256 * 1024  # bytes; a job with its notes is far smaller, and a stray download must not fill memory


class JobRouterClient:
    """One pooled session for all threads of a worker.

    Args:
        endpoint: `https://…` of the Communication Services resource; http only to loopback addresses.
        auth: AccessKeyAuth or EntraIdAuth; asked anew for each attempt.
        connect_timeout, read_timeout: seconds; the read timeout also bounds the reading of the whole body.
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

    def cancel_job(self, request: CancellationRequest, *, trace_parent: str | None = None) -> str:
        """Cancel a job; returns the service's request id.

        Raises:
            JobRouterError: for every other end, from a refusal to a dead network.
        """
        fields = {"note": request.note, "dispositionCode": request.disposition_code}
        body = msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
        return self._call("POST", f"{_segment(request.job_id)}:cancel", body, trace_parent)[1]

    def get_job_status(self, job_id: str, *, trace_parent: str | None = None) -> str:
        """The job's status as the service spells it, such as `queued` or `cancelled`.

        Raises:
            JobRouterError: as for cancel_job.
        """
        job, request_id = self._call("GET", _segment(job_id), None, trace_parent)
        status = job.get("status")
        if not isinstance(status, str):
            raise JobRouterError(200, NOT_JOB_ROUTER, "The answer is not a job with a status.", request_id=request_id)
        return status

    def _call(
        self, method: str, path: str, body: bytes | None, trace_parent: str | None
    ) -> tuple[dict[str, object], str]:
        request = self._prepared(method, path, body, trace_parent)
        client_request_id = request.headers["x-ms-client-request-id"]
        status, headers, content = self._attempt(request)
        if status == 401 and self._auth.refresh(request):
            status, headers, content = self._attempt(request)
        if not 200 <= status < 300:
            raise error_from_response(status, headers, content, client_request_id, lambda: datetime.now(UTC))
        request_id = headers.get("x-ms-request-id") or client_request_id
        return _json_object(status, content, request_id), request_id

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
            "x-ms-client-request-id": str(uuid.uuid4()),
        }
        if body is not None:
            request.body = body
            request.headers["Content-Type"] = "application/json"
            request.headers["Content-Length"] = str(len(body))
        if trace_parent:
            request.headers["traceparent"] = trace_parent
        return request

    def _attempt(self, request: requests.PreparedRequest) -> tuple[int, Mapping[str, str], bytes]:
        deadline = time.monotonic() + sum(self._timeout)
        try:
            self._auth(request)
            response = self._adapter.send(request, timeout=self._timeout, **self._environment)
            try:
                return response.status_code, response.headers, b"".join(_body(response, deadline))
            finally:
                response.close()
        except (OSError, HTTPError) as error:  # requests' errors are OSErrors; reading the body raises urllib3's
            raise _network_error(error, request.headers["x-ms-client-request-id"]) from error


def parse_connection_string(connection_string: str) -> tuple[str, str]:
    """(endpoint, access key); ValueError names the missing part."""
    pairs = (part.partition("=") for part in connection_string.split(";") if part.strip())
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    missing = [name for name in ("endpoint", "accesskey") if not fields.get(name)]
    if missing:
        raise ValueError(f"has no {' and no '.join(missing)}; the form is endpoint=https://…;accesskey=…")
    return fields["endpoint"], fields["accesskey"]


def normalise_endpoint(endpoint: str) -> str:
    """Scheme and authority without a default port or a trailing slash; ValueError says what is wrong."""
    parts = urlsplit(endpoint.strip())
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or parts.username or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"is not the URL of a Communication Services resource: {endpoint!r}")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError(f"is not an https URL: {endpoint!r}")
    authority = f"[{host}]" if ":" in host else host
    default_port = 443 if parts.scheme == "https" else 80
    return f"{parts.scheme}://{authority}" + (f":{port}" if port not in (None, default_port) else "")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _segment(job_id: str) -> str:
    return quote(job_id, safe="")


def _body(response: requests.Response, deadline: float) -> Iterator[bytes]:
    """The body as it arrives: a body that drips must not hold the thread past the message's lock."""
    size = 0
    while chunk := response.raw.read1(65536, decode_content=True):
        yield chunk
        size += len(chunk)
        if size > _BODY_LIMIT:
            return  # enough to see what it is; the rest is dropped with the connection
        if time.monotonic() > deadline:
            raise requests.exceptions.ReadTimeout("the body came too slowly")


def _json_object(status: int, content: bytes, request_id: str) -> dict[str, object]:
    """The service's answer; anything but a JSON object or nothing means that something else answered."""
    if not content.strip():
        return {}
    try:
        return msgspec.json.decode(content, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise JobRouterError(
            status, NOT_JOB_ROUTER, "The answer is not the JSON that Job Router gives.", request_id=request_id
        ) from None


def _network_error(error: OSError | HTTPError, request_id: str) -> JobRouterError:
    chain = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in chain):
        return JobRouterError(None, TLS_VERIFICATION_FAILED, "The certificate did not verify.", request_id=request_id)
    if not isinstance(error, (requests.RequestException, HTTPError)):  # requests' way to say: no such CA bundle
        return JobRouterError(None, TLS_VERIFICATION_FAILED, "The CA bundle was not found.", request_id=request_id)
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
