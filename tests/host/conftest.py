"""A broker, a function app written for the test, and the host stand-in that runs it."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from local.host import FunctionsHost, InvocationResult
from local.service_bus import Broker, QueueOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUEUE = "work"


@pytest.fixture(autouse=True)
def no_keep_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each close of the client waits for a keep-alive thread that sleeps for a second; nothing idles that long here."""
    monkeypatch.setattr("azure.servicebus._pyamqp.client.AMQPClient._keep_alive", lambda _client: None)


@pytest.fixture
def broker() -> Iterator[Broker]:
    logging.getLogger("proton").setLevel(logging.CRITICAL)
    with Broker([QueueOptions(QUEUE, lock_duration_seconds=2, max_delivery_count=2)]) as running:
        yield running


def write_app(folder: Path, code: str, *, binding: dict[str, Any] | None = None, **service_bus: Any) -> str:
    """Write a function app; the function's name is its own, as the runtime library remembers names."""
    name = f"function_{uuid.uuid4().hex}"
    trigger = {"name": "message", "type": "serviceBusTrigger", "direction": "in", "queueName": "%QUEUE%"}
    bindings = [trigger | {"connection": "Bus"} | (binding or {})]
    (folder / name).mkdir()
    (folder / name / "function.json").write_text(
        json.dumps({"scriptFile": "__init__.py", "entryPoint": "main", "bindings": bindings})
    )
    (folder / name / "__init__.py").write_text(code)
    (folder / "host.json").write_text(json.dumps({"version": "2.0", "extensions": {"serviceBus": service_bus}}))
    return name


class Running:
    """A host at work, and the results it told."""

    def __init__(self) -> None:
        self.results: list[InvocationResult] = []
        self._told = threading.Condition()

    def tell(self, result: InvocationResult) -> None:
        with self._told:
            self.results.append(result)
            self._told.notify_all()

    def wait_for(self, count: int) -> list[InvocationResult]:
        with self._told:
            assert self._told.wait_for(lambda: len(self.results) >= count, 15), self.results
            return list(self.results)


@pytest.fixture
def run_app(broker: Broker, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    with ExitStack() as opened:

        def run(code: str, **options: Any) -> Running:
            write_app(tmp_path, code, **options)
            settings = {"QUEUE": QUEUE, "Bus": broker.connection_string, "PYTHON_THREADPOOL_THREAD_COUNT": "8"}
            running = Running()
            opened.enter_context(FunctionsHost(tmp_path, settings, on_result=running.tell))
            return running

        yield run


def send(broker: Broker, *messages: ServiceBusMessage | str) -> None:
    with (
        ServiceBusClient.from_connection_string(broker.connection_string) as client,
        client.get_queue_sender(QUEUE) as sender,
    ):
        sender.send_messages([ServiceBusMessage(m) if isinstance(m, str) else m for m in messages])
