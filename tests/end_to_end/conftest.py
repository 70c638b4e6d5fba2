"""The whole stack in this process, and what the function wrote to its log."""

from __future__ import annotations

import json
import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, cast

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from local.job_router import Dialect, JobRouter
from local.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.service_bus import Broker

QUEUE = "job-cancellations"


class Answers(TypedDict, total=False):
    """Options of the embedded Job Router for what nobody has seen of the real one."""

    second_cancel: int
    dialect: Dialect


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


# What the service may answer to a second cancel, which nobody has seen, each once; and both dialects of its errors.
ANSWERS: dict[str, Answers] = {
    "200": {"second_cancel": 200, "dialect": "specified"},
    "400": {"second_cancel": 400, "dialect": "recorded"},
    "404": {"second_cancel": 404, "dialect": "recorded"},
    "409": {"second_cancel": 409, "dialect": "recorded"},
}
each_second_cancel = pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS, indirect=True)


@pytest.fixture
def answers(request: pytest.FixtureRequest) -> Answers:
    """How Job Router answers; modules and tests choose with `each_second_cancel`."""
    return cast("Answers", getattr(request, "param", {}))


@pytest.fixture
def stack(fresh_function: None, answers: Answers) -> Iterator[Stack]:
    with Stack(job_router=JobRouter(**answers)) as running:
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

    def wait_for_messages(self, message_ids: set[str]) -> list[tuple[int, dict[str, Any]]]:
        """All lines, once there is one for each of these messages."""
        with self._more:
            assert self._more.wait_for(lambda: {f.get("message_id") for _, f in self.found} >= message_ids, 20)
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
