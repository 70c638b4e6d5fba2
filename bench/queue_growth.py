"""What a message costs a worker as the queue grows: 100 to 100,000 messages waiting behind those that are handled.

The broker is the embedded one, in a process of its own, with a queue for each size. The worker is the whole of it: the
host stand-in with azure-servicebus, and the function. Job Router is bench.fast_server.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from azure.servicebus import ServiceBusClient, ServiceBusMessage

from bench.broker_process import broker_process
from bench.fast_server import fast_server
from bench.rows import Curve, Measured, Row, Spread
from bench.worker import ROOT, with_access_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.broker_process import Running

SIZES = (100, 1_000, 10_000, 100_000)
HANDLED = 1_000  # messages, of which a round takes the mean
_WARM_UP = 100  # messages; the first ones import, connect and build
_THREADS = 16  # as in production
_SENT_AT_ONCE = 500
_LIMIT = 1.2  # flat; the same measurement twice differs by a few per cent
_SECONDS = 120.0  # a worker needs about five; what takes so long has hung
# What this process may have inherited must not reach the workers: they run with their defaults, straight to loopback.
_NOT_INHERITED = ("JOB_ROUTER_", "REDELIVERY_", "AZURE_", "ServiceBusConnection", "PYTHON")


def measure(rounds: int = 3, *, sizes: Sequence[int] = SIZES, handled: int = HANDLED) -> Measured:
    """CPU milliseconds of the worker per message, at each size in turn, `rounds` times; about 70 s for the three.

    Raises:
        RuntimeError: a worker failed, or did not cancel what it handled; the text says which.
    """
    logging.getLogger("azure").setLevel(logging.CRITICAL)  # of a receiver that closes while messages arrive
    costs: dict[int, list[float]] = defaultdict(list)
    with broker_process([_queue(size) for size in sizes]) as broker, fast_server() as server:
        for number in range(rounds):
            for size in sizes if number % 2 else reversed(sizes):
                _fill(broker, _queue(size), size + _WARM_UP + handled)
                costs[size].append(_cpu_seconds(broker, _queue(size), server.endpoint, handled) / handled * 1000)
    spreads = [Spread.of(costs[size]) for size in sizes]
    row = Row(
        f"CPU per message, {sizes[-1]:,} waiting",
        "ms",
        spreads[-1],
        f"itself, {sizes[0]:,} waiting",
        spreads[0],
        _LIMIT,
        note="Of a whole worker, host stand-in and azure-servicebus included; the broker is another process.",
    )
    medians = [spread.median for spread in spreads]
    return Measured([row], [Curve("Cost per message as the queue grows", "messages waiting", "ms", sizes, medians)])


def _queue(size: int) -> str:
    return f"waiting-{size}"


def _fill(broker: Running, queue: str, size: int) -> None:
    """Send what is missing to `size`; what a worker left locked comes to it again later."""
    missing = size - broker.counts(queue).active
    with (
        ServiceBusClient.from_connection_string(broker.connection_string) as client,
        client.get_queue_sender(queue) as sender,
    ):
        for start in range(0, missing, _SENT_AT_ONCE):
            bodies = [json.dumps({"jobId": f"job-{n}"}) for n in range(start, min(start + _SENT_AT_ONCE, missing))]
            sender.send_messages([ServiceBusMessage(body, content_type="application/json") for body in bodies])


def _cpu_seconds(broker: Running, queue: str, endpoint: str, handled: int) -> float:
    """A fresh worker each time: what the one before left in memory is not measured."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_INHERITED) and not name.lower().endswith("_proxy")
    }
    settings = {
        "PYTHON_THREADPOOL_THREAD_COUNT": str(_THREADS),
        "CANCELLATION_QUEUE_NAME": queue,
        "ServiceBusConnection": broker.connection_string,
        **with_access_key(endpoint),
    }
    command = [sys.executable, "-m", "bench.queue_growth_process", str(_WARM_UP), str(handled)]
    environment = inherited | settings
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode:
        raise RuntimeError(f"The worker failed:\n{done.stderr[-2000:]}")
    counts = broker.counts(queue)
    if counts.dead_lettered or counts.scheduled:
        raise RuntimeError(f"Each message should have been cancelled at its first delivery: {counts}.")
    return float(done.stdout)
