"""What becomes of a message: the table of outcomes as data, and the pure function that reads it.

No clock, no socket. The README shows the same table, and a test keeps the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from shared.job_router_error import (
    CONNECTION_FAILED,
    CREDENTIAL_UNAVAILABLE,
    NOT_JOB_ROUTER,
    TIMEOUT,
    TLS_VERIFICATION_FAILED,
)

if TYPE_CHECKING:
    from shared.cancellation import InvalidCancellationError
    from shared.job_router_error import JobRouterError
    from shared.redelivery import Attempt

# Service Bus keeps reason and description as headers; each has to stay under this many characters.
HEADER_LIMIT = 4096
_SHARED_RUN = 16  # characters; a message of the service that repeats so much of the note is repeating the note


@dataclass(frozen=True)
class Cancelled:
    """The job was cancelled now; the message completes."""


@dataclass(frozen=True)
class AlreadyCancelled:
    """The job had been cancelled before; the message completes."""


@dataclass(frozen=True)
class DeadLetter:
    """The message can never succeed; a person has to look at it."""

    reason: str
    description: str


@dataclass(frozen=True)
class Redeliver:
    """The message is good, something else is not: deliver it again, after `retry_after` seconds at the soonest."""

    reason: str
    description: str
    environment_fault: bool
    retry_after: float | None = None


Outcome = Cancelled | AlreadyCancelled | DeadLetter | Redeliver


class Verdict(Enum):
    """What a rule makes of a message; the values are the words of the README's table."""

    DEAD_LETTER = "dead-letter"
    READ_JOB = "read the job: `cancelled` completes, anything else is a dead letter"
    REDELIVER = "redeliver later; once attempts are used up: dead-letter as `RetriesExhausted`"
    REPAIR = "redeliver later, log an error that names the setting; once attempts are used up: dead-letter as such"


@dataclass(frozen=True)
class Rule:
    """One row. `statuses` are HTTP statuses, `codes` this client's own codes for what is no answer of the service."""

    when: str
    verdict: Verdict
    reason: str | None = None  # None: the service's own code, or HttpNNN
    advice: str = ""
    statuses: frozenset[int] = frozenset()
    codes: frozenset[str] = frozenset()


_SERVER_ERRORS = frozenset(range(500, 600)) - {501, 505}

RULES = (
    Rule("404", Verdict.DEAD_LETTER, "JobNotFound", "Job Router knows no such job at this endpoint.", frozenset({404})),
    Rule("400, 409, 412", Verdict.READ_JOB, None, "", frozenset({400, 409, 412})),
    Rule(
        "401, 403",
        Verdict.REPAIR,
        "JobRouterAccessDenied",
        "Check the access key in JOB_ROUTER_CONNECTION_STRING or, with JOB_ROUTER_ENDPOINT, the role of the function "
        "app's identity on the Communication Services resource; check this machine's clock too.",
        frozenset({401, 403}),
    ),
    Rule(
        "3xx, 407, or a success that is not Job Router's JSON",
        Verdict.REPAIR,
        "JobRouterNotReached",
        "Something else answered: check the endpoint in JOB_ROUTER_ENDPOINT or JOB_ROUTER_CONNECTION_STRING, and "
        "HTTPS_PROXY.",
        frozenset(range(300, 400)) | {407},
        frozenset({NOT_JOB_ROUTER}),
    ),
    Rule(
        "TLS certificate not verified",
        Verdict.REPAIR,
        "JobRouterCertificateInvalid",
        "Check the endpoint's host name and, where a proxy inspects TLS, the CA bundle in REQUESTS_CA_BUNDLE.",
        codes=frozenset({TLS_VERIFICATION_FAILED}),
    ),
    Rule(
        "no credential or token",
        Verdict.REPAIR,
        "JobRouterCredentialUnavailable",
        "Check the function app's managed identity and AZURE_CLIENT_ID.",
        codes=frozenset({CREDENTIAL_UNAVAILABLE}),
    ),
    Rule(
        "408, 421, 425, 429, 5xx but 501 and 505, timeouts, failed connections",
        Verdict.REDELIVER,
        "JobRouterUnavailable",
        "Job Router could not answer now.",
        frozenset({408, 421, 425, 429}) | _SERVER_ERRORS,
        frozenset({TIMEOUT, CONNECTION_FAILED}),
    ),
    Rule(
        "any other status",
        Verdict.DEAD_LETTER,
        None,
        "",
        frozenset(range(100, 600))
        - frozenset(range(200, 400))
        - {400, 401, 403, 404, 407, 408, 409, 412, 421, 425, 429}
        - _SERVER_ERRORS,
    ),
)
# One look-up instead of a search; a status or code that stood in two rows would be a fault of the table.
_BY_STATUS = {status: rule for rule in RULES for status in rule.statuses}
_BY_CODE = {code: rule for rule in RULES for code in rule.codes}


