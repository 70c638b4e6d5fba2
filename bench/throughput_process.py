"""A worker that stays: loads a function app as the host does and cancels for as long as each line on stdin says.

`python -m bench.throughput_process APP IN_FLIGHT`, started by bench/throughput.py. A line with seconds comes in, a line
of JSON (Cancelled) goes out; it ends with its input. The log of either app is written where nobody reads it.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.host.configuration import read_trigger
from local.host.worker import make_worker

if TYPE_CHECKING:
    from local.host.worker import Worker


@dataclass(frozen=True)
class Cancelled:
    """What came of one stretch. per_second: summed over the threads, each by its own first and last call."""

    count: int
    per_second: float
    cpu_seconds: float


def main(app: str, in_flight: str) -> int:
    """Load the app, then do as the input says."""
    _log_to_nowhere()
    worker = make_worker(read_trigger(Path(app), os.environ), os.environ)
    threads, numbers = int(in_flight), itertools.count(1)
    with ThreadPoolExecutor(threads) as pool:
        for line in sys.stdin:
            before, until = time.process_time(), time.monotonic() + float(line)
            stretches = [pool.submit(_cancel_until, until, worker, numbers) for _ in range(threads)]
            done = [stretch.result() for stretch in stretches]
            count = sum(calls for calls, _ in done)
            rate = sum(calls / elapsed for calls, elapsed in done)
            print(json.dumps(asdict(Cancelled(count, rate, time.process_time() - before))), flush=True)
    worker.close()
    return 0


def _cancel_until(until: float, worker: Worker, numbers: itertools.count[int]) -> tuple[int, float]:
    """One after another, at least one; (how many, seconds that they took)."""
    calls, started = 0, time.monotonic()
    while True:
        number = next(numbers)
        error = worker.invoke(
            f"i-{number}", ("string", f'{{"jobId": "job-{number}"}}'), _metadata(number), _trace_parent(number)
        )
        if error:
            raise RuntimeError(error)
        calls += 1
        if (now := time.monotonic()) >= until:
            return calls, now - started


def _metadata(number: int) -> dict[str, tuple[str, Any]]:
    """What the host gives with a message that was sent without anything special (local/host/conversion.py)."""
    return {
        "MessageId": ("string", f"{number:032x}"),
        "LockToken": ("string", f"00000000-0000-4000-8000-{number:012x}"),
        "ContentType": ("string", "application/json"),
        "DeliveryCount": ("json", "1"),
        "EnqueuedTimeUtc": ("json", '"2026-01-31T12:00:00.123000"'),
        "ExpiresAtUtc": ("json", '"9999-12-31T23:59:59.9999999"'),
        "SequenceNumber": ("json", str(number)),
        "ApplicationProperties": ("json", "{}"),
        "UserProperties": ("json", "{}"),
    }


def _trace_parent(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


def _log_to_nowhere() -> None:
    """Each app's own line is made and written; what the SDKs tell at INFO is left out for both, as ours asks for."""
    logging.basicConfig(level=logging.INFO, filename=os.devnull)
    logging.getLogger("azure").setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
