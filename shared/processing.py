"""The way of one message: decode, cancel, judge, settle, and one log line that says what became of it."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn, Protocol, assert_never

from shared.cancellation import InvalidCancellationError, decode_cancellation
from shared.job_router_error import NO_SUCH_JOB, UNREADABLE, JobRouterError
from shared.log_line import LogLine, write_worker_line
from shared.policy import (
    AlreadyCancelled,
    Cancelled,
    DeadLetter,
    Outcome,
    Redeliver,
    Verdict,
    fit,
    outcome_of_error,
    outcome_of_invalid,
    outcome_when_used_up,
    rule_for,
    unexpected,
)
from shared.redelivery import Attempt, Backoff
from shared.service_bus_errors import MessageGoneError, is_lock_lost
from shared.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import azure.functions as func

    from shared.call_guard import CallGuard
    from shared.cancellation import CancellationRequest
    from shared.job_router_error import RequestId


# Seconds. What cannot be redelivered later is held so long, and ten deliveries last for half an hour, not for a second.
HOLD_SECONDS = 240.0
# Seconds for a whole delivery: calls, settling and hold. Inside the five minutes for which the host renews a lock
# (maxAutoLockRenewalDuration in host.json), with some left for the host's own part.
DELIVERY_SECONDS = 280.0


class RedeliveryError(Exception):
    """Raised for a good message that can neither be handled nor postponed: the host abandons it, nothing is lost."""


class SettlementError(Exception):
    """Raised when the message could not be dead-lettered: the host abandons it, nothing is lost."""


class JobRouter(Protocol):
    """What processing needs of shared.job_router.JobRouterClient."""

    def cancel_job(self, request: CancellationRequest, *, trace_parent: str | None = None) -> RequestId: ...
    def get_job_status(self, job_id: str, *, trace_parent: str | None = None, private: tuple[str, ...] = ()) -> str: ...


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
    try:
        attempt = Attempt.of(message, queue.now())
        record = _line_of(attempt, message, invocation_id, queue)
        is_last = attempt.is_last(queue.backoff, queue.now())
        in_grace = attempt.is_in_grace(queue.backoff, queue.now())
    except Exception as error:  # noqa: BLE001  # without its past it cannot be postponed either
        hold(message, invocation_id, error, queue.wait)
    calls = _Calls(job_router, guard, trace_parent, may_shed=not is_last)
    try:
        outcome = _decide(message, attempt, calls, record, in_grace=in_grace)
    except Exception as error:  # noqa: BLE001  # nobody foresaw it: it burns no delivery, and its line names it
        outcome = unexpected(error)
    if isinstance(outcome, Redeliver) and is_last:
        outcome = outcome_when_used_up(outcome, attempt)
    _carry_out(outcome, message, attempt, queue, record)


def postpone(message: func.ServiceBusMessage, invocation_id: str, error: Exception, queue: Queue) -> None:
    """Put off a message that a worker cannot handle, because of its settings or for a reason that nobody foresaw.

    Raises:
        RedeliveryError, SettlementError: as for process.
    """
    attempt = Attempt.of(message, queue.now())
    record = _line_of(attempt, message, invocation_id, queue)
    outcome = _outcome_of_worker(error)
    is_last = attempt.is_last(queue.backoff, queue.now())
    _carry_out(outcome_when_used_up(outcome, attempt) if is_last else outcome, message, attempt, queue, record)


def hold(
    message: func.ServiceBusMessage, invocation_id: str, error: Exception, wait: Callable[[float], object]
) -> NoReturn:
    """Keep a message for which there is not even a usable connection to its queue, then let the host abandon it.

    Raises:
        RedeliveryError: always, after HOLD_SECONDS.
    """
    outcome = _outcome_of_worker(error)
    record = LogLine(message.message_id, 1, message.delivery_count, invocation_id)
    record.outcome, record.reason, record.description = "Redeliver", outcome.reason, outcome.description
    record.write(logging.ERROR)
    wait(HOLD_SECONDS)
    raise RedeliveryError(f"{outcome.reason}: {outcome.description}")


def _outcome_of_worker(error: Exception) -> Redeliver:
    if isinstance(error, SettingsError):
        return Redeliver("InvalidSettings", fit(str(error)), environment_fault=True)
    return unexpected(error)


def _line_of(attempt: Attempt, message: func.ServiceBusMessage, invocation_id: str, queue: Queue) -> LogLine:
    line = LogLine(attempt.message_id, attempt.number, message.delivery_count, invocation_id)
    line.age_seconds = attempt.age(queue.now())
    return line


@dataclass(frozen=True)
class _Calls:
    """The calls for one message."""

    job_router: JobRouter
    guard: CallGuard
    trace_parent: str | None
    may_shed: bool

    def cancel(self, request: CancellationRequest) -> RequestId:
        """Cancel; a refusal that depends on the job's state is raised with what reading the job gave."""
        return self.guard.call(lambda: self._attempt(request), may_shed=self.may_shed)

    def _attempt(self, request: CancellationRequest) -> RequestId:
        try:
            return self.job_router.cancel_job(request, trace_parent=self.trace_parent)
        except JobRouterError as error:
            if rule_for(error).verdict is not Verdict.READ_JOB:
                raise
            refusal = error
        raise self._after_reading(refusal, request)

    def _after_reading(self, refusal: JobRouterError, request: CancellationRequest) -> JobRouterError:
        try:
            status = self.job_router.get_job_status(
                request.job_id, trace_parent=self.trace_parent, private=request.private_texts
            )
        except JobRouterError as error:
            # Only the job's status can tell what the refusal means: what hides it decides.
            if rule_for(error).verdict in (Verdict.REDELIVER, Verdict.REPAIR):
                return error
            status = NO_SUCH_JOB if error.status == 404 else UNREADABLE
        return replace(refusal, job_status=status)


