"""A Job Router that costs next to nothing: answers `{}` over keep-alive HTTP, from a process of its own.

For measuring clients only: it reads no more of a request than its length, checks nothing, and knows no jobs. The real
stand-in is local/job_router.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

# The service's answer as it was recorded: docs/decisions/0011-recorded-service.md.
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nDate: Fri, 02 Jan 2026 03:04:05 GMT\r\nContent-Type: application/json; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\ntrace-id: 5f0c3a1e-0000-4000-8000-000000000000\r\n"
    b"x-azure-ref: 20260102T030405Z-5f0c3a1e000040008000000000000000\r\nX-Cache: CONFIG_NOCACHE\r\n"
    b"api-supported-versions: 2022-07-18-preview, 2023-11-01, 2024-01-18-preview\r\n"
    b"Request-Context: appId=\r\nStrict-Transport-Security: max-age=15724800; includeSubDomains\r\n\r\n"
    b"2\r\n{}\r\n0\r\n\r\n"
)


class Counted(NamedTuple):
    """What arrived since the start."""

    connections: int
    requests: int


class Running(NamedTuple):
    """The server's endpoint, and a pipe that answers any question with Counted."""

    endpoint: str
    pipe: Connection

    def counted(self) -> Counted:
        self.pipe.send("counted")
        answer: Counted = self.pipe.recv()
        return answer


@contextmanager
def fast_server(service_time_seconds: float = 0.0, certificate: tuple[Path, Path] | None = None) -> Iterator[Running]:
    """Serve on 127.0.0.1 until the context ends. certificate: PEM files of chain and key, for https."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, service_time_seconds, certificate), daemon=True)
    process.start()
    theirs.close()  # so that a child that dies is an EOFError here, and not a wait without end
    try:
        port: int = ours.recv()
        yield Running(f"{'https' if certificate else 'http'}://127.0.0.1:{port}", ours)
    finally:
        process.terminate()
        process.join(10)


class _Protocol(asyncio.Protocol):
    def __init__(self, counts: list[int], service_time_seconds: float) -> None:
        self._counts = counts
        self._service_time = service_time_seconds
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._counts[0] += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            length = _content_length(head)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._counts[1] += 1
            if self._service_time:
                asyncio.get_running_loop().call_later(self._service_time, self._transport.write, _ANSWER)
            else:
                self._transport.write(_ANSWER)


def _content_length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def _serve(pipe: Connection, service_time_seconds: float, certificate: tuple[Path, Path] | None) -> None:
    async def run() -> None:
        counts = [0, 0]
        loop = asyncio.get_running_loop()
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
        server = await loop.create_server(
            lambda: _Protocol(counts, service_time_seconds), "127.0.0.1", 0, ssl=context, backlog=512
        )
        pipe.send(server.sockets[0].getsockname()[1])
        loop.add_reader(pipe.fileno(), _answer, pipe, counts)
        await server.serve_forever()

    asyncio.run(run())


def _answer(pipe: Connection, counts: list[int]) -> None:
    pipe.recv()
    pipe.send(Counted(*counts))
