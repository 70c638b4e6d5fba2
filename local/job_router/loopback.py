"""A threaded TCP listener on 127.0.0.1 that leaves no thread and no socket behind when it stops.

It knows nothing of HTTP: each accepted connection is handed to a function that runs in its own thread.
"""

import contextlib
import logging
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable

LOOPBACK = "127.0.0.1"
# Load tests open many connections at once; beyond a short queue, some would be retried a second later.
BACKLOG = 512
# How long a refused client may go on sending before it is cut off.
LINGER_SECONDS = 1.0

logger = logging.getLogger(__name__)


def bind_loopback(port: int) -> socket.socket:
    """Reserve a port (0: any free one) without listening: connections to it are refused."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Without this, a port with connections in TIME_WAIT could not be taken again for a minute.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((LOOPBACK, port))
    except BaseException:
        bound.close()
        raise
    return bound


def reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN: the peer sees "connection reset"."""
    # SO_LINGER with zero seconds is what makes close() drop the connection instead of ending it.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def finish(connection: socket.socket) -> None:
    """End a connection whose peer may still be sending, without losing what was just answered.

    Closing with unread bytes makes the kernel send RST, which can overtake the answer.
    """
    socket.socket.shutdown(connection, socket.SHUT_WR)
    connection.settimeout(LINGER_SECONDS)
    deadline = time.monotonic() + LINGER_SECONDS
    with contextlib.suppress(TimeoutError):  # it had its time
        while connection.recv(64 * 1024) and time.monotonic() < deadline:
            pass


class LoopbackServer:
    """Serve one bound socket until `stop`; the handler's event is set when it should finish at once."""

    def __init__(
        self,
        bound: socket.socket,
        handle: Callable[[socket.socket, threading.Event], None],
        *,
        name: str,
        tls: ssl.SSLContext | None = None,
        on_accept: Callable[[], None] = lambda: None,
    ) -> None:
        self._listener = bound
        self._handle = handle
        self._name = name
        self._tls = tls
        self._on_accept = on_accept
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept_all, name=f"{name}-accept", daemon=True)

    def start(self) -> None:
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
        self._acceptor.start()

    def stop(self) -> None:
        """Refuse new connections, close the open ones, wait for every thread to end."""
        self._stopping.set()
        self._wake_sender.send(b"x")
        self._acceptor.join()
        self._listener.close()
        self._wake_sender.close()
        self._wake_receiver.close()
        with self._lock:
            remaining = list(self._connections.items())
        for connection, _ in remaining:
            # The handler may have closed it a moment ago; then there is nothing left to wake.
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown: that would turn the handler's next write into plain text.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for _, thread in remaining:
            thread.join()

    def _accept_all(self) -> None:
        # A selector with a wake-up socket, because closing a listener does not wake a blocked accept().
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake_receiver, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                if not self._stopping.is_set():
                    self._accept_one()

    def _accept_one(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # the client gave up between the selector's answer and accept()
        except OSError:
            logger.exception("%s cannot accept a connection; trying again", self._name)
            self._stopping.wait(0.1)  # out of file descriptors: a tight loop would not free any
            return
        connection.setblocking(True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            # The handshake waits for the client, so it belongs to the connection's own thread.
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._on_accept()
        thread = threading.Thread(target=self._run, args=(connection,), name=self._name, daemon=True)
        with self._lock:
            self._connections[connection] = thread
        thread.start()

    def _run(self, connection: socket.socket) -> None:
        try:
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            self._handle(connection, self._stopping)
        except OSError as error:
            # The client went away or distrusts the certificate, or `stop` cut the connection.
            logger.debug("%s: connection ended: %s", self._name, error)
        finally:
            connection.close()
            with self._lock:
                del self._connections[connection]
