"""A network that keeps connections open and passes nothing on, when told to."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class SilentRelay:
    """A port in front of the broker's; silent, it keeps connections open and passes nothing on."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._listener = socket.create_server(("localhost", 0))
        self._speaks = threading.Event()
        self._speaks.set()
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> SilentRelay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.speak()

    def fall_silent(self) -> None:
        self._speaks.clear()

    def speak(self) -> None:
        self._speaks.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours = self._listener.accept()[0]
                theirs = socket.create_connection(("localhost", self._broker_port))
                for source, sink in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with source, sink, suppress(OSError):
            while part := source.recv(65_536):
                self._speaks.wait()
                sink.sendall(part)
