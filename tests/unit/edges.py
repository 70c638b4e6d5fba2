"""What stands around processing in its unit tests: a Job Router, a settler and a clock that answer as told."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from azure.functions.servicebus import ServiceBusMessage

from shared.call_guard import CallGuard
from shared.job_router_error import JobRouterError, RequestId
from shared.processing import Queue, RedeliveryError, process
from shared.redelivery import ATTEMPT, FIRST_ATTEMPT_TIME, Backoff

if TYPE_CHECKING:
    from pytest_mock import MockerFixture, MockType

NOTE = "Customer Jane Roe changed her mind"
GOOD = json.dumps({"jobId": "job-1", "note": NOTE}).encode()
BAD = b"{}"
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
ENQUEUED = datetime(2026, 3, 1, 11, 59, 58, 250_000)  # noqa: DTZ001  # naive, as the runtime library may give it
BACKOFF = Backoff(first_delay=10.0, longest_delay=1000.0, give_up_after=3600.0)
LONG_AGO = {ATTEMPT: 9, FIRST_ATTEMPT_TIME: (NOW - timedelta(seconds=3600)).isoformat()}


class Edges:
    """A Job Router and a settler that answer what a test says, and the log lines that were written."""

    def __init__(self, mocker: MockerFixture, caplog: pytest.LogCaptureFixture) -> None:
        self.cancel: MockType = mocker.Mock(return_value=RequestId("trace-id", "req-1"))
        self.read: MockType = mocker.Mock(return_value="queued")
        self.settle: MockType = mocker.Mock(return_value=None)
        self.copy: MockType = mocker.Mock(return_value=None)
        self.wait: MockType = mocker.Mock(return_value=None)
        self.router: Any = mocker.Mock(cancel_job=self.cancel, get_job_status=self.read)
        self.settler: Any = mocker.Mock(dead_letter=self.settle, send_copy=self.copy)
        self.guard = CallGuard(clock=lambda: 0.0, wait=lambda _: None, jitter=lambda: 0.0)
        self.queue = Queue(self.settler, BACKOFF, self.wait, now=lambda: NOW, jitter=lambda: 0.5)
        self.caplog = caplog

    def use(self, settler: Any) -> None:
        """Settle with this one instead."""
        self.queue = replace(self.queue, settler=settler)

    def process(self, body: bytes = GOOD, trace_parent: str | None = "trace", **of_message: Any) -> None:
        process(message(body, **of_message), "inv-1", trace_parent, self.router, self.guard, self.queue)

    def process_in_vain(self, body: bytes = GOOD, **of_message: Any) -> RedeliveryError:
        with pytest.raises(RedeliveryError) as caught:
            self.process(body, **of_message)
        return caught.value

    @property
    def lines(self) -> list[tuple[int, dict[str, Any]]]:
        records = [r for r in self.caplog.records if r.name == "cancel_job"]
        return [(r.levelno, cast("dict[str, Any]", json.loads(r.getMessage()))) for r in records]

    @property
    def line(self) -> tuple[int, dict[str, Any]]:
        (line,) = self.lines
        return line

    @property
    def degraded(self) -> list[tuple[int, dict[str, Any]]]:
        return [(level, line) for level, line in self.lines if line["outcome"] == "Degraded"]


def message(
    body: bytes = GOOD,
    properties: dict[str, Any] | None = None,
    *,
    lock: str | None = "lock-1",
    sequence_number: int | None = 77,
    delivery_count: int = 1,
) -> ServiceBusMessage:
    return ServiceBusMessage(
        body=body,
        application_properties=properties or {},
        user_properties={},
        message_id="msg-1",
        delivery_count=delivery_count,
        enqueued_time_utc=ENQUEUED,
        sequence_number=sequence_number,
        lock_token=lock,
    )


def error(status: int | None, code: str = "Code", retry_after: float | None = None) -> JobRouterError:
    """An error as Job Router itself answers it."""
    request_id = RequestId("trace-id", "req-2")
    return JobRouterError(
        status, code, "Refused.", retry_after=retry_after, request_id=request_id, from_job_router=status is not None
    )
