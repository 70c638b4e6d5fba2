"""Dead-lettering: the time from the decision to the settled message, one at a time and sixteen at once.

Against the embedded broker in another process, so that its work does not compete for this one's interpreter lock; once
straight on loopback, where nothing counts but what client and broker compute, and once with a network between them.
"""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from azure.servicebus import ServiceBusClient, ServiceBusMessage

from bench.broker_process import broker_process
from bench.distance import distance
from bench.rows import Measured, Row, Spread
from shared.settings import ServiceBusSettings
from shared.settlement import ServiceBusSettler

if TYPE_CHECKING:
    from collections.abc import Iterator

QUEUE = "job-cancellations"
THREADS = 16
SINGLE, BURSTS = 200, 15  # messages one at a time, and times that THREADS messages are settled at once, in a round
ROUND_TRIP_SECONDS = 0.02  # what settling takes in Azure, within one region, is of this order
_AT_ONCE_LIMIT = 4.0  # times the single cost: "a few times"
_DESCRIPTION = "Job Router knows no such job at this endpoint. The job to cancel does not exist."


@dataclass
class Found:
    """Milliseconds of each settling. first: on a connection that had to be opened."""

    first: float = 0.0
    single: list[float] = field(default_factory=list)
    at_once: list[float] = field(default_factory=list)


def measure(rounds: int = 3, single: int = SINGLE, bursts: int = BURSTS) -> Measured:
    """Medians over the rounds of each round's median and 99th percentile; some 12 s a round."""
    near, far = [], []
    with broker_process([QUEUE]) as broker:
        port = int(broker.connection_string.partition("localhost:")[2].partition(";")[0])
        with distance(port, ROUND_TRIP_SECONDS) as far_port:
            beyond = broker.connection_string.replace(f"localhost:{port}", f"localhost:{far_port}")
            for _ in range(rounds):
                near.append(_round(broker.connection_string, broker.connection_string, single, bursts))
                far.append(_round(broker.connection_string, beyond, single, bursts))
        expected = rounds * 2 * (1 + single + (bursts + 1) * THREADS)
        assert broker.counts(QUEUE).dead_lettered == expected, "Each message has to become a dead letter."
    trip = f"{ROUND_TRIP_SECONDS * 1000:.0f} ms round trip"
    return Measured(
        [
            *_rows(f"dead-lettering, {trip}", far, _AT_ONCE_LIMIT, "decision to settled, connections warm"),
            *_rows("dead-lettering, loopback", near, None, "no network: nothing but what client and broker compute"),
        ]
    )


def _rows(what: str, found: list[Found], limit: float | None, note: str) -> list[Row]:
    one = Spread.of([statistics.median(f.single) for f in found])
    many = Spread.of([statistics.median(f.at_once) for f in found])
    first = Spread.of([f.first for f in found])
    return [
        Row(f"{what}: median", "ms", one, note=note),
        Row(f"{what}: 99th percentile", "ms", Spread.of([_p99(f.single) for f in found])),
        Row(f"{what}: median, {THREADS} threads at once", "ms", many, "one at a time", one, limit),
        Row(f"{what}: 99th percentile, {THREADS} at once", "ms", Spread.of([_p99(f.at_once) for f in found])),
        Row(f"{what}: first use", "ms", first, note="connect, sign in, open the link: the SDK waits in steps of 50 ms"),
    ]


def _round(connection_string: str, settled_over: str, single: int, bursts: int) -> Found:
    settler, found = ServiceBusSettler(ServiceBusSettings(QUEUE, settled_over)), Found()

    def settle(lock_token: str) -> float:
        started = time.perf_counter()
        settler.dead_letter(lock_token, "JobNotFound", _DESCRIPTION)
        return (time.perf_counter() - started) * 1000

    together = threading.Barrier(THREADS)

    def settle_together(lock_token: str) -> float:
        together.wait(60)
        return settle(lock_token)

    with _locked(connection_string, 1 + single + (bursts + 1) * THREADS) as tokens:
        first, alone, burst = tokens[0], tokens[1 : 1 + single], tokens[1 + single :]
        found.first = settle(first)
        found.single += map(settle, alone)
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(settle_together, burst[:THREADS]))  # opens a connection for each thread
            found.at_once += threads.map(settle_together, burst[THREADS:])
    settler.close()
    return found


@contextmanager
def _locked(connection_string: str, count: int) -> Iterator[list[str]]:
    """Lock tokens of so many messages, held by a receiver as the host holds them."""
    with ServiceBusClient.from_connection_string(connection_string) as client:
        with client.get_queue_sender(QUEUE) as sender:
            sender.send_messages([ServiceBusMessage(f'{{"jobId": "job-{number}"}}') for number in range(count)])
        with client.get_queue_receiver(QUEUE) as receiver:
            tokens: list[str] = []
            while len(tokens) < count:
                received = receiver.receive_messages(count - len(tokens), max_wait_time=10)
                assert received, "The messages just sent have to come."
                tokens += [str(message.lock_token) for message in received]
            yield tokens


def _p99(figures: list[float]) -> float:
    return sorted(figures)[int(len(figures) * 0.99)]
