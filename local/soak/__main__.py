"""`python -m local.soak`: many messages, faults of every kind, killed workers; then the count of what must be zero.

Exits 0 only when nothing was lost, nothing good was dead-lettered, every dead letter has its reason, no wrong job was
cancelled, and no note was told. The same seed plans the same messages, faults and mishaps.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import ssl
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import trustme
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from local.job_router import DEVELOPMENT_ACCESS_KEY, DIALECTS, Dialect, JobRouter
from local.job_router.server import SECOND_CANCEL_STATUSES
from local.service_bus import Broker, QueueOptions, SharedKey
from local.service_bus.claims import ROOT_KEY
from local.soak.chaos import BadSettings, Chaos
from local.soak.checker import Findings, check, first_id
from local.soak.plan import CANCELLED, Planned, plan, prepare
from local.soak.worker import Worker

QUEUE = QueueOptions(
    "job-cancellations",
    lock_duration_seconds=5.0,  # the shortest that Azure takes: what a killed worker held comes back soon
    duplicate_detection_window_seconds=600.0,  # a copy with its original's id would vanish
)
LISTEN_ONLY = SharedKey("listen", "LISTEN_KEY_VALUE", frozenset({"Listen"}))
_SENT_AT_ONCE = 500
_DRAIN_SECONDS = 180.0


@dataclass(frozen=True)
class Report:
    """What a soak found, for the command line and the tests. dead_letters: messages that ended so."""

    findings: Findings
    left: int
    mishaps: Counter[str]
    dead_letters: int
    seconds: float

    @property
    def is_clean(self) -> bool:
        return not (self.findings.total or self.left)


def soak(
    seed: int,
    count: int,
    folder: Path,
    *,
    longest_pause: float = 3.0,
    second_cancel: int = 409,
    dialect: Dialect = "recorded",
) -> Report:
    """Run one soak; log lines of the workers are left in `folder`.

    second_cancel, dialect: how the Job Router answers what nobody has seen, or has seen in two forms.
    """
    started = time.monotonic()
    planned = plan(seed, count)
    tls = _untrusted_certificate()
    with (
        Broker([QUEUE], keys=[ROOT_KEY, LISTEN_ONLY]) as broker,
        JobRouter(record=False, second_cancel=second_cancel, dialect=dialect) as router,
        JobRouter(record=False, tls=tls) as stranger,
    ):
        prepare(router, planned)
        _send(broker.connection_string, planned)
        worker = Worker(folder, _settings(broker, router))
        worker.start()
        try:
            chaos = Chaos(seed, QUEUE.name, broker, router, worker, _bad(broker, stranger), longest_pause)
            chaos.run(lambda: broker.counts(QUEUE.name).active == 0)
            if not worker.is_running:
                worker.start()
            broker.wait_until(lambda _: _left(broker) == 0, _DRAIN_SECONDS)
            worker.stop()
        finally:
            worker.kill()
        letters = broker.messages(QUEUE.name, dead_letter=True)
        findings = check(planned, router.jobs(), letters, worker.logs)
        buried = len({first_id(letter) for letter in letters})
        return Report(findings, _left(broker), chaos.mishaps, buried, time.monotonic() - started)


def _settings(broker: Broker, router: JobRouter) -> dict[str, str]:
    return {
        "PYTHON_THREADPOOL_THREAD_COUNT": "16",
        "CANCELLATION_QUEUE_NAME": QUEUE.name,
        "ServiceBusConnection": broker.connection_string,
        "JOB_ROUTER_CONNECTION_STRING": router.connection_string,
        "JOB_ROUTER_CONNECT_TIMEOUT_SECONDS": "1",
        "JOB_ROUTER_READ_TIMEOUT_SECONDS": "1",
        "REDELIVERY_FIRST_DELAY_SECONDS": "0.3",
        "REDELIVERY_LONGEST_DELAY_SECONDS": "5",
    }


def _bad(broker: Broker, stranger: JobRouter) -> BadSettings:
    key = DEVELOPMENT_ACCESS_KEY
    return {
        "no Job Router settings": {"JOB_ROUTER_CONNECTION_STRING": None},
        "a wrong access key": {"JOB_ROUTER_CONNECTION_STRING": f"endpoint={stranger.endpoint};accesskey=d3Jvbmc="},
        "an endpoint without an address": {
            "JOB_ROUTER_CONNECTION_STRING": f"endpoint=https://nowhere.invalid;accesskey={key}"
        },
        "a certificate nobody vouches for": {"JOB_ROUTER_CONNECTION_STRING": stranger.connection_string},
        "an identity that gets no token": {
            "JOB_ROUTER_CONNECTION_STRING": None,
            "JOB_ROUTER_ENDPOINT": stranger.endpoint,
            "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
        },
        "Listen only": {"ServiceBusConnection": broker.connection_string_for(LISTEN_ONLY.name)},
    }


def _untrusted_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


def _send(connection_string: str, planned: list[Planned]) -> None:
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_sender(QUEUE.name) as sender,
    ):
        for start in range(0, len(planned), _SENT_AT_ONCE):
            sender.send_messages(
                [
                    ServiceBusMessage(m.body, message_id=m.message_id, content_type="application/json")
                    for m in planned[start : start + _SENT_AT_ONCE]
                ]
            )


def _left(broker: Broker) -> int:
    counts = broker.counts(QUEUE.name)
    return counts.active + counts.locked + counts.scheduled + counts.deferred


def main() -> int:
    """Run and report; 0 when everything that must be zero is."""
    parser = argparse.ArgumentParser(prog="python -m local.soak", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000, help="how many to send (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="replays a plan; a new one is chosen and printed")
    parser.add_argument("--logs", type=Path, default=None, help="a folder to keep the workers' log lines in")
    parser.add_argument(
        "--second-cancel",
        type=int,
        choices=SECOND_CANCEL_STATUSES,
        default=409,
        help="what Job Router answers to a second cancel, which nobody has seen (default: %(default)s)",
    )
    parser.add_argument("--dialect", choices=DIALECTS, default="recorded", help="of its errors (default: %(default)s)")
    options = parser.parse_args()
    for name in ("azure", "proton"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    seed = options.seed if options.seed is not None else secrets.randbelow(1_000_000)
    expected = Counter("cancelled" if m.expected == CANCELLED else m.expected for m in plan(seed, options.messages))
    print(f"seed {seed}: {options.messages} messages, {dict(expected)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if options.logs:
            options.logs.mkdir(parents=True, exist_ok=True)
        folder_of_logs = options.logs or Path(folder)
        report = soak(
            seed,
            options.messages,
            folder_of_logs,
            second_cancel=options.second_cancel,
            dialect=options.dialect,
        )
    print(f"mishaps: {dict(report.mishaps)}")
    print(f"dead-lettered {report.dead_letters}, left on the queue {report.left}, {report.seconds:.0f} s")
    for name, found in vars(report.findings).items():
        print(f"{name.replace('_', ' '):20} {len(found)}  {'; '.join(found[:5])}".rstrip())
    answers = f"--second-cancel {options.second_cancel} --dialect {options.dialect}"
    print(f"again with: make soak ARGS='--seed {seed} --messages {options.messages} {answers}'")
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
