"""A broker with administration, a Job Router, and the commands run against them."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from local.job_router import JobRouter
from local.service_bus import Broker, QueueOptions, SharedKey
from local.service_bus.claims import ROOT_KEY
from ops.__main__ import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typer.testing import Result

QUEUE = "job-cancellations"
SESSIONS = "sessions"
HURTING = "hurting"  # every property that the doctor warns of
LISTENER = SharedKey("listener", "LISTENER_KEY", frozenset({"Listen"}))
SENDER = SharedKey("sender", "SENDER_KEY", frozenset({"Send"}))


class Stage:
    """What an operator has before them: a queue, a Job Router, the function's settings."""

    def __init__(self, broker: Broker, job_router: JobRouter, folder: Path) -> None:
        assert broker.administration is not None
        self.broker = broker
        self.job_router = job_router
        self.folder = folder
        self.settings = {
            "ServiceBusConnection": broker.connection_string,
            "CANCELLATION_QUEUE_NAME": QUEUE,
            "SERVICE_BUS_MANAGEMENT_PORT": str(broker.administration.port),
            "JOB_ROUTER_CONNECTION_STRING": job_router.connection_string,
            "PYTHON_THREADPOOL_THREAD_COUNT": "16",
        }

    def environment(self, **changes: str | None) -> dict[str, str | None]:
        ours = ("ServiceBusConnection", "CANCELLATION_QUEUE_NAME", "JOB_ROUTER_", "REDELIVERY_", "SERVICE_BUS_")
        inherited: dict[str, str | None] = {name: None for name in os.environ if name.startswith(ours)}
        return {**inherited, **self.settings, **changes}

    def process_environment(self) -> dict[str, str]:
        """For a process of its own."""
        changed = self.environment()
        kept = {name: value for name, value in os.environ.items() if name not in changed}
        return kept | {name: value for name, value in changed.items() if value is not None}

    def run(self, *arguments: str, given: str | bytes | None = None, **changes: str | None) -> Result:
        """`python -m ops …` in this process; no terminal."""
        return CliRunner().invoke(app, arguments, input=given, env=self.environment(**changes))

    def file(self, name: str, text: str | bytes) -> str:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def key_of(self, key: SharedKey) -> str:
        return self.broker.connection_string_for(key.name)

    def bodies(self, queue: str = QUEUE) -> list[str]:
        return [bytes(message.body).decode() for message in self.broker.messages(queue)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    logging.getLogger("proton").setLevel(logging.CRITICAL)
    queues = [
        QueueOptions(QUEUE, dead_letter_on_expiration=True),
        QueueOptions(SESSIONS, requires_session=True),
        QueueOptions(HURTING, lock_duration_seconds=5, max_delivery_count=3, default_time_to_live_seconds=600),
    ]
    keys = [ROOT_KEY, LISTENER, SENDER]
    with Broker(queues, keys=keys, administration_port=0) as broker, JobRouter() as job_router:
        yield Stage(broker, job_router, tmp_path)


@pytest.fixture(autouse=True)
def no_keep_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each close of the client waits for a keep-alive thread that sleeps for a second; nothing idles that long here."""
    monkeypatch.setattr("azure.servicebus._pyamqp.client.AMQPClient._keep_alive", lambda _client: None)
