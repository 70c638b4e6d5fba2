"""Start worker_process.py for either app, straight to the loopback servers of a measurement, and read what it tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import certifi
import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[1]
OURS = ROOT
PLAIN, PLAIN_ENTRA, PLAIN_COMPLETE = (ROOT / "bench" / name for name in ("plain", "plain_entra", "plain_complete"))
KEY = "c2VjcmV0IG9mIHRoZSBiZW5jaA=="  # base64, of nothing that is secret
_SECONDS = 300.0  # no measurement takes so long; what does has hung
# What this process may have inherited must not reach the workers: they run with their defaults, straight to loopback.
_NOT_INHERITED = ("JOB_ROUTER_", "REDELIVERY_", "AZURE_", "IDENTITY_", "MSI_", "ServiceBusConnection", "PYTHON")


@dataclass(frozen=True)
class Reached:
    """What a worker had used when it had handled so many messages. at: seconds since the start of its process."""

    handled: int
    at: float
    cpu_seconds: float
    rss_kib: int = 0
    peak_kib: int = 0


class Certificate(NamedTuple):
    """PEM files for 127.0.0.1; `bundle` is what a client trusts."""

    chain: Path
    key: Path
    bundle: Path


@contextmanager
def certificate() -> Iterator[Certificate]:
    """https, as in Azure: the SDK makes it of each connection string, and sends tokens over nothing else.

    The bundle holds every authority of certifi's too: loading those is a part of a worker's start.
    """
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        made = Certificate(folder / "chain.pem", folder / "key.pem", folder / "bundle.pem")
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(str(made.key))
        for blob in issued.cert_chain_pems:
            blob.write_to_path(str(made.chain), append=True)
        made.bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
        yield made


def with_access_key(endpoint: str) -> dict[str, str]:
    return {"JOB_ROUTER_CONNECTION_STRING": f"endpoint={endpoint};accesskey={KEY}"}


def run_worker(
    app: Path, settings: Mapping[str, str], trusted: Path, counts: tuple[int, ...], threads: int = 1
) -> list[Reached]:
    """Let a fresh process handle messages until each of `counts` is reached; ours and the peer get the same settings.

    Raises:
        RuntimeError: it did not come to that; the text ends with the worker's last words.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_INHERITED) and not name.lower().endswith("_proxy")
    }
    environment = {
        "PYTHON_THREADPOOL_THREAD_COUNT": str(threads),
        "CANCELLATION_QUEUE_NAME": "job-cancellations",
        "ServiceBusConnection": "Endpoint=sb://localhost;SharedAccessKeyName=k;SharedAccessKey=v",
        "REQUESTS_CA_BUNDLE": str(trusted),
        **settings,
    }
    script = str(ROOT / "bench" / "worker_process.py")
    command = [sys.executable, script, str(app), str(threads), *map(str, counts)]
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=app, env=inherited | environment, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != len(counts):
        raise RuntimeError(f"The worker of {app.name!r} failed:\n{done.stderr[-2000:]}")
    reached = [Reached(**json.loads(line)) for line in lines]
    return [Reached(r.handled, r.at - started, r.cpu_seconds, r.rss_kib, r.peak_kib) for r in reached]
