"""The two ways to prove to Job Router who is calling, as requests AuthBase classes.

Rules: Communication Services, "Authenticate to Azure Communication Services" (HMAC-SHA256 and Microsoft Entra ID).
"""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from base64 import b64decode, b64encode
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from requests.auth import AuthBase

from shared.job_router_error import CREDENTIAL_UNAVAILABLE, JobRouterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials import AccessToken, TokenCredential
    from requests import PreparedRequest

SCOPE = "https://communication.azure.com//.default"  # two slashes: what the vendor's packages ask for
_RENEW_BEFORE_EXPIRY = 300.0  # seconds; a token must outlive the call it goes out with, and clocks differ


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
    """Sends a bearer token of Microsoft Entra ID, fetched by one thread and shared by all.

    `make_credential` builds the azure-identity credential: a factory, because that import is slow and only this
    way of signing needs it, and because a fresh credential is how a cached token is got rid of.
    """

    def __init__(
        self,
        make_credential: Callable[[], TokenCredential] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._make_credential = make_credential or _default_credential
        self._credential: TokenCredential | None = None
        self._token: AccessToken | None = None
        self._clock = clock
        self._lock = threading.Lock()

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._current_token()}"
        return request

    def refresh(self, rejected: PreparedRequest) -> bool:
        with self._lock:
            if self._token and rejected.headers.get("Authorization") == f"Bearer {self._token.token}":
                self._token = self._credential = None
        return True

    def _current_token(self) -> str:
        token = self._token
        if token and token.expires_on - self._clock() > _RENEW_BEFORE_EXPIRY:
            return token.token
        still_valid = token is not None and token.expires_on > self._clock()
        # While one thread renews a token that is still good, the others go on with it.
        if still_valid and not self._lock.acquire(blocking=False):
            return token.token  # type: ignore[union-attr]  # still_valid says that it is there
        if not still_valid:
            self._lock.acquire()
        try:
            if self._token is token or self._token is None:
                self._token = self._fetch()
            return self._token.token
        finally:
            self._lock.release()

    def _fetch(self) -> AccessToken:
        try:
            self._credential = self._credential or self._make_credential()
            return self._credential.get_token(SCOPE)
        except Exception as error:  # noqa: BLE001  # a credential reads files, sockets and other programs' output
            # Only the kind of failure: what azure-identity says can run to pages and name the environment.
            raise JobRouterError(
                None,
                CREDENTIAL_UNAVAILABLE,
                f"No Microsoft Entra ID token could be had ({type(error).__name__}).",
            ) from None


def _default_credential() -> TokenCredential:
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()
