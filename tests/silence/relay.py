"""A network between azure-servicebus and the broker that falls silent at a chosen stage of a connection."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from enum import StrEnum
from itertools import count


class Stage(StrEnum):
    """Up to where a connection gets before nothing more comes."""

    TCP = "TCP accepted"
    TLS = "TLS"
    SASL = "SASL"
    OPEN = "open"
    BEGIN = "begin"
    ATTACH = "attach"
    TRANSFER = "transfer"
    DISPOSITION = "disposition"


# AMQP 1.0, part 2.7: the descriptor of each performative that starts a stage.
_PERFORMATIVES = {
    Stage.OPEN: 0x10,
    Stage.BEGIN: 0x11,
    Stage.ATTACH: 0x12,
    Stage.TRANSFER: 0x14,
    Stage.DISPOSITION: 0x14,
}
_TRANSFER = 0x14


class StageRelay:
    """Passes everything on, until `fall_silent`. Connections that are open then say nothing more at all.

    New ones get as far as `stage`. For the stages of a message, the one is meant whose transfer holds `marker`.
    `speak` ends the silence: what was kept silent is closed.
    """

    def __init__(self, broker_port: int, marker: bytes) -> None:
        self._broker_port = broker_port
        self._marker = marker
        self._stage: Stage | None = None
        self._numbers = count()
        self._silent_before = 0
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0

    def __enter__(self) -> StageRelay:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.speak()
        for thread in self._threads:
            thread.join(10)

    def fall_silent(self, stage: Stage) -> None:
        self._stage = stage
        self._silent_before = next(self._numbers)

    def speak(self) -> None:
        self._stage, self._silent_before = None, 0
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours = self._listener.accept()[0]
                self.accepted += 1
                theirs = socket.create_connection(("127.0.0.1", self._broker_port))
                connection = _Connection(ours, theirs, next(self._numbers))
                self._open |= {ours, theirs}
                self._start(self._from_client, connection)
                self._start(self._from_broker, connection)

    def _from_client(self, connection: _Connection) -> None:
        with suppress(OSError):
            while frame := _frame(connection.ours):
                if self._is_silent(connection) or (self._stage and self._reaches(self._stage, frame)):
                    connection.is_silent = True
                    if self._stage is not Stage.DISPOSITION or connection.number < self._silent_before:
                        continue
                if not connection.is_silent or self._marker in frame:
                    connection.theirs.sendall(frame)
        self._end(connection)

    def _from_broker(self, connection: _Connection) -> None:
        with suppress(OSError):
            while part := connection.theirs.recv(65_536):
                if not (connection.is_silent or self._is_silent(connection)):
                    connection.ours.sendall(part)
        self._end(connection)

    def _is_silent(self, connection: _Connection) -> bool:
        return connection.number < self._silent_before or self._stage in (Stage.TCP, Stage.TLS)

    def _reaches(self, stage: Stage, frame: bytes) -> bool:
        if frame[:4] == b"AMQP":
            return stage is Stage.SASL and frame[4] == 3
        if frame[5] != 0 or stage not in _PERFORMATIVES:  # a frame of SASL's
            return False
        performative = frame[4 * frame[4] + 2]
        return performative == _PERFORMATIVES[stage] and (performative != _TRANSFER or self._marker in frame)

    def _end(self, connection: _Connection) -> None:
        for end in (connection.ours, connection.theirs):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            self._open.discard(end)
        connection.ended += 1
        if connection.ended == 2:
            connection.ours.close()
            connection.theirs.close()


class _Connection:
    def __init__(self, ours: socket.socket, theirs: socket.socket, number: int) -> None:
        self.ours, self.theirs, self.number = ours, theirs, number
        self.is_silent = False
        self.ended = 0


def _frame(source: socket.socket) -> bytes:
    """The next frame, or the eight bytes of a protocol header; what is not AMQP (a TLS hello) as it comes."""
    head = _exactly(source, 8)
    if head[:4] == b"AMQP" or not head:
        return head
    if head[0] == 0x16:
        return head + source.recv(65_536)
    return head + _exactly(source, int.from_bytes(head[:4]) - 8)


def _exactly(source: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = source.recv(size - len(received))
        if not more:
            return b""
        received += more
    return received
