"""`python -m bench.ops_list [--letters N] [--rounds N]`: how soon, how long and with how much memory `list` works.

The broker and the tool run in processes of their own; the letters are put there through the broker's own API. `list`
writes to a pipe, as `| grep` gives it. A smaller queue is measured beside, so that growth of memory shows, and a loop
around the SDK's `peek_messages` that does nothing with what it gets: the broker's own speed.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import proton

from local.service_bus import Broker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

QUEUE = "job-cancellations"
_SMALL = 1_000  # letters
_WHY = "Job Router knows no such job at this endpoint. The service said: Job not found. (code: JobNotFound; attempt: 1)"
# Runs the tool, then writes what it took on a line of its own behind the rows.
_MEASURED = """
import sys
from ops.__main__ import main
try:
    main()
finally:
    status = open("/proc/self/status").read()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    print("peak", peak, flush=True)
"""


_BARE = """
import os
from azure.servicebus import ServiceBusClient
with (
    ServiceBusClient.from_connection_string(os.environ["ServiceBusConnection"]) as client,
    client.get_queue_receiver(os.environ["CANCELLATION_QUEUE_NAME"], sub_queue="deadletter") as receiver,
):
    start, count = 1, 0
    while page := receiver.peek_messages(250, sequence_number=start):
        start, count = page[-1].sequence_number + 1, count + len(page)
print(count)
"""


@dataclass(frozen=True)
class Taken:
    """Seconds from the process's start to the first row and to its end; its peak resident set in KiB."""

    letters: int
    first_row: float
    total: float
    peak_kib: int


def measure(count: int, arguments: Sequence[str] = ()) -> Taken:
    """List a queue of `count` dead letters once.

    Raises:
        RuntimeError: a row is missing, or the tool failed.
    """
    with dead_letters(count) as connection_string:
        environment = os.environ | {"ServiceBusConnection": connection_string, "CANCELLATION_QUEUE_NAME": QUEUE}
        began = time.perf_counter()
        first_row, rows, peak = 0.0, 0, 0
        command = [sys.executable, "-c", _MEASURED, "dead-letters", "list", *arguments]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            for line in process.stdout or ():
                if line.startswith("peak "):
                    peak = int(line.split()[1])
                    continue
                first_row = first_row or time.perf_counter() - began
                rows += 1
        total = time.perf_counter() - began
    if process.returncode or rows != count:
        raise RuntimeError(f"{rows} of {count} rows came, exit code {process.returncode}.")
    return Taken(count, first_row, total, peak)


def bare(count: int) -> float:
    """Seconds that the SDK alone takes to look at as many.

    Raises:
        RuntimeError: it did not see them all.
    """
    with dead_letters(count) as connection_string:
        environment = os.environ | {"ServiceBusConnection": connection_string, "CANCELLATION_QUEUE_NAME": QUEUE}
        began = time.perf_counter()
        seen = subprocess.run(
            [sys.executable, "-c", _BARE], env=environment, capture_output=True, text=True, check=True
        )
        total = time.perf_counter() - began
    if int(seen.stdout) != count:
        raise RuntimeError(f"The SDK saw {seen.stdout.strip()} of {count}.")
    return total


@contextmanager
def dead_letters(count: int) -> Iterator[str]:
    """The connection string of a broker with that many dead letters."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, count), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join(10)


def _serve(pipe: Connection, count: int) -> None:
    logging.getLogger("proton").setLevel(logging.CRITICAL)
    with Broker() as broker:
        with broker.lock:
            dead = broker.queue(QUEUE).dead_letters
            for number in range(count):
                body = json.dumps({"jobId": f"8780b28c-7079-4de1-9143-{number:012d}", "note": "Customer hung up"})
                reason = "JobNotFound" if number % 3 else "RetriesExhausted"
                properties = {"DeadLetterReason": reason, "DeadLetterErrorDescription": _WHY, "tenant": "north"}
                message = proton.Message(body.encode(), id=f"order-{number}", properties=properties)
                message.content_type, message.inferred = "application/json", True
                dead.send(message)
        pipe.send(broker.connection_string)
        pipe.recv()


def main() -> None:
    """Measure and print a row for each size and each form of the output."""
    parser = argparse.ArgumentParser(prog="python -m bench.ops_list", description=__doc__)
    parser.add_argument("--letters", type=int, default=100_000, help="dead letters (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (default: %(default)s)")
    options = parser.parse_args()
    print(f"{'letters':>8}  {'output':<6}  {'first row (s)':>13}  {'total (s)':>9}  {'peak (MiB)':>10}")
    for count in (min(_SMALL, options.letters), options.letters):
        for name, arguments in (("rows", ()), ("json", ("--json",))):
            taken = [measure(count, arguments) for _ in range(options.rounds)]
            first, total, peak = (
                statistics.median(values)
                for values in zip(*((one.first_row, one.total, one.peak_kib / 1024) for one in taken), strict=True)
            )
            print(f"{count:>8,}  {name:<6}  {first:>13.2f}  {total:>9.2f}  {peak:>10.1f}")
        alone = statistics.median(bare(count) for _ in range(options.rounds))
        print(f"{count:>8,}  {'bare':<6}  {'':>13}  {alone:>9.2f}")


if __name__ == "__main__":
    main()
