"""The way of one message: decode, cancel, judge, settle, and one log line that says what became of it."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
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
    outcome_when_used_up,
    rule_for,
)
from shared.redelivery import Attempt, Backoff
from shared.settlement import MessageGoneError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import azure.functions as func

    from shared.call_guard import CallGuard
    from shared.cancellation import CancellationRequest

logger = logging.getLogger("cancel_job")


# Seconds. Just inside the five minutes for which the host renews a lock (host.json) and a Consumption function may
# run: what cannot be redelivered later is held so long, and ten deliveries last for half an hour, not for a second.
HOLD_SECONDS = 240.0


class RedeliveryError(Exception):
    """Raised for a good message that can neither be handled nor postponed: the host abandons it, nothing is lost."""


class SettlementError(Exception):
    """Raised when the message could not be dead-lettered: the host abandons it, nothing is lost."""


class JobRouter(Protocol):
    """What processing needs of shared.job_router.JobRouterClient."""

    def cancel_job(self, request: CancellationRequest, *, trace_parent: str | None = None) -> str: ...
    def get_job_status(self, job_id: str, *, trace_parent: str | None = None) -> str: ...


class Settler(Protocol):
    """What processing needs of shared.settlement.ServiceBusSettler."""

    def dead_letter(self, lock_token: str, reason: str, description: str) -> None: ...
    def send_copy(self, sequence_number: int, delay: float, history: Mapping[str, str | int]) -> None: ...


@dataclass(frozen=True)
class Queue:
    """What a message can be given back with. wait: blocks for so many seconds. told: warnings that were given."""

    settler: Settler
    backoff: Backoff
    wait: Callable[[float], object]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    jitter: Callable[[], float] = random.random
    told: set[str] = field(default_factory=set)


@dataclass
class _Record:
    """The log line in the making. Never a note, never a body, never a setting's value."""

    message_id: str | None
    attempt: int
    delivery_count: int | None
    invocation_id: str
    job_id: str | None = None
    outcome: str = ""
    reason: str | None = None
    description: str | None = None
    status: int | None = None
    request_id: str | None = None
    delay_seconds: float | None = None
    not_postponed: str | None = None
    age_seconds: float | None = None  # since the sender's message was enqueued: on arrival, in the line at the end
    started: float = field(default_factory=time.monotonic)

    def write(self, level: int) -> None:
        if logger.isEnabledFor(level):
            fields = {name: value for name, value in vars(self).items() if value is not None and name != "started"}
            duration = time.monotonic() - self.started
            fields["duration_ms"] = round(duration * 1000, 1)
            if self.age_seconds is not None:
                fields["age_seconds"] = round(self.age_seconds + duration, 1)
            logger.log(level, "%s", msgspec.json.encode(fields).decode())


def process(
    message: func.ServiceBusMessage,
    invocation_id: str,
    trace_parent: str | None,
    job_router: JobRouter,
    guard: CallGuard,
    queue: Queue,
) -> None:
    """Handle one message to its end; returning lets the host complete it.

    Raises:
        RedeliveryError: the message could not be postponed and is to be delivered again.
        SettlementError: dead-lettering failed; the message is to be delivered again.
    """
    attempt = Attempt.of(message, queue.now())
    record = _record_of(attempt, message, invocation_id, queue)
    is_last = attempt.is_last(queue.backoff, queue.now())
    calls = _Calls(job_router, guard, trace_parent, may_shed=not is_last)
    outcome = _decide(message, attempt, calls, record)
    if isinstance(outcome, Redeliver) and is_last:
        outcome = outcome_when_used_up(outcome, attempt)
    _carry_out(outcome, message, attempt, queue, record)


def postpone(message: func.ServiceBusMessage, invocation_id: str, error: Exception, queue: Queue) -> None:
    """Put off a message that a worker with bad settings cannot handle.

    Raises:
        RedeliveryError, SettlementError: as for process.
    """
    attempt = Attempt.of(message, queue.now())
    record = _record_of(attempt, message, invocation_id, queue)
    outcome = Redeliver("InvalidSettings", str(error), environment_fault=True)
    is_last = attempt.is_last(queue.backoff, queue.now())
    _carry_out(outcome_when_used_up(outcome, attempt) if is_last else outcome, message, attempt, queue, record)


def hold(
    message: func.ServiceBusMessage, invocation_id: str, error: Exception, wait: Callable[[float], object]
) -> NoReturn:
    """Keep a message for which there is not even a usable connection to its queue, then let the host abandon it.

    Raises:
        RedeliveryError: always, after HOLD_SECONDS.
    """
    record = _Record(message.message_id, 1, message.delivery_count, invocation_id)
    record.outcome, record.reason, record.description = "Redeliver", "InvalidSettings", str(error)
    record.write(logging.ERROR)
    wait(HOLD_SECONDS)
    raise RedeliveryError(f"InvalidSettings: {error}")


