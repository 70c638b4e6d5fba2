"""The clients that are measured: ours, the official SDK, and what one would write around other HTTP packages.

Each sends the same request: a JSON body, a fresh client request id, a signature with the access key. Each checks the
status and reads the answer's JSON.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import uuid
from base64 import b64decode, b64encode
from contextlib import contextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
import urllib3
from azure.communication.jobrouter import JobRouterClient as Sdk
from azure.core.credentials import AzureKeyCredential

from shared.cancellation import CancellationRequest
from shared.job_router import AccessKeyAuth, JobRouterClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Cancel = Callable[[str], object]

ACCESS_KEY = b64encode(b"the key of nothing that exists").decode()
OURS, SDK, RAW = "ours", "official SDK", "raw http.client"
_KEY = b64decode(ACCESS_KEY)
_TIMEOUT = (5.0, 15.0)
# Proxies and CA bundles of the machine would decide the figures; ours and requests read them from the environment.
_OF_THE_MACHINE = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """No proxies, no CA bundle, and these variables instead; as it was afterwards."""
    before = dict(os.environ)
    for name in _OF_THE_MACHINE:
        os.environ.pop(name, None)
        os.environ.pop(name.lower(), None)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def ours(endpoint: str, pool_size: int = 16) -> Iterator[Cancel]:
    client = JobRouterClient(endpoint, AccessKeyAuth(ACCESS_KEY), pool_size=pool_size)
    try:
        yield lambda job_id: client.cancel_job(CancellationRequest(job_id))
    finally:
        client.close()


@contextmanager
def official_sdk(endpoint: str) -> Iterator[Cancel]:
    # Not from the connection string: the package would make an https endpoint of it.
    with Sdk(endpoint, AzureKeyCredential(ACCESS_KEY)) as client:
        yield client.cancel_job


@contextmanager
def requests_post(endpoint: str) -> Iterator[Cancel]:
    yield lambda job_id: _send_with(requests.post, endpoint, job_id)


@contextmanager
def requests_session(endpoint: str) -> Iterator[Cancel]:
    with requests.Session() as session:
        yield lambda job_id: _send_with(session.post, endpoint, job_id)


@contextmanager
def requests_session_without_environment(endpoint: str) -> Iterator[Cancel]:
    with requests.Session() as session:
        session.trust_env = False
        yield lambda job_id: _send_with(session.post, endpoint, job_id)


@contextmanager
def urllib3_pool(endpoint: str) -> Iterator[Cancel]:
    timeout = urllib3.Timeout(*_TIMEOUT)
    with urllib3.PoolManager(timeout=timeout, retries=False) as pool:

        def cancel(job_id: str) -> object:
            path, body, headers = _signed(endpoint, job_id)
            answer = pool.request("POST", endpoint + path, body=body, headers=headers)
            return _read(answer.status, answer.data)

        yield cancel


@contextmanager
def raw_http_client(endpoint: str) -> Iterator[Cancel]:
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=_TIMEOUT[1])

    def cancel(job_id: str) -> object:
        path, body, headers = _signed(endpoint, job_id)
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return _read(answer.status, answer.read())

    try:
        yield cancel
    finally:
        connection.close()


def _send_with(post: Callable[..., requests.Response], endpoint: str, job_id: str) -> object:
    path, body, headers = _signed(endpoint, job_id)
    answer = post(endpoint + path, data=body, headers=headers, timeout=_TIMEOUT)
    return _read(answer.status_code, answer.content)


def _signed(endpoint: str, job_id: str) -> tuple[str, bytes, dict[str, str]]:
    """Path, body and headers of a cancel, signed as the documentation shows it."""
    path, body = f"/routing/jobs/{job_id}:cancel?api-version=2023-11-01", json.dumps({}).encode()
    content_hash = b64encode(hashlib.sha256(body).digest()).decode()
    date = formatdate(usegmt=True)
    text = f"POST\n{path}\n{date};{urlsplit(endpoint).netloc};{content_hash}"
    signature = b64encode(hmac.digest(_KEY, text.encode(), "sha256")).decode()
    return (
        path,
        body,
        {
            "Content-Type": "application/json",
            "x-ms-client-request-id": str(uuid.uuid4()),
            "x-ms-date": date,
            "x-ms-content-sha256": content_hash,
            "Authorization": f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}",
        },
    )


def _read(status: int, content: bytes) -> object:
    if status != 200:
        raise RuntimeError(f"The server answered {status}.")
    return json.loads(content)


ALL = {
    OURS: ours,
    SDK: official_sdk,
    "requests.post": requests_post,
    "requests.Session": requests_session,
    "requests.Session without the environment": requests_session_without_environment,
    "urllib3": urllib3_pool,
    RAW: raw_http_client,
}
