"""Throughput: cancels per second, ours beside the plain function, from 1 to 64 in flight, in one and the same harness.

Each point has a process of its own that loads the function through local.host.worker, with as many threads as are in
flight and no broker in between. Job Router is bench.fast_server over https, which answers after the service time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, NamedTuple, Self

from bench.fast_server import fast_server
from bench.rows import Curve, Measured, Row, Spread
from bench.throughput_process import Cancelled
from bench.worker import OURS, PLAIN, ROOT, certificate, with_access_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.worker import Certificate

PEER = "plain function around the SDK"
IN_FLIGHT = (1, 4, 16, 32, 64)
SERVICE_TIMES = (0.02, 0.08)  # seconds
SECONDS = 0.9  # of each point in each round; twice that with one in flight, which makes a dozen calls a second
_TOLD = (1, 16, 64)  # in flight; the table's rows, the curves have them all
_CPU_IS_THE_LIMIT = (64, 0.02)
_CONNECTIONS_OF_THE_SDK = 10  # azure-core leaves requests' pool as it is
_WARM_UP_SECONDS = 0.2  # each thread has its connection then
_SIDES = (OURS, PLAIN)
# What this process may have inherited must not reach the workers: they run with their defaults, straight to loopback.
_NOT_INHERITED = ("JOB_ROUTER_", "REDELIVERY_", "AZURE_", "ServiceBusConnection", "PYTHON")


class Point(NamedTuple):
    """One place on a curve."""

    app: Path
    in_flight: int


def measure(
    rounds: int = 3,
    *,
    seconds: float = SECONDS,
    in_flight: Sequence[int] = IN_FLIGHT,
    service_times: Sequence[float] = SERVICE_TIMES,
) -> Measured:
    """The median of `rounds` at each point; about 85 s for the three.

    Raises:
        RuntimeError: a worker failed; the text ends with its last words.
    """
    rows: list[Row] = []
    curves: list[Curve] = []
    with certificate() as tls:
        for service_time in service_times:
            spreads = _spreads(tls, service_time, in_flight, seconds, rounds)
            rows += [_row(spreads, number, service_time) for number in in_flight if number in _TOLD]
            curves.append(_curve(spreads, in_flight, service_time))
    return Measured(rows, curves)


def _spreads(
    tls: Certificate, service_time: float, in_flight: Sequence[int], seconds: float, rounds: int
) -> dict[Point, Spread]:
    """All workers of a service time stay until its end; idle ones cost nothing. Ours and the peer take turns."""
    found: dict[Point, list[float]] = defaultdict(list)
    with fast_server(service_time, (tls.chain, tls.key)) as server, ExitStack() as opened:
        settings = with_access_key(server.endpoint) | {"REQUESTS_CA_BUNDLE": str(tls.bundle)}
        points = [Point(app, number) for number in in_flight for app in _SIDES]
        workers = {point: opened.enter_context(_Worker(point, settings)) for point in points}
        cancelled = sum(worker.cancel_for(_WARM_UP_SECONDS).count for worker in workers.values())
        for number in range(rounds):
            for at in in_flight:
                for app in _SIDES if number % 2 else reversed(_SIDES):
                    done = workers[Point(app, at)].cancel_for(seconds * 2 if at == 1 else seconds)
                    found[Point(app, at)].append(done.per_second)
                    cancelled += done.count
        requests = server.counted().requests
        if requests != cancelled:
            raise RuntimeError(f"{cancelled} messages were handled with {requests} requests: it must be one for each.")
    return {point: Spread.of(rates) for point, rates in found.items()}


def _row(spreads: Mapping[Point, Spread], in_flight: int, service_time: float) -> Row:
    limit, note = 1.0, ""
    if (in_flight, service_time) == _CPU_IS_THE_LIMIT:
        limit = 1.5
        note = "Here CPU is the limit: an interpreter keeps one core busy. Without that it would be 3,200 /s."
    elif in_flight > _CONNECTIONS_OF_THE_SDK:
        note = "The SDK keeps ten connections; beyond that the plain function opens new ones, each with a handshake."
    ours, peer = (spreads[Point(app, in_flight)] for app in _SIDES)
    what = f"throughput, {in_flight} in flight, service time {service_time * 1000:.0f} ms"
    return Row(what, "/s", ours, PEER, peer, limit, more_is_better=True, note=note)


def _curve(spreads: Mapping[Point, Spread], in_flight: Sequence[int], service_time: float) -> Curve:
    ours, peer = ([spreads[Point(app, number)].median for number in in_flight] for app in _SIDES)
    title = f"Throughput, service time {service_time * 1000:.0f} ms"
    return Curve(title, "in flight", "cancels per second", in_flight, ours, peer)


class _Worker:
    """A context manager around one process of throughput_process.py."""

    def __init__(self, point: Point, settings: Mapping[str, str]) -> None:
        self._point = point
        self._settings = settings

    def __enter__(self) -> Self:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_NOT_INHERITED) and not name.lower().endswith("_proxy")
        }
        settings = {
            "PYTHON_THREADPOOL_THREAD_COUNT": str(self._point.in_flight),
            "CANCELLATION_QUEUE_NAME": "job-cancellations",
            "ServiceBusConnection": "Endpoint=sb://localhost;SharedAccessKeyName=k;SharedAccessKey=v",
            **self._settings,
        }
        command = [sys.executable, "-m", "bench.throughput_process", str(self._point.app), str(self._point.in_flight)]
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=inherited | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        with self._errors, _pipe(self._process.stdout), _pipe(self._process.stdin):
            self._process.terminate()  # it may wait for its input, or be in the midst of a call
            self._process.wait(30)

    def cancel_for(self, seconds: float) -> Cancelled:
        try:
            print(seconds, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            line = ""
        else:
            line = _pipe(self._process.stdout).readline()
        if not line:
            self._process.wait(30)
            self._errors.seek(0)
            words = self._errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"The worker of {self._point.app.name!r} failed:\n{words}")
        return Cancelled(**json.loads(line))


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # each was asked for
    return pipe
