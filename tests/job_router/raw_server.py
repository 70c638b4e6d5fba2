"""A server on loopback that plays bytes, so that an answer can be as wrong and as slow as a test needs it."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class RawServer:
    """Answers each request with the next pieces of bytes, `pause` seconds between two of them.

    pieces: made anew for each request; they may be endless. Every thread ends when the server is closed.
    """

    def __init__(self, pieces: Iterable[bytes], *, endless: bytes = b"", pause: float = 0.0) -> None:
        self._pieces, self._endless, self._pause = list(pieces), endless, pause
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            try:
                while not self._closing.is_set() and _read_request(connection):
                    for piece in self._all_pieces():
                        connection.sendall(piece)
                        if self._closing.wait(self._pause):
                            return
            except OSError:
                return  # the client has gone

    def _all_pieces(self) -> Iterator[bytes]:
        yield from self._pieces
        while self._endless:
            yield self._endless


def _read_request(connection: socket.socket) -> bool:
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        if not more:
            return False
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return True
