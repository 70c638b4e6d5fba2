"""Calls to the embedded Job Router without any of the project's own client code."""

import base64
import hashlib
import hmac
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import format_datetime
from typing import Any

from local.job_router import DEVELOPMENT_ACCESS_KEY, JobRouter

GOOD_TOKEN = "a token that the verifier knows"
BEARER = {"Authorization": f"Bearer {GOOD_TOKEN}"}
API = "?api-version=2023-11-01"
CANCEL_JOB_1 = f"/routing/jobs/job-1:cancel{API}"
GET_JOB_1 = f"/routing/jobs/job-1{API}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.document["error"]


def call(
    router: JobRouter,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] = BEARER,
    timeout: float = 5.0,
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=timeout)
    try:
        return call_on(connection, method, target, body, headers)
    finally:
        connection.close()


def call_on(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] = BEARER,
) -> Answer:
    connection.request(method, target, body, dict(headers))
    response = connection.getresponse()
    return Answer(response.status, response.msg, response.read())


def cancel(router: JobRouter, job_id: str = "job-1", body: bytes | None = b"{}", **options: Any) -> Answer:
    return call(router, "POST", f"/routing/jobs/{job_id}:cancel{API}", body, **options)


def signed(
    router: JobRouter,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    at: datetime | None = None,
    key: str = DEVELOPMENT_ACCESS_KEY,
) -> dict[str, str]:
    """Access-key headers, computed as the service documents them."""
    date = format_datetime(at or datetime.now(UTC), usegmt=True)
    content_hash = base64.b64encode(hashlib.sha256(body).digest()).decode()
    string_to_sign = f"{method}\n{target}\n{date};127.0.0.1:{router.port};{content_hash}"
    signature = hmac.digest(base64.b64decode(key), string_to_sign.encode(), "sha256")
    return {
        "x-ms-date": date,
        "x-ms-content-sha256": content_hash,
        "Authorization": "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256"
        f"&Signature={base64.b64encode(signature).decode()}",
    }