def rule_for(error: JobRouterError) -> Rule:
    """The row of the table that an error falls under; a status that HTTP does not know is an `any other`."""
    if error.status is None or error.code == NOT_JOB_ROUTER:
        return _BY_CODE[error.code]
    return _BY_STATUS.get(error.status, RULES[-1])


def outcome_of_invalid(error: InvalidCancellationError) -> DeadLetter:
    """The outcome of a message that cannot be decoded."""
    return DeadLetter("InvalidCancellation", _fit(f"{error} Correct the message at its sender and send it again."))


def outcome_of_error(
    error: JobRouterError, job_id: str, note: str | None, attempt: int, job_status: str | None = None
) -> Outcome:
    """Judge a failed cancel.

    job_status is what reading the job back gave, for the rows that ask for it; None when it could not be read.
    """
    rule = rule_for(error)
    facts = _facts(error, job_status, attempt)
    job = f"Job '{job_id[:200]}'"
    match rule.verdict:
        case Verdict.READ_JOB if job_status == "cancelled":
            return AlreadyCancelled()
        case Verdict.READ_JOB if job_status == "closed":
            return DeadLetter("JobNotCancellable", _fit(f"{job} is closed and can no longer be cancelled. {facts}"))
        case Verdict.REDELIVER | Verdict.REPAIR:
            reason = rule.reason or error.code
            description = _fit(f"{job} is not cancelled yet: {_said(error, note)} {rule.advice} {facts}")
            return Redeliver(reason, description, rule.verdict is Verdict.REPAIR, error.retry_after)
        case _:
            sentence = rule.advice or "Job Router refuses to cancel it."
            return DeadLetter(rule.reason or error.code, _fit(f"{job}: {sentence} {_said(error, note)} {facts}"))


def outcome_when_used_up(outcome: Redeliver, attempt: Attempt) -> DeadLetter:
    """The outcome of a message that was tried long enough; what the environment's fault was stays the reason."""
    reason = outcome.reason if outcome.environment_fault else "RetriesExhausted"
    tried = f"Given up after {attempt.number} attempts since {attempt.since:%Y-%m-%d %H:%M:%S} UTC."
    return DeadLetter(reason, _fit(f"{tried} Mend the cause and send the message again. {outcome.description}"))


def _said(error: JobRouterError, note: str | None) -> str:
    """What the service said, unless it quotes the note: that is a customer's text and stays out of headers and logs."""
    said = " ".join((error.message, *error.details))
    if not said.strip():
        return ""
    if note and (note in said or any(said[i : i + _SHARED_RUN] in note for i in range(len(said) - _SHARED_RUN + 1))):
        return "(What the service said repeats the note and is left out.)"
    return f"The service said: {said}"


def _facts(error: JobRouterError, job_status: str | None, attempt: int) -> str:
    facts = {
        "code": ", ".join((error.code, *error.inner_codes)),
        "status": error.status,
        "target": error.target,
        "job status": job_status,
        "request id": error.request_id,
        "attempt": attempt,
    }
    return f"({'; '.join(f'{name}: {value}' for name, value in facts.items() if value is not None)})"


def _fit(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) < HEADER_LIMIT else text[: HEADER_LIMIT - 2] + "…"
