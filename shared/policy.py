"""What becomes of a message: the tables of outcomes as data, and the pure functions that read them.

No clock, no socket. The README shows the same tables, and a test keeps them equal.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from shared.job_router_error import (
    CONNECTION_FAILED,
    CREDENTIAL_UNAVAILABLE,
    NO_SUCH_JOB,
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
_UNAVAILABLE, _USED_UP = "JobRouterUnavailable", "RetriesExhausted"


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
    """What a rule makes of a message; the values are the words of the README's tables."""

    READ_JOB = "read the job; the table below decides"
    COMPLETE = "complete, as `AlreadyCancelled`"
    DEAD_LETTER = "dead-letter"
    NOT_FOUND = "dead-letter; within `JOB_NOT_FOUND_GRACE_SECONDS`: redeliver later"
    CONFLICT = "retry, then redeliver later; once attempts are used up: dead-letter as such"
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

NOT_REACHED = Rule(
    "3xx, 407, 4xx or 501 or 505 without Job Router's error document, a success that is not Job Router's",
    Verdict.REPAIR,
    "JobRouterNotReached",
    "Something else than Job Router answered: check the endpoint in JOB_ROUTER_ENDPOINT or "
    "JOB_ROUTER_CONNECTION_STRING, HTTPS_PROXY, and the gateways and firewalls in between; after 401 or 403 the access "
    "key or the role too.",
    frozenset(range(300, 400)) | {407},
    frozenset({NOT_JOB_ROUTER}),
)
RULES = (
    Rule("400, 404, 409, 412", Verdict.READ_JOB, statuses=frozenset({400, 404, 409, 412})),
    Rule(
        "401, 403",
        Verdict.REPAIR,
        "JobRouterAccessDenied",
        "Check the access key in JOB_ROUTER_CONNECTION_STRING or, with JOB_ROUTER_ENDPOINT, the role of the function "
        "app's identity on the Communication Services resource; check this machine's clock too.",
        frozenset({401, 403}),
    ),
    Rule(
        "any other 4xx, 501, 505",
        Verdict.DEAD_LETTER,
        None,
        "Job Router refuses to cancel it.",
        (frozenset(range(400, 500)) | {501, 505}) - {400, 401, 403, 404, 407, 408, 409, 412, 421, 425, 429},
    ),
    NOT_REACHED,
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
        _UNAVAILABLE,
        "Job Router could not answer now.",
        frozenset({408, 421, 425, 429}) | _SERVER_ERRORS,
        frozenset({TIMEOUT, CONNECTION_FAILED}),
    ),
)
# What reading the job gave, after Job Router refused to cancel it.
_CANCELLED = Rule("`cancelled`", Verdict.COMPLETE)
_OVER = Rule(
    "`closed`, `completed`",
    Verdict.DEAD_LETTER,
    "JobNotCancellable",
    "The job is over, and nothing is left to cancel.",
)
_UNKNOWN_JOB = Rule(
    "no such job",
    Verdict.NOT_FOUND,
    "JobNotFound",
    "Job Router knows no such job at this endpoint.",
)
_REFUSED = Rule(
    "any other status, or it cannot be read, after 400", Verdict.DEAD_LETTER, None, "Job Router refuses to cancel it."
)
_CONFLICT = Rule(
    "any other status, or it cannot be read, after 404, 409, 412",
    Verdict.CONFLICT,
    "JobRouterConflict",
    "Job Router refuses to cancel it now, though the job is not over.",
)
READ_RULES = (_CANCELLED, _OVER, _UNKNOWN_JOB, _REFUSED, _CONFLICT)

# One look-up instead of a search; a status or code that stood in two rows would be a fault of the table.
_BY_STATUS = {status: rule for rule in RULES for status in rule.statuses}
_BY_CODE = {code: rule for rule in RULES for code in rule.codes}
_BY_JOB_STATUS = {"cancelled": _CANCELLED, "closed": _OVER, "completed": _OVER, NO_SUCH_JOB: _UNKNOWN_JOB}
# Who answers so matters not: it says nothing of the message.
_WHOEVER_ANSWERS = frozenset({NOT_REACHED.when, _BY_CODE[TIMEOUT].when})


