"""One run of the whole stack with a message of each kind, and everything that it leaves in the workspace."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from local.job_router import Fault
from local.stack import Stack
from tests.end_to_end.conftest import drained, forget_application
from tests.infra.queries.function import written
from tests.infra.queries.telling import Delivery, tell
from tests.infra.queries.workspace import NOW

if TYPE_CHECKING:
    import logging

    from local.host import InvocationResult
    from local.job_router import JobRouter
    from tests.infra.queries.workspace import Workspace

GOOD = tuple(f"call-{number}" for number in range(1, 7))
# Each dead letter's message, with its reason.
DEAD = {
    "m-ghost-1": "JobNotFound",
    "m-ghost-2": "JobNotFound",
    "m-ended": "JobNotCancellable",
    "m-unreadable": "InvalidCancellation",
}


@dataclass(frozen=True)
class Evening:
    """deliveries: each with the time at which it ended; the last line was written at NOW."""

    deliveries: tuple[tuple[datetime, Delivery], ...]

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """The fields of every line, in the order in which they were written."""
        return [json.loads(line.getMessage()) for _, delivery in self.deliveries for line in delivery.lines]

    def tell(self, workspace: Workspace, *, earlier: timedelta = timedelta()) -> None:
        for time, delivery in self.deliveries:
            tell(workspace, delivery, time - earlier)


def play() -> Evening:
    """Send the messages, and wait until each of them has ended."""
    results: list[InvocationResult] = []
    with pytest.MonkeyPatch.context() as patch, written() as lines:
        forget_application(patch)
        with Stack(on_result=results.append) as stack:
            _prepare(stack.job_router)
            messages = _messages()
            with (
                ServiceBusClient.from_connection_string(stack.broker.connection_string) as client,
                client.get_queue_sender(stack.queue.name) as sender,
            ):
                sender.send_messages(messages)
            assert drained(stack)
    # The host is stopped: whatever it settled, it has told.
    return Evening(tuple(_deliveries(results, lines)))


def _prepare(router: JobRouter) -> None:
    for job_id in (*GOOD, "denied", "busy"):
        router.add_job(job_id)
    router.add_job("before", "cancelled")
    router.add_job("ended", "closed")
    router.faults.add(Fault("status", job_id="denied", status=401))
    router.faults.add(Fault("status", job_id="busy", status=503, times=4))  # the attempts of one delivery, and one


def _messages() -> list[ServiceBusMessage]:
    jobs = (*GOOD, "before", "ghost-1", "ghost-2", "ended", "denied", "busy")
    bodies = {f"m-{job_id}": json.dumps({"jobId": job_id}) for job_id in jobs} | {"m-unreadable": "{}"}
    return [
        ServiceBusMessage(body, message_id=name, application_properties={"Diagnostic-Id": _trace_parent(name)})
        for name, body in bodies.items()
    ]


def _trace_parent(message_id: str) -> str:
    return f"00-{_trace(message_id)}-{1:016x}-01"


def _trace(message_id: str) -> str:
    """Of the sender: the host's invocation is part of it, and so is each later attempt's."""
    return message_id.encode().hex().ljust(32, "0")[:32]


def _deliveries(results: list[InvocationResult], lines: list[logging.LogRecord]) -> list[tuple[datetime, Delivery]]:
    written_by: dict[str, list[logging.LogRecord]] = defaultdict(list)
    for line in lines:
        written_by[json.loads(line.getMessage())["invocation_id"]].append(line)
    last = max(line.created for line in lines)
    found = []
    for result in results:
        own = written_by[result.invocation_id]
        trace = _trace(json.loads(own[0].getMessage())["message_id"])
        lost = result.settlement == "lock_lost"
        delivery = Delivery(result.invocation_id, trace, tuple(own), result.error, lost, result.duration)
        found.append((NOW - timedelta(seconds=last - own[0].created), delivery))
    return sorted(found, key=lambda item: item[0])