def _record_of(attempt: Attempt, message: func.ServiceBusMessage, invocation_id: str, queue: Queue) -> _Record:
    record = _Record(attempt.message_id, attempt.number, message.delivery_count, invocation_id)
    record.age_seconds = attempt.age(queue.now())
    return record


@dataclass(frozen=True)
class _Calls:
    """The calls for one message."""

    job_router: JobRouter
    guard: CallGuard
    trace_parent: str | None
    may_shed: bool

    def cancel(self, request: CancellationRequest) -> str:
        return self.guard.call(
            lambda: self.job_router.cancel_job(request, trace_parent=self.trace_parent), may_shed=self.may_shed
        )

    def status(self, job_id: str) -> str:
        # The service has just answered: reading what it spoke of is never shed.
        return self.guard.call(
            lambda: self.job_router.get_job_status(job_id, trace_parent=self.trace_parent), may_shed=False
        )


def _decide(message: func.ServiceBusMessage, attempt: Attempt, calls: _Calls, record: _Record) -> Outcome:
    try:
        request = decode_cancellation(message.get_body(), message.content_type, message.application_properties)
    except InvalidCancellationError as error:
        return outcome_of_invalid(error)
    record.job_id = request.job_id
    try:
        record.request_id = calls.cancel(request)
        return Cancelled()
    except JobRouterError as error:
        record.status, record.request_id = error.status, error.request_id
        return _judge(error, request, attempt, calls)


def _judge(error: JobRouterError, request: CancellationRequest, attempt: Attempt, calls: _Calls) -> Outcome:
    job_status = None
    if rule_for(error).verdict is Verdict.READ_JOB:
        try:
            job_status = calls.status(request.job_id)
        except JobRouterError as read_error:
            # Unless the job itself is the trouble, only its status can tell: what hides it decides.
            if rule_for(read_error).verdict in (Verdict.REDELIVER, Verdict.REPAIR) or read_error.status == 404:
                error = read_error
    return outcome_of_error(error, request.job_id, request.note, attempt.number, job_status)


def _carry_out(
    outcome: Outcome, message: func.ServiceBusMessage, attempt: Attempt, queue: Queue, record: _Record
) -> None:
    record.outcome = type(outcome).__name__
    match outcome:
        case Cancelled() | AlreadyCancelled():
            record.write(logging.INFO)
        case DeadLetter(reason, description):
            record.reason, record.description = reason, description
            _dead_letter(message, outcome, queue.settler, record)
            record.write(logging.ERROR)
        case Redeliver(reason, description, environment_fault):
            record.reason, record.description = reason, description
            _redeliver(
                message, outcome, attempt, queue, record, logging.ERROR if environment_fault else logging.WARNING
            )
        case _:
            assert_never(outcome)


def _dead_letter(message: func.ServiceBusMessage, outcome: DeadLetter, settler: Settler, record: _Record) -> None:
    try:
        settler.dead_letter(message.lock_token or "", outcome.reason, outcome.description)
    except Exception as error:  # whatever it is, the host has to abandon, and the one line has to be written
        record.outcome = "SettlementFailed"
        record.write(logging.ERROR)
        raise SettlementError(f"Dead-lettering as {outcome.reason} failed ({type(error).__name__}).") from error


def _redeliver(
    message: func.ServiceBusMessage, outcome: Redeliver, attempt: Attempt, queue: Queue, record: _Record, level: int
) -> None:
    """First the copy, then, by returning, the end of the original: a crash between them leaves two, never none."""
    delay = queue.backoff.delay(attempt.waited(queue.now()), outcome.retry_after, queue.jitter())
    try:
        queue.settler.send_copy(message.sequence_number or 0, delay, attempt.next_properties())
    except Exception as error:  # whatever it is, the host has to abandon, and the line says it
        record.not_postponed = type(error).__name__
        record.write(level)
        if not isinstance(error, MessageGoneError):  # that says something of this message only
            _warn_once(error, queue)
        # The host's abandoning brings the message back at once and uses up one of its few deliveries: not so fast.
        queue.wait(min(HOLD_SECONDS, (outcome.retry_after or 0.0) + queue.backoff.hold(message.delivery_count or 1)))
        raise RedeliveryError(f"{outcome.reason}: {outcome.description}") from error
    record.delay_seconds = round(delay, 1)
    record.write(level)
    queue.told.clear()  # postponing works: should it fail again, that is news


def _warn_once(error: Exception, queue: Queue) -> None:
    reason = type(error).__name__
    if reason in queue.told:
        return
    queue.told.add(reason)
    text = str(error) if type(error).__module__.startswith("shared.") else "Service Bus did not take the copy."
    line = {"outcome": "Degraded", "reason": reason, "description": f"Messages are not postponed but abandoned: {text}"}
    logger.error("%s", msgspec.json.encode(line).decode())
