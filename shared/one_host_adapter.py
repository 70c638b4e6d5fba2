"""The requests adapter of a client that speaks to one host, in one environment: it works things out once.

Overrides only what requests exposes for use when subclassing. What each brings: docs/performance.md.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.ssl_ import create_urllib3_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from urllib3.response import BaseHTTPResponse


class OneHostAdapter(HTTPAdapter):
    """One pool and one TLS context for all connections, and no cookies, which nobody asks for."""

    _pool: Any = None
    _context: ssl.SSLContext | None = None
    _making = threading.Lock()

    def get_connection_with_tls_context(self, *request: Any, **environment: Any) -> Any:
        if self._pool is None:
            with self._making:
                self._pool = self._pool or super().get_connection_with_tls_context(*request, **environment)
        return self._pool

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] != "https":
            return host, tls
        # Left to itself, each connection reads the CA bundle anew (17 ms) and keeps a copy (nearly 1 MB).
        bundle = requests.utils.DEFAULT_CA_BUNDLE_PATH if verify is True else verify
        self._context = create_urllib3_context()
        self._context.load_verify_locations(**{"capath" if os.path.isdir(bundle) else "cafile": bundle})
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