def _decide(
    message: func.ServiceBusMessage, attempt: Attempt, calls: _Calls, record: LogLine, *, in_grace: bool
) -> Outcome:
    try:
        request = decode_cancellation(message.get_body(), message.content_type, message.application_properties)
    except InvalidCancellationError as error:
        return outcome_of_invalid(error)
    record.job_id = request.job_id
    try:
        record.called(calls.cancel(request))
        return Cancelled()
    except JobRouterError as error:
        record.status = error.status
        record.called(error.request_id)
        return outcome_of_error(error, request.job_id, attempt.number, in_grace=in_grace)


def _carry_out(
    outcome: Outcome, message: func.ServiceBusMessage, attempt: Attempt, queue: Queue, record: LogLine
) -> None:
    record.outcome = type(outcome).__name__
    match outcome:
        case Cancelled() | AlreadyCancelled():
            record.write(logging.INFO)
        case DeadLetter(reason, description):
            record.reason, record.description = reason, description
            _dead_letter(message, outcome, queue, record)
            record.write(logging.ERROR)
        case Redeliver(reason, description, environment_fault):
            record.reason, record.description = reason, description
            _redeliver(
                message, outcome, attempt, queue, record, logging.ERROR if environment_fault else logging.WARNING
            )
        case _:
            assert_never(outcome)


def _dead_letter(message: func.ServiceBusMessage, outcome: DeadLetter, queue: Queue, record: LogLine) -> None:
    try:
        queue.settler.dead_letter(message.lock_token or "", outcome.reason, outcome.description)
    except Exception as error:
        record.outcome = "SettlementFailed"
        record.not_settled = type(error).__name__
        record.write(logging.ERROR)
        if not is_lock_lost(error):  # else nothing is left to hold
            _hold(message, queue, record)
        raise SettlementError(f"Dead-lettering as {outcome.reason} failed ({type(error).__name__}).") from error


def _redeliver(
    message: func.ServiceBusMessage, outcome: Redeliver, attempt: Attempt, queue: Queue, record: LogLine, level: int
) -> None:
    """First the copy, then, by returning, the end of the original: a crash between them leaves two, never none."""
    try:
        delay = queue.backoff.delay(attempt.waited(queue.now()), outcome.retry_after, queue.jitter())
        queue.settler.send_copy(message.sequence_number or 0, delay, attempt.next_properties())
    except Exception as error:
        record.not_postponed = type(error).__name__
        record.write(level)
        if not isinstance(error, MessageGoneError):  # that says something of this message only
            _warn_once(error, queue)
        _hold(message, queue, record, outcome.retry_after or 0.0)
        raise RedeliveryError(f"{outcome.reason}: {outcome.description}") from error
    record.delay_seconds = round(delay, 1)
    record.write(level)
    queue.told.clear()  # postponing works: should it fail again, that is news


def _hold(message: func.ServiceBusMessage, queue: Queue, record: LogLine, at_least: float = 0.0) -> None:
    """Wait before the host abandons: that brings the message back at once, and uses up one of its few deliveries."""
    left = DELIVERY_SECONDS - record.elapsed()
    planned = at_least + queue.backoff.hold(message.delivery_count or 1)
    queue.wait(max(0.0, min(HOLD_SECONDS, planned, left)))


def _warn_once(error: Exception, queue: Queue) -> None:
    reason = type(error).__name__
    if reason in queue.told:
        return
    queue.told.add(reason)
    text = str(error) if type(error).__module__.startswith("shared.") else "Service Bus did not take the copy."
    write_worker_line(logging.ERROR, "Degraded", reason, f"Messages are not postponed but abandoned: {text}")
