"""A broker with dead letters in it, and the commands run against it."""

from __future__ import annotations

import itertools
import json
import logging
import os
from typing import TYPE_CHECKING, Any

import proton
import pytest
from azure.servicebus import ServiceBusReceiver
from azure.servicebus.exceptions import ServiceBusConnectionError
from typer.testing import CliRunner

from local.service_bus import Broker, QueueOptions, SharedKey
from local.service_bus.claims import ROOT_KEY
from ops.__main__ import app

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from azure.servicebus import ServiceBusReceivedMessage
    from pytest_mock import MockerFixture
    from typer.testing import Result

    from local.service_bus import StoredMessage

QUEUE = "job-cancellations"
SESSIONS = "sessions"
UNIQUE = "unique"  # detects duplicates
LISTENER = SharedKey("listener", "LISTENER_KEY", frozenset({"Listen"}))
SENDER = SharedKey("sender", "SENDER_KEY", frozenset({"Send"}))


class Site:
    """The broker, the commands' environment, and what tests do often."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.settings = {
            "ServiceBusConnection": broker.connection_string,
            "CANCELLATION_QUEUE_NAME": QUEUE,
            "XDG_STATE_HOME": str(folder / "state"),
        }

    def bury(
        self,
        job_id: str = "job-1",
        *,
        reason: str = "JobNotFound",
        description: str = "Job Router knows no such job. (code: JobNotFound; status: 404; attempt: 1)",
        message: proton.Message | None = None,
        properties: Mapping[str, Any] | None = None,
        message_id: str | None = None,
        queue: str = QUEUE,
        body: bytes | None = None,
    ) -> None:
        """Put a letter into the dead-letter queue, as the broker does when the function dead-letters."""
        body = json.dumps({"jobId": job_id}).encode() if body is None else body
        if message is None:
            message = proton.Message(body, id=message_id or f"message-{job_id}", content_type="application/json")
            message.inferred = True
        named = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        message.properties = {**(message.properties or {}), **(properties or {}), **named}
        with self.broker.lock:
            self.broker.queue(queue).dead_letters.send(message)

    def bury_many(self, count: int) -> list[str]:
        jobs = [f"job-{number}" for number in range(count)]
        for job in jobs:
            self.bury(job)
        return jobs

    def run(self, *arguments: str, given: str | None = None, **changes: str | None) -> Result:
        """`python -m ops dead-letters …` in this process."""
        ours = ("ServiceBusConnection", "CANCELLATION_QUEUE_NAME")
        inherited = {name: None for name in os.environ if name.startswith(ours)}
        environment: dict[str, str | None] = {**inherited, **self.settings, **changes}
        return CliRunner().invoke(app, ["dead-letters", *arguments], input=given, env=environment)

    def sent(self, queue: str = QUEUE) -> list[StoredMessage]:
        return self.broker.messages(queue)

    def sent_jobs(self, queue: str = QUEUE) -> list[str]:
        return sorted(json.loads(bytes(message.body))["jobId"] for message in self.sent(queue))

    def dead(self, queue: str = QUEUE) -> list[StoredMessage]:
        return self.broker.messages(queue, dead_letter=True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    logging.getLogger("proton").setLevel(logging.CRITICAL)
    queues = [
        QueueOptions(QUEUE),
        QueueOptions(SESSIONS, requires_session=True),
        QueueOptions(UNIQUE, duplicate_detection_window_seconds=600),
    ]
    with Broker(queues, keys=[ROOT_KEY, LISTENER, SENDER]) as broker:
        yield Site(broker, tmp_path)


@pytest.fixture(autouse=True)
def no_keep_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each close of the client waits for a keep-alive thread that sleeps for a second; nothing idles that long here."""
    monkeypatch.setattr("azure.servicebus._pyamqp.client.AMQPClient._keep_alive", lambda _client: None)


def cut_the_connection(mocker: MockerFixture, nth: int) -> None:
    """The nth completing of a letter fails, as where the connection is gone."""
    complete, calls = ServiceBusReceiver.complete_message, itertools.count(1)

    def failing(receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> None:
        if next(calls) == nth:
            raise ServiceBusConnectionError(message="The connection was forced to close.")
        complete(receiver, message)

    mocker.patch.object(ServiceBusReceiver, "complete_message", failing)