def rule_for(error: JobRouterError) -> Rule:
    """The row of the tables that an error falls under: of READ_RULES once the job was read, else of RULES.

    Only Job Router itself condemns a message or a credential: without its error document it was something in between.
    """
    if not error.from_job_router and error.code in _BY_CODE:
        return _BY_CODE[error.code]
    rule = _BY_STATUS.get(error.status or 0, NOT_REACHED)
    if not error.from_job_router and rule.when not in _WHOEVER_ANSWERS:
        return NOT_REACHED
    if rule.verdict is not Verdict.READ_JOB or error.job_status is None:
        return rule
    read = _BY_JOB_STATUS.get(error.job_status.casefold())
    return read or (_REFUSED if error.status == 400 else _CONFLICT)


def outcome_of_invalid(error: InvalidCancellationError) -> DeadLetter:
    """The outcome of a message that cannot be decoded."""
    return DeadLetter("InvalidCancellation", fit(f"{error} Correct the message at its sender and send it again."))


def outcome_of_error(error: JobRouterError, job_id: str, attempt: int, *, in_grace: bool = False) -> Outcome:
    """Judge a failed cancel, the job read back where the rule asks for it.

    in_grace: so short after the sending that an unknown job may still be created.
    """
    rule = rule_for(error)
    if rule.verdict is Verdict.COMPLETE:
        return AlreadyCancelled()
    reason = rule.reason or error.specific_code
    job = f"Job '{job_id[:200]}'"
    said = " ".join((error.message, *error.details)).strip()
    said = f"The service said: {said}" if said else ""
    facts = _facts(error, attempt)
    if rule.verdict is Verdict.DEAD_LETTER or (rule.verdict is Verdict.NOT_FOUND and not in_grace):
        return DeadLetter(reason, fit(f"{job}: {rule.advice} {said} {facts}"))
    description = fit(f"{job} is not cancelled yet: {said} {rule.advice} {facts}")
    return Redeliver(reason, description, rule.verdict is Verdict.REPAIR, error.retry_after)


def unexpected(error: Exception) -> Redeliver:
    """The outcome of a delivery that failed in a way that nobody foresaw: names the place, never the error's text."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{'/'.join(Path(frames[-1].filename).parts[-2:])}, line {frames[-1].lineno}" if frames else "nowhere"
    description = f"An unexpected error: {type(error).__name__} in {place}. Report it to the function's maintainers."
    return Redeliver("UnexpectedError", fit(description), environment_fault=True)


def outcome_when_used_up(outcome: Redeliver, attempt: Attempt) -> DeadLetter:
    """The outcome of a message that was tried long enough; whatever names its cause stays the reason."""
    reason = _USED_UP if outcome.reason == _UNAVAILABLE else outcome.reason
    tried = f"Given up after {attempt.number} attempts since {attempt.since:%Y-%m-%d %H:%M:%S} UTC."
    return DeadLetter(reason, fit(f"{tried} Mend the cause and send the message again. {outcome.description}"))


def fit(text: str) -> str:
    """On one line, short enough for a header of Service Bus."""
    text = " ".join(text.split())
    return text if len(text) < HEADER_LIMIT else text[: HEADER_LIMIT - 2] + "…"


def _facts(error: JobRouterError, attempt: int) -> str:
    codes = dict.fromkeys((error.specific_code, error.code, *error.inner_codes))
    facts = {
        "code": ", ".join(codes),
        "status": error.status,
        "target": error.target,
        "job status": error.job_status,
        **({error.request_id.header: error.request_id.value} if error.request_id else {}),
        "attempt": attempt,
    }
    return f"({'; '.join(f'{name}: {value}' for name, value in facts.items() if value is not None)})"
