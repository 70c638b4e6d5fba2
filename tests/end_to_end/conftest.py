"""The whole stack in this process, and what the function wrote to its log."""

from __future__ import annotations

import json
import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from local.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.service_bus import Broker

QUEUE = "job-cancellations"


def forget_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the function as a new worker finds it: nothing built yet."""
    import importlib
    import sys

    for name in ("cancel_job_function", "__app__.cancel_job_function"):
        if name in sys.modules:
            monkeypatch.setattr(sys.modules[name], "_application", None)
            sys.modules[name]._queue_of.cache_clear()
    importlib.invalidate_caches()


@pytest.fixture
def fresh_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """As forget_application, for one test."""
    forget_application(monkeypatch)


@pytest.fixture
def stack(fresh_function: None) -> Iterator[Stack]:
    with Stack() as running:
        yield running


@pytest.fixture
def send() -> Callable[..., None]:
    def send(stack: Stack, *messages: ServiceBusMessage) -> None:
        with (
            ServiceBusClient.from_connection_string(stack.broker.connection_string) as client,
            client.get_queue_sender(QUEUE) as sender,
        ):
            sender.send_messages(list(messages))

    return send


class HasBroker(Protocol):
    """A whole stack, or as much of one as a test needs."""

    broker: Broker


class Lines(logging.Handler):
    """The lines that the function logged, each as (level, fields)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, dict[str, Any]]] = []
        self._more = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._more:
            self.found.append((record.levelno, json.loads(record.getMessage())))
            self._more.notify_all()

    def wait_for(self, outcome: str, count: int = 1) -> list[tuple[int, dict[str, Any]]]:
        """All lines, once `count` of them have that outcome: a line is written after its message is settled."""
        with self._more:
            assert self._more.wait_for(lambda: [f["outcome"] for _, f in self.found].count(outcome) >= count, 20)
            return list(self.found)


@pytest.fixture
def lines() -> Iterator[Lines]:
    found = Lines()
    logger, handler = logging.getLogger("cancel_job"), found
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)


def drained(stack: HasBroker, timeout: float = 30) -> bool:
    """Wait until nothing is left to receive, nothing is locked, and nothing is to come."""

    def empty(_: object) -> bool:
        counts = stack.broker.counts(QUEUE)
        return counts.active == counts.locked == counts.scheduled == 0

    return stack.broker.wait_until(empty, timeout)
