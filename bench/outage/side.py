"""One side of the comparison: a function app as its own process, with a broker and a Job Router of its own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trustme
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from bench.outage.figures import Arrivals, Figures, Outage, figures
from local.job_router import Fault, JobRouter
from local.service_bus import Broker, QueueOptions

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
APPS = {"plain": ROOT / "bench" / "plain", "ours": ROOT}
THREADS = 16
QUEUE = QueueOptions("job-cancellations")  # Service Bus defaults: 10 deliveries, a lock of 60 s
_SENT_AT_ONCE = 500
_WARM_UP_SECONDS = 60.0
_WARM_UP_JOB = "warm-up"
# What this process may have inherited must not reach the workers: they run with their defaults, straight to loopback.
_NOT_INHERITED = ("JOB_ROUTER_", "REDELIVERY_", "AZURE_", "ServiceBusConnection", "CANCELLATION_QUEUE_NAME")


@dataclass(frozen=True)
class Certificate:
    """Both apps speak https, as in Azure: the SDK makes it of every connection string."""

    server: ssl.SSLContext
    authority: Path


def make_certificate(folder: Path) -> Certificate:
    """A certificate for 127.0.0.1; the authority that vouches for it is left in `folder`."""
    import ssl

    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    return Certificate(context, folder / "authority.pem")


@dataclass(frozen=True)
class State:
    """Where the messages are now. waiting: active or locked."""

    cancelled: int
    dead_lettered: int
    waiting: int
    scheduled: int
    requests: int

    @property
    def left(self) -> int:
        return self.waiting + self.scheduled


class Side:
    """A context manager; once entered, all workers listen and one job was cancelled. settings: on top of the usual."""

    def __init__(
        self, name: str, workers: int, folder: Path, certificate: Certificate, settings: Mapping[str, str]
    ) -> None:
        self.name = name
        self._workers = workers
        self._app = APPS[name]
        self._log = folder / name
        self._certificate = certificate
        self._settings = settings
        self._arrivals = Arrivals()
        self._broker = Broker([QUEUE])
        self._router = JobRouter(record=False, tls=certificate.server)
        self._router.faults = self._arrivals
        self._sent: set[str] = set()
        self._fault = Fault("status", times=None)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(self._broker)
            opening.enter_context(self._router)
            workers = [self._start(number) for number in range(self._workers)]
            for worker in workers:
                opening.callback(_stop, worker)
            self._warm_up(workers)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def go_down(self, status: int) -> None:
        """Answer every request with `status` from now on. Not a closed port: what arrives has to be counted."""
        self._fault = Fault("status", status=status, times=None)
        self._router.faults.add(self._fault)

    def come_back(self) -> None:
        """Be whole again."""
        self._router.faults.remove(self._fault)

    def send(self, job_ids: Sequence[str]) -> None:
        """A queued job and a message that asks for its cancellation, for each id."""
        self._sent.update(job_ids)
        for job_id in job_ids:
            self._router.add_job(job_id)
        with (
            ServiceBusClient.from_connection_string(self._broker.connection_string) as client,
            client.get_queue_sender(QUEUE.name) as sender,
        ):
            for start in range(0, len(job_ids), _SENT_AT_ONCE):
                bodies = [json.dumps({"jobId": job_id}) for job_id in job_ids[start : start + _SENT_AT_ONCE]]
                sender.send_messages([ServiceBusMessage(body, content_type="application/json") for body in bodies])

    def state(self) -> State:
        counts = self._broker.counts(QUEUE.name)
        waiting = counts.active + counts.locked + counts.deferred
        return State(len(self._cancelled()), counts.dead_lettered, waiting, counts.scheduled, len(self._arrivals.seen))

    def figures(self, outage: Outage) -> Figures:
        """What it came to."""
        state = self.state()
        seen = list(self._arrivals.seen)
        return figures(outage, seen, self._cancelled(), len(self._sent), state.dead_lettered, state.left)

    def _cancelled(self) -> set[str]:
        return {job.id for job in self._router.jobs() if job.status == "cancelled"} & self._sent

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_NOT_INHERITED) and not name.lower().endswith("_proxy")
        }
        settings = {
            "PYTHON_THREADPOOL_THREAD_COUNT": str(THREADS),
            "CANCELLATION_QUEUE_NAME": QUEUE.name,
            "ServiceBusConnection": self._broker.connection_string,
            "JOB_ROUTER_CONNECTION_STRING": self._router.connection_string,
            "REQUESTS_CA_BUNDLE": str(self._certificate.authority),
            **self._settings,
        }
        with self._log_of(number).open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "local.host", "--app", str(self._app)],
                cwd=ROOT,
                env=inherited | settings,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _log_of(self, number: int) -> Path:
        return self._log.with_suffix(f".{number}.log")

    def _warm_up(self, workers: list[subprocess.Popen[bytes]]) -> None:
        """Wait until each worker listens and one job is cancelled: from here on the app is known to work.

        Raises:
            RuntimeError: it did not come to that; the text ends with a worker's last lines.
        """
        self.send([_WARM_UP_JOB])
        deadline = time.monotonic() + _WARM_UP_SECONDS
        while self._broker.consumers(QUEUE.name) < len(workers) or self.state().left or not self._cancelled():
            ended = [number for number, worker in enumerate(workers) if worker.poll() is not None]
            if ended or time.monotonic() > deadline or self.state().dead_lettered:
                tail = self._log_of(ended[0] if ended else 0).read_text(encoding="utf-8", errors="replace")[-2000:]
                raise RuntimeError(f"The app '{self.name}' does not get to work:\n{tail}")
            time.sleep(0.1)
        self._sent.clear()
        self._arrivals.seen.clear()


def quieten() -> None:
    """Leave it to the clients to say what matters of their connections."""
    for name in ("azure", "proton"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(30)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
