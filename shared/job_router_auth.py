"""The two ways to prove to Job Router who is calling, as requests AuthBase classes.

Rules: Communication Services, "Authenticate to Azure Communication Services" (HMAC-SHA256 and Microsoft Entra ID).
"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import b64decode, b64encode
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from requests.auth import AuthBase

from shared.job_router_error import CREDENTIAL_UNAVAILABLE, JobRouterError
from shared.token_source import TokenSource, TokenUnavailableError, default_credential

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials import TokenCredential
    from requests import PreparedRequest

SCOPE = "https://communication.azure.com//.default"  # two slashes: what the vendor's packages ask for


class JobRouterAuth(AuthBase):
    """Signs one attempt; the client calls it anew for each attempt."""

    def refresh(self, rejected: PreparedRequest) -> bool:  # noqa: ARG002  # the base class has nothing to renew
        """After a 401: True when the next attempt will carry something else than `rejected` did."""
        return False


class AccessKeyAuth(JobRouterAuth):
    """Signs with an access key. `key` is base64, as in the connection string; ValueError when it is not."""

    def __init__(self, key: str, clock: Callable[[], float] = time.time) -> None:
        self._key = b64decode(key, validate=True)
        self._clock = clock

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        body = request.body or b""
        content_hash = b64encode(hashlib.sha256(body if isinstance(body, bytes) else body.encode()).digest()).decode()
        date = formatdate(self._clock(), usegmt=True)
        host = urlsplit(request.url or "").netloc
        text = f"{request.method}\n{request.path_url}\n{date};{host};{content_hash}"
        signature = b64encode(hmac.digest(self._key, text.encode(), "sha256")).decode()
        request.headers["x-ms-date"] = date
        request.headers["x-ms-content-sha256"] = content_hash
        request.headers["Authorization"] = (
            f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}"
        )
        return request


class EntraIdAuth(JobRouterAuth):
    """Sends a bearer token of Microsoft Entra ID, one for all threads; make_credential and clocks: see TokenSource."""

    def __init__(
        self,
        make_credential: Callable[[], TokenCredential] = default_credential,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = TokenSource(make_credential, SCOPE, clock=clock, monotonic=monotonic)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        try:
            token = self._tokens.get().token
        except TokenUnavailableError as error:
            raise JobRouterError(None, CREDENTIAL_UNAVAILABLE, str(error)) from None
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    def refresh(self, rejected: PreparedRequest) -> bool:
        self._tokens.forget(rejected.headers.get("Authorization", "").removeprefix("Bearer "))
        return True
