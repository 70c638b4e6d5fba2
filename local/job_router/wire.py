"""HTTP/1.1 on one socket: reading requests, writing replies. Knows nothing of jobs, keys or faults.

Hand-written because the server is used under load, where http.server spends most of a request's time
in the e-mail header parser.
"""

import http
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 4 * 1024 * 1024
_READ_SIZE = 64 * 1024
_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/1\.([01])")
_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}


class MalformedRequestError(Exception):
    """The bytes are not a request this server can answer; `status` says what to answer before closing."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Request:
    """One request as received: `target` is the undecoded path and query, header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@dataclass(frozen=True, slots=True)
class Reply:
    """A response without its framing. error: the service's own, still to be put into a body (errors.py)."""

    status: int
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None

    def head(self, headers: Mapping[str, str], *, keep_alive: bool, is_chunked: bool = False) -> bytes:
        """The status line and headers, the empty line included; `headers` come on top of the reply's own."""
        lines = [f"HTTP/1.1 {self.status} {_PHRASES.get(self.status, 'Unknown')}"]
        if self.body:
            lines.append(f"Content-Type: {self.content_type}")
        if is_chunked:
            lines.append("Transfer-Encoding: chunked")
        else:
            lines.append(f"Content-Length: {len(self.body)}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if not keep_alive:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def interim(self) -> bytes:
        """An answer that only announces another one, such as 103."""
        return f"HTTP/1.1 {self.status} {_PHRASES.get(self.status, 'Unknown')}\r\n\r\n".encode()


def chunked(body: bytes) -> bytes:
    """The body in one chunk, with the end of the chunks."""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


class RequestReader:
    """Reads one request after the other from a connection, pipelined ones included."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def read(self) -> Request | None:
        """The next request, or None when the client has closed. Raises MalformedRequestError."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise MalformedRequestError(431, f"The request's head is longer than {MAX_HEAD_BYTES} bytes.")
            if not self._receive_more():
                return None
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        request_line = _REQUEST_LINE.fullmatch(lines[0])
        if request_line is None:
            raise MalformedRequestError(400, "The request line is not HTTP/1.0 or HTTP/1.1.")
        method, target, minor_version = request_line.groups()
        headers = _parse_headers(lines[1:])
        body = self._read_body(headers)
        if body is None:
            return None
        keep_alive = minor_version == "1" and "close" not in headers.get("connection", "").lower()
        return Request(method, target, headers, body, keep_alive)

    def _read_body(self, headers: Mapping[str, str]) -> bytes | None:
        encoding = headers.get("transfer-encoding")
        length = headers.get("content-length")
        if encoding is None and length in (None, "0"):
            return b""
        if headers.get("expect", "").lower() == "100-continue":
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if encoding is not None:
            # Two statements of the length that may differ are how requests get smuggled past a gateway.
            if encoding.lower() != "chunked" or length is not None:
                raise MalformedRequestError(400, "Transfer-Encoding must be chunked, without Content-Length.")
            return self._read_chunks()
        if length is None or not (length.isascii() and length.isdigit()):
            raise MalformedRequestError(400, "Content-Length is not a number.")
        return self._take(int(length))

    def _read_chunks(self) -> bytes | None:
        body = b""
        while (size_line := self._take_line()) is not None:
            try:
                size = int(size_line.partition(b";")[0], 16)
            except ValueError:
                raise MalformedRequestError(400, "A chunk's size is not a hexadecimal number.") from None
            if size == 0:
                while trailer := self._take_line():
                    pass
                return None if trailer is None else body
            if size < 0 or len(body) + size > MAX_BODY_BYTES:
                raise MalformedRequestError(413, f"The body is longer than {MAX_BODY_BYTES} bytes.")
            chunk = self._take(size)
            if chunk is None or self._take_line() is None:
                return None
            body += chunk
        return None

    def _take_line(self) -> bytes | None:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise MalformedRequestError(400, "A line of the chunked body is too long.")
            if not self._receive_more():
                return None
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line

    def _take(self, count: int) -> bytes | None:
        if count > MAX_BODY_BYTES:
            raise MalformedRequestError(413, f"The body is longer than {MAX_BODY_BYTES} bytes.")
        while len(self._buffer) < count:
            if not self._receive_more():
                return None
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _receive_more(self) -> bool:
        received = self._connection.recv(_READ_SIZE)
        self._buffer += received
        return bool(received)


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise MalformedRequestError(400, "A header line is not of the form 'Name: value'.")
        name = name.lower()
        value = value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
