"""The function's own code between a Job Router and a queue that answer as a test says, each call a Delivery."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from azure.functions.servicebus import ServiceBusMessage

from shared import log_line, processing, telemetry
from shared.call_guard import CallGuard
from shared.job_router_error import NOT_JOB_ROUTER, JobRouterError, RequestId
from shared.log_line import LogLine
from shared.processing import Queue, RedeliveryError, SettlementError, hold, postpone, process
from shared.redelivery import ATTEMPT, FIRST_ATTEMPT_TIME, FIRST_ENQUEUED_TIME, LEAST_ATTEMPTS, Backoff
from shared.settings import SettingsError
from tests.infra.queries.telling import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CLOCK = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)  # the function's; when a line was written is for its row to say
_BACKOFF = Backoff()
REQUEST_ID = RequestId("trace-id", "req-1")
BAD_SETTINGS = SettingsError("JOB_ROUTER_ENDPOINT is not an https URL")


@dataclass(frozen=True)
class Past:
    """What a message has been through. Seconds; tried_for counts from its first attempt."""

    attempt: int = 1
    age: float = 2.0
    tried_for: float = 0.0


NEW = Past()
USED_UP = Past(attempt=LEAST_ATTEMPTS, tried_for=_BACKOFF.give_up_after)


def refused(status: int | None, code: str = "Code", retry_after: float | None = None) -> JobRouterError:
    """Job Router's answer, or what came in its place."""
    return JobRouterError(
        status,
        code,
        "No.",
        retry_after=retry_after,
        request_id=REQUEST_ID,
        from_job_router=status is not None and code != NOT_JOB_ROUTER,
    )


class Function:
    """Makes deliveries. Invocations are numbered, and each has an operation of its own."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._told: set[str] = set()

    def handle(
        self,
        message_id: str | None = "m-1",
        job_id: str | None = "job-1",
        *,
        answer: JobRouterError | None = None,
        job_status: str = "queued",
        dead_lettering: Exception | None = None,
        putting_off: Exception | None = None,
        past: Past = NEW,
        seconds: float = 0.0,
    ) -> Delivery:
        """One delivery that takes so many seconds. job_id None: a body without one.

        The exceptions are what the queue answers.
        """
        router: Any = SimpleNamespace(
            cancel_job=_answering(answer, REQUEST_ID),
            get_job_status=_answering(answer if answer and answer.status == 404 else None, job_status),
        )
        queue = self._queue(dead_lettering, putting_off)
        guard = CallGuard(clock=lambda: 0.0, wait=lambda _: None, jitter=lambda: 0.0)
        message = _message(message_id, job_id, past)
        return self._delivery(lambda invocation: process(message, invocation, None, router, guard, queue), seconds)

    def handle_with_bad_settings(
        self, message_id: str = "m-1", *, putting_off: Exception | None = None, past: Past = NEW
    ) -> Delivery:
        """One delivery to a worker that cannot start."""
        message, queue = _message(message_id, "job-1", past), self._queue(None, putting_off)
        return self._delivery(lambda invocation: postpone(message, invocation, BAD_SETTINGS, queue))

    def handle_without_a_queue(self, message_id: str = "m-1") -> Delivery:
        """One delivery to a worker whose settings do not even tell where its queue is."""
        message = _message(message_id, "job-1", NEW)
        return self._delivery(lambda invocation: hold(message, invocation, BAD_SETTINGS, lambda _: None))

    def crash(self) -> Delivery:
        """A delivery whose worker ends before it can write a line."""
        number = next(self._numbers)
        return Delivery(f"inv-{number}", f"{number:032x}", (), "The worker process exited.")

    def start_without_telemetry(self) -> Delivery:
        """A worker's start at which OpenTelemetry was asked for and cannot start: a line without a delivery."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(telemetry, "_started", _answering(ImportError("No module named 'azure.monitor'"), None))
            return self._delivery(lambda _: telemetry.instrument(process, "https://contoso.communication.azure.com"))

    def _queue(self, dead_lettering: Exception | None, putting_off: Exception | None) -> Queue:
        settler: Any = SimpleNamespace(
            dead_letter=_answering(dead_lettering, None), send_copy=_answering(putting_off, None)
        )
        return Queue(settler, _BACKOFF, wait=lambda _: None, now=lambda: _CLOCK, jitter=lambda: 0.5, told=self._told)

    def _delivery(self, call: Callable[[str], object], seconds: float = 0.0) -> Delivery:
        number = next(self._numbers)
        invocation, error = f"inv-{number}", None
        with written() as lines, pytest.MonkeyPatch.context() as patch:
            # How long it takes is for the test to say, not for the machine: no bound is crossed by chance.
            patch.setattr(processing, "LogLine", partial(LogLine, started=0.0))
            patch.setattr(log_line, "time", SimpleNamespace(monotonic=lambda: seconds))
            try:
                call(invocation)
            except (RedeliveryError, SettlementError) as raised:
                error = f"{type(raised).__name__}: {raised}"
        lost = any(json.loads(line.getMessage())["outcome"] == "DeadLetter" for line in lines)
        return Delivery(invocation, f"{number:032x}", tuple(lines), error, lost, seconds)


@contextmanager
def written() -> Iterator[list[logging.LogRecord]]:
    """The function's lines, as records."""

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    found: list[logging.LogRecord] = []
    logger, handler = logging.getLogger("cancel_job"), Keeping()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _answering(error: Exception | None, answer: object) -> Callable[..., object]:
    def call(*_: object, **__: object) -> object:
        if error is not None:
            raise error
        return answer

    return call


def _message(message_id: str | None, job_id: str | None, past: Past) -> ServiceBusMessage:
    def before(seconds: float) -> str:
        return (_CLOCK - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")

    return ServiceBusMessage(
        body=json.dumps({} if job_id is None else {"jobId": job_id}).encode(),
        application_properties={
            ATTEMPT: past.attempt,
            FIRST_ATTEMPT_TIME: before(past.tried_for),
            FIRST_ENQUEUED_TIME: before(past.age),
        },
        user_properties={},
        message_id=message_id,  # type: ignore[arg-type]  # the host may give none
        delivery_count=1,
        sequence_number=1,
        lock_token="lock-1",
    )
