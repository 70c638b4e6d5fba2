"""The way of one message: decode, cancel, judge, settle, and one log line that says what became of it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Protocol, assert_never

import msgspec

from shared.cancellation import InvalidCancellationError, decode_cancellation
from shared.job_router_error import JobRouterError
from shared.policy import (
    AlreadyCancelled,
    Cancelled,
    DeadLetter,
    Outcome,
    Redeliver,
    Verdict,
    outcome_of_error,
    outcome_of_invalid,
    rule_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import azure.functions as func

    from shared.cancellation import CancellationRequest

logger = logging.getLogger("cancel_job")


class RedeliveryError(Exception):
    """Raised for a good message that cannot be handled now: the host abandons it and the broker redelivers it."""


class SettlementError(Exception):
    """Raised when the message could not be dead-lettered: the host abandons it, nothing is lost."""


class JobRouter(Protocol):
    """What processing needs of shared.job_router.JobRouterClient."""

    def cancel_job(self, request: CancellationRequest, *, trace_parent: str | None = None) -> str: ...
    def get_job_status(self, job_id: str, *, trace_parent: str | None = None) -> str: ...


class Settler(Protocol):
    """What processing needs of shared.settlement.ServiceBusSettler."""

    def dead_letter(self, lock_token: str, reason: str, description: str) -> None: ...


@dataclass
class _Record:
    """The log line in the making. Never a note, never a body, never a setting's value."""

    message_id: str | None
    delivery_count: int | None
    invocation_id: str
    job_id: str | None = None
    outcome: str = ""
    reason: str | None = None
    description: str | None = None
    status: int | None = None
    request_id: str | None = None
    started: float = field(default_factory=time.monotonic)

    def write(self, level: int) -> None:
        if logger.isEnabledFor(level):
            fields = {name: value for name, value in vars(self).items() if value is not None and name != "started"}
            fields["duration_ms"] = round((time.monotonic() - self.started) * 1000, 1)
            logger.log(level, "%s", msgspec.json.encode(fields).decode())


def process(
    message: func.ServiceBusMessage,
    invocation_id: str,
    trace_parent: str | None,
    job_router: JobRouter,
    settler: Settler,
) -> None:
    """Handle one message to its end; returning lets the host complete it.

    Raises:
        RedeliveryError: the message is to be delivered again.
        SettlementError: dead-lettering failed; the message is to be delivered again.
    """
    record = _Record(message.message_id, message.delivery_count, invocation_id)
    outcome = _decide(message, trace_parent, job_router, record)
    record.outcome = type(outcome).__name__
    match outcome:
        case Cancelled() | AlreadyCancelled():
            record.write(logging.INFO)
        case DeadLetter(reason, description):
            record.reason, record.description = reason, description
            _dead_letter(message, outcome, settler, record)
            record.write(logging.ERROR)
        case Redeliver(reason, description, environment_fault):
            record.reason, record.description = reason, description
            record.write(logging.ERROR if environment_fault else logging.WARNING)
            raise RedeliveryError(f"{reason}: {description}")
        case _:
            assert_never(outcome)


def hold(message: func.ServiceBusMessage, invocation_id: str, error: Exception, wait: Callable[[], object]) -> NoReturn:
    """Keep a message that a worker with bad settings cannot handle, then let the host abandon it.

    Raising at once would have the broker redeliver at once, and ten deliveries later a good message would be a dead
    letter. While the message is held its lock is renewed by the host and nobody else burns its deliveries.

    Raises:
        RedeliveryError: always, after `wait`.
    """
    record = _Record(message.message_id, message.delivery_count, invocation_id)
    record.outcome, record.reason, record.description = "Redeliver", "InvalidSettings", str(error)
    record.write(logging.CRITICAL)
    wait()
    raise RedeliveryError(f"InvalidSettings: {error}")


def _decide(
    message: func.ServiceBusMessage, trace_parent: str | None, job_router: JobRouter, record: _Record
) -> Outcome:
    try:
        request = decode_cancellation(message.get_body(), message.content_type, message.application_properties)
    except InvalidCancellationError as error:
        return outcome_of_invalid(error)
    record.job_id = request.job_id
    try:
        record.request_id = job_router.cancel_job(request, trace_parent=trace_parent)
        return Cancelled()
    except JobRouterError as error:
        record.status, record.request_id = error.status, error.request_id
        return _judge(error, request, trace_parent, job_router, record)


def _judge(
    error: JobRouterError,
    request: CancellationRequest,
    trace_parent: str | None,
    job_router: JobRouter,
    record: _Record,
) -> Outcome:
    job_status = None
    if rule_for(error).verdict is Verdict.READ_JOB:
        try:
            job_status = job_router.get_job_status(request.job_id, trace_parent=trace_parent)
        except JobRouterError as read_error:
            # Unless the job itself is the trouble, only its status can tell: what hides it decides.
            if rule_for(read_error).verdict in (Verdict.REDELIVER, Verdict.REPAIR) or read_error.status == 404:
                error = read_error
    return outcome_of_error(error, request.job_id, request.note, record.delivery_count, job_status)


def _dead_letter(message: func.ServiceBusMessage, outcome: DeadLetter, settler: Settler, record: _Record) -> None:
    try:
        settler.dead_letter(message.lock_token or "", outcome.reason, outcome.description)
    except Exception as error:  # whatever it is, the host has to abandon, and the one line has to be written
        record.outcome = "SettlementFailed"
        record.write(logging.ERROR)
        raise SettlementError(f"Dead-lettering as {outcome.reason} failed ({type(error).__name__}).") from error
