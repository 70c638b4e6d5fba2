"""What one call of the function leaves in the workspace: its own lines, and what the host writes beside them.

The lines are log records of the function's code. What the host writes is written here after its documentation: a
request, an exception where the function raised, and, after a dead letter, the lock-lost error.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.infra.queries.workspace import Workspace

# As the host writes it after a message that the function has dead-lettered by its lock token.
LOCK_LOST = (
    "Message processing error (Action=Complete, ClientId=…, EntityPath=job-cancellations, Endpoint=…)",
    "The lock supplied is invalid. Either the lock expired, or the message has already been removed from the queue.",
)
FUNCTION = "cancel_job_function"
_SEVERITY = {logging.INFO: 1, logging.WARNING: 2, logging.ERROR: 3}


@dataclass(frozen=True)
class Delivery:
    """One call of the function. error: what it raised. lock_lost: the host could not complete. duration: seconds."""

    invocation_id: str
    operation_id: str
    lines: tuple[logging.LogRecord, ...]
    error: str | None = None
    lock_lost: bool = False
    duration: float = 0.0


def tell(workspace: Workspace, delivery: Delivery, time: datetime) -> None:
    """Everything about one delivery that ended at `time`."""
    tell_lines(workspace, delivery, time)
    tell_request(workspace, delivery, time)
    if delivery.lock_lost:
        tell_lock_lost(workspace, time)


def tell_lines(workspace: Workspace, delivery: Delivery, time: datetime) -> None:
    """The lines alone."""
    for line in delivery.lines:
        workspace.add(
            "AppTraces",
            time,
            Message=line.getMessage(),
            SeverityLevel=_SEVERITY[line.levelno],
            OperationId=delivery.operation_id,
            Properties={"Category": f"Function.{FUNCTION}.User", "InvocationId": delivery.invocation_id},
        )


def tell_request(workspace: Workspace, delivery: Delivery, time: datetime) -> None:
    """The invocation as the host counts it, alone: all that there is of a worker that died."""
    properties = {"InvocationId": delivery.invocation_id}
    workspace.add(
        "AppRequests",
        time - timedelta(seconds=delivery.duration),
        Name=FUNCTION,
        OperationId=delivery.operation_id,
        Success=delivery.error is None,
        DurationMs=delivery.duration * 1000,
        Properties=properties,
    )
    if delivery.error is not None:
        workspace.add(
            "AppExceptions",
            time,
            ExceptionType="Microsoft.Azure.WebJobs.Host.FunctionInvocationException",
            OuterMessage=f"Exception while executing function: Functions.{FUNCTION}",
            InnermostMessage=f"Result: Failure Exception: {delivery.error}",
            OperationId=delivery.operation_id,
            SeverityLevel=3,
            Properties=properties,
        )


def tell_lock_lost(workspace: Workspace, time: datetime) -> None:
    """The host's error after a dead letter. Its listener writes it, outside of the invocation."""
    for text in LOCK_LOST:
        workspace.add("AppTraces", time, Message=text, SeverityLevel=3, Properties={"Category": "Host.Executor"})
    workspace.add(
        "AppExceptions",
        time,
        ExceptionType="Azure.Messaging.ServiceBus.ServiceBusException",
        OuterMessage=LOCK_LOST[1],
        SeverityLevel=3,
    )


def tell_incoming(workspace: Workspace, *times: datetime, **other: object) -> None:
    """A message each, as the namespace's metric counts it; its diagnostic setting brings it into the workspace."""
    row = {"ResourceProvider": "MICROSOFT.SERVICEBUS", "MetricName": "IncomingMessages", "Total": 1.0} | other
    for time in times:
        workspace.add("AzureMetrics", time, **row)


def tell_somebody_elses(workspace: Workspace, time: datetime) -> None:
    """Traces of the host and of other apps that speak of an outcome, or are JSON with one, and are no line of ours."""
    texts = (
        'the outcome is {"outcome": "Cancelled"}',
        '{"outcome": "DeadLetter", "reason": "NotOurs", "attempt": 1, "age_seconds": 90000, "duration_ms": 1}',
        '{"text": "the outcome is open", "invocation_id": "of-another", "attempt": 1, "duration_ms": 1}',
        '["outcome"]',
        '"outcome"',
        "",
    )
    for text in texts:
        workspace.add("AppTraces", time, Message=text, SeverityLevel=3)
