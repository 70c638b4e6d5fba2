"""Administration of an emulator: plain HTTP on a port of its own, where the SDK knows only https on the AMQP port."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from azure.core.pipeline.transport import RequestsTransport


class PlainHttpTransport(RequestsTransport):  # type: ignore[misc]  # azure-core hides its type behind a lazy import
    """Sends what is meant for https://host:anything to http://host:`port`."""

    def __init__(self, port: int, **options: Any) -> None:
        super().__init__(**options)
        self._port = port

    def send(self, request: Any, **options: Any) -> Any:
        """As its base class; the address is changed on the way."""
        url = urlsplit(request.url)
        request.url = urlunsplit(("http", f"{url.hostname}:{self._port}", url.path, url.query, ""))
        return super().send(request, **options)
