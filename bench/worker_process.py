"""A worker in a process of its own: loads a function app as the host does and hands it one good message after another.

Run as a script: worker_process.py APP THREADS COUNT…; each time COUNT messages in all are handled, it writes a line of
JSON (Reached, in worker.py). It imports nothing that the platform's worker would not have imported.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_HOST = Path(__file__).resolve().parents[1] / "local" / "host"


def main(app: str, threads: str, *counts: str) -> None:
    trigger = _module("configuration").read_trigger(Path(app), os.environ)
    worker = _module("worker").make_worker(trigger, os.environ)

    def handle(numbers: range) -> None:
        for number in numbers:
            error = worker.invoke(f"i-{number}", ("string", f'{{"jobId": "job-{number}"}}'), _metadata(number), "")
            if error:
                raise RuntimeError(error)

    width, handled = int(threads), 0
    pool = ThreadPoolExecutor(width)
    for count in map(int, counts):
        # As many tasks as threads, not as messages: 20,000 futures would be the memory that is measured.
        list(pool.map(handle, [range(handled + thread, count, width) for thread in range(width)]))
        handled = count
        reached = {"handled": handled, "at": time.monotonic(), "cpu_seconds": time.process_time(), **_memory()}
        print(json.dumps(reached), flush=True)
    os._exit(0)  # what follows, such as joining threads, is no part of any measurement


def _module(name: str) -> Any:
    """local/host/NAME.py by itself: its package imports azure.servicebus for the part that plays the host."""
    spec = importlib.util.spec_from_file_location(f"host_{name}", _HOST / f"{name}.py")
    assert spec
    assert spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _metadata(number: int) -> dict[str, tuple[str, Any]]:
    """What comes with a message that was sent without anything special, as local/host/conversion.py gives it."""
    strings = {
        "MessageId": f"{number:032x}",
        "LockToken": f"00000000-0000-4000-8000-{number:012x}",
        "ContentType": "application/json",
    }
    values: dict[str, Any] = {
        "DeliveryCount": 1,
        "ExpiresAtUtc": "9999-12-31T23:59:59.9999999",
        "ExpiresAt": "9999-12-31T23:59:59.9999999+00:00",
        "EnqueuedTimeUtc": "2026-01-31T12:00:00.123000",
        "EnqueuedTime": "2026-01-31T12:00:00.123000+00:00",
        "SequenceNumber": number + 1,
        "ApplicationProperties": {},
        "UserProperties": {},
    }
    texts = {name: ("string", value) for name, value in strings.items()}
    return texts | {name: ("json", json.dumps(value)) for name, value in values.items()}


def _memory() -> dict[str, int]:
    """KiB now and at most so far; nothing where there is no /proc. ru_maxrss would count the parent process too."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines)
    return {"rss_kib": int(fields["VmRSS"].split()[0]), "peak_kib": int(fields["VmHWM"].split()[0])}


if __name__ == "__main__":
    main(*sys.argv[1:])
