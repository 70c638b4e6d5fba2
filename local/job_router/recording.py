"""What a server remembers of the requests it answered, for tests and benchmarks to look at."""

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from local.job_router.wire import Request

# Enough for any test; old ones fall out so that a long run does not fill the memory.
KEPT_REQUESTS = 10_000


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as received. `path` and `query` are undecoded, header names lower case.

    `status` is what was answered, or about to be; None where the connection ended without an answer.
    """

    time: datetime
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    status: int | None
    client_port: int


class Recorder:
    """Counts requests and, unless `keep` is False, remembers the latest ones."""

    def __init__(self, *, keep: bool = True) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._requests: deque[RecordedRequest] = deque(maxlen=KEPT_REQUESTS)
        self._handled = 0
        self._accepted = 0

    def add(self, time: datetime, request: Request, status: int | None, client_port: int) -> None:
        """To be called before the answer leaves, so that whoever has the answer finds the record."""
        if not self._keep:
            with self._lock:
                self._handled += 1
            return
        recorded = RecordedRequest(
            time=time,
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            body=request.body,
            status=status,
            client_port=client_port,
        )
        with self._lock:
            self._handled += 1
            self._requests.append(recorded)

    def connection_accepted(self) -> None:
        with self._lock:
            self._accepted += 1

    @property
    def requests(self) -> list[RecordedRequest]:
        with self._lock:
            return list(self._requests)

    @property
    def requests_handled(self) -> int:
        return self._handled

    @property
    def connections_accepted(self) -> int:
        return self._accepted
