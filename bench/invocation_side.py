"""One function app in a process of its own: calls it as the host does, and says what CPU that took."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from azure.communication.jobrouter import JobRouterClient as Sdk
from azure.core.credentials import AzureKeyCredential

from bench import clients
from local.host.configuration import read_trigger
from local.host.worker import make_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

_TRACE_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
# What the host sends beside the body of a message without properties of its own; see local/host/conversion.py.
_METADATA = {
    "MessageId": ("string", "4f1c0c6e9b5b4f7c8a53f6f0a2f4d1b7"),
    "LockToken": ("string", "8d3a5b8e-6c5b-4d3c-9f3a-2b1f5f0c7d21"),
    "DeliveryCount": ("json", "1"),
    "ExpiresAtUtc": ("json", '"9999-12-31T23:59:59.9999999"'),
    "ExpiresAt": ("json", '"9999-12-31T23:59:59.9999999+00:00"'),
    "EnqueuedTimeUtc": ("json", '"2026-03-01T12:00:00.123000"'),
    "EnqueuedTime": ("json", '"2026-03-01T12:00:00.123000+00:00"'),
    "ContentType": ("string", "application/json"),
    "SequenceNumber": ("json", "4711"),
    "ApplicationProperties": ("json", "{}"),
    "UserProperties": ("json", "{}"),
}


class Turn(NamedTuple):
    """CPU in seconds of so many whole invocations, and of as many bare calls of the same client."""

    whole: float
    bare: float


class Side:
    """The process at work."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def turn(self, times: int) -> Turn:
        """RuntimeError where the function did not end well."""
        self._pipe.send(times)
        turn, error = self._pipe.recv()
        if error:
            raise RuntimeError(f"The function failed: {error}")
        return Turn(*turn)


@contextmanager
def side(app: Path, endpoint: str, client: str | None) -> Iterator[Side]:
    """Start the app. client: the one of bench.clients whose bare call is measured beside it; None for no bare call."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(app, endpoint, client, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Side(ours)
    finally:
        process.terminate()
        process.join(10)


class _Dropping(logging.Handler):
    """Formats and drops: what the platform does next is not the function's."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


def _serve(app: Path, endpoint: str, client: str | None, pipe: Connection) -> None:
    os.environ |= {
        "JOB_ROUTER_CONNECTION_STRING": f"endpoint={endpoint};accesskey={clients.ACCESS_KEY}",
        "ServiceBusConnection": "Endpoint=sb://localhost;SharedAccessKeyName=k;SharedAccessKey=v",
        "CANCELLATION_QUEUE_NAME": "q",
        "PYTHON_THREADPOOL_THREAD_COUNT": "1",
    }
    # The package makes an https endpoint of every connection string; here the plain function speaks http as ours does.
    Sdk.from_connection_string = lambda _: Sdk(endpoint, AzureKeyCredential(clients.ACCESS_KEY))
    logging.getLogger().addHandler(_Dropping())
    with ExitStack() as opened:
        worker = make_worker(read_trigger(app, os.environ), os.environ)
        opened.callback(worker.close)
        cancel = opened.enter_context(clients.ALL[client](endpoint)) if client else None

        def invoke(job_id: str) -> None:
            error = worker.invoke(str(uuid.uuid4()), ("string", f'{{"jobId": "{job_id}"}}'), _METADATA, _TRACE_PARENT)
            if error is not None:
                raise RuntimeError(error)

        while True:
            job_ids = [f"job-{number}" for number in range(pipe.recv())]
            try:
                whole = _seconds(invoke, job_ids, logging.INFO)  # the platform's level
                bare = _seconds(cancel, job_ids, logging.WARNING) if cancel else 0.0  # Python's, without any set-up
                pipe.send(((whole, bare), ""))
            except RuntimeError as error:
                pipe.send(((), str(error)))


def _seconds(call: Callable[[str], object], job_ids: list[str], level: int) -> float:
    logging.getLogger().setLevel(level)
    started = time.process_time()
    for job_id in job_ids:
        call(job_id)
    return time.process_time() - started
