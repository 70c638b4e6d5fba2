"""The requests adapter of a client that speaks to one host, in one environment: it works things out once.

Overrides only what requests exposes for use when subclassing. What each brings: docs/performance.md.
"""

from __future__ import annotations

import http.client
import io
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from urllib3.response import BaseHTTPResponse


class CaBundleError(requests.exceptions.SSLError):
    """The CA bundle that the environment names cannot be read."""


class OneHostAdapter(HTTPAdapter):
    """One pool and one TLS context for all connections, and no cookies, which nobody asks for.

    A read timeout bounds the whole answer, from its first byte to its last, not each read of it.
    """

    _pool: Any = None
    _context: ssl.SSLContext | None = None
    _making = threading.Lock()

    def get_connection_with_tls_context(self, *request: Any, **environment: Any) -> Any:
        if self._pool is None:
            with self._making:
                self._pool = self._pool or self._new_pool(*request, **environment)
        return self._pool

    def _new_pool(self, *request: Any, **environment: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*request, **environment)
        pool.ConnectionCls = _BoundedHttps if pool.scheme == "https" else _BoundedHttp
        return pool

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] != "https":
            return host, tls
        # Left to itself, each connection reads the CA bundle anew (17 ms) and keeps a copy (nearly 1 MB).
        bundle = requests.utils.DEFAULT_CA_BUNDLE_PATH if verify is True else verify
        self._context = create_urllib3_context()
        try:
            self._context.load_verify_locations(**{"capath" if os.path.isdir(bundle) else "cafile": bundle})
        except OSError as error:
            raise CaBundleError("The CA bundle cannot be read.") from error
        return host, {"ssl_context": self._context}

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        if proxy.lower().startswith("https"):
            options["proxy_ssl_context"] = self._context
        return super().proxy_manager_for(proxy, **options)

    def cert_verify(self, *_: Any) -> None:
        """Nothing is left to do: the context verifies."""

    def request_url(self, request: requests.PreparedRequest, proxies: Mapping[str, str] | None) -> str:
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_response(self, req: requests.PreparedRequest, resp: BaseHTTPResponse) -> requests.Response:  # noqa: ARG002
        response = requests.Response()
        response.status_code, response.raw = resp.status, resp
        response.headers = resp.headers  # type: ignore[assignment]  # blind to case as well
        return response

    def close(self) -> None:
        super().close()
        self._pool = None


class _BoundedReader(io.RawIOBase):
    """A connection read up to one deadline: a peer that sends a byte now and then gains no time by it."""

    def __init__(self, raw: io.RawIOBase, connection: Any) -> None:
        self._raw, self._connection = raw, connection
        self._seconds: float = connection.gettimeout() or 0.0
        self._deadline = time.monotonic() + self._seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("The answer took too long.")
        self._connection.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        with suppress(OSError):  # it may be closed; where it is kept, the next request has its own time
            self._connection.settimeout(self._seconds)
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    """Status line, headers, interim answers, chunks and trailers alike come through a _BoundedReader."""

    def __init__(self, connection: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(connection, *arguments, **options)
        self.fp = io.BufferedReader(_BoundedReader(self.fp.detach(), connection))


class _BoundedHttp(HTTPConnection):
    response_class = _BoundedResponse


class _BoundedHttps(HTTPSConnection):
    response_class = _BoundedResponse
