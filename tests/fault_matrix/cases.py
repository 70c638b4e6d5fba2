"""The two sides of the matrix: how a call to Job Router can end, and what can go wrong with settling."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from local.job_router import DEVELOPMENT_ACCESS_KEY, Fault

# Planted wherever a customer or a key could leak from; test_fault_matrix.py looks for them everywhere.
NOTE = "the customer's private words, in full"
SAS_KEY = "U2VydmljZSBCdXMga2V5LCBwbGFudGVk"
_ECHO = f"You said: {NOTE}; accesskey={DEVELOPMENT_ACCESS_KEY}; Authorization: Bearer eyPlanted.token.value"
SECRETS = (NOTE, NOTE[:20], SAS_KEY, DEVELOPMENT_ACCESS_KEY, "eyPlanted", "SharedAccessKey=")

CANCELLED = "cancelled"
_SLOW = 1.6  # seconds; longer than the impatient client waits for a whole answer


class Settling(StrEnum):
    """What goes wrong around settling, once for each message."""

    WORKS = "settling works"
    LINK_DROPPED = "link dropped"
    LOCK_LOST = "lock lost before settling"
    LOCK_LOST_AFTER = "lock lost before completing"
    SEND_REFUSED = "send refused"


@dataclass(frozen=True)
class Call:
    """How the call ends. end: `cancelled`, or the reason of the dead letter that the message becomes.

    deliveries: for how many deliveries the fault lasts; None for ever.
    client: which of the stage's clients makes the call while it does.
    used_up: the message has been tried for longer than attempts go on.
    """

    name: str
    end: str
    fault: Fault | None = None
    job_status: str | None = "queued"
    client: str = "good"
    attempts: int = 1  # in one delivery
    deliveries: int | None = None
    used_up: bool = False

    @property
    def is_later(self) -> bool:
        """Whether the first delivery ends as a redelivery."""
        return self.deliveries is not None


@dataclass(frozen=True)
class Case:
    """One row: a call and a settlement fault."""

    call: Call
    settling: Settling

    @property
    def job_id(self) -> str:
        return self.call.name.replace(" ", "-").replace("/", "-")

    def __str__(self) -> str:
        return f"{self.call.name} x {self.settling}"


def _status(status: int, job_id: str, times: int | None, body: bytes | None = None, method: str | None = None) -> Fault:
    error = {"code": f"Code{status}", "message": _ECHO, "details": [{"message": NOTE}]}
    if 300 <= status < 400:
        return Fault("redirect", job_id=job_id, status=status, times=times)
    body = json.dumps({"communicationError": error}).encode() if body is None else body
    return Fault("status", job_id=job_id, method=method, status=status, times=times, body=body)


def _dead(name: str, end: str, status: int | None = None, job_status: str | None = "queued") -> Call:
    fault = _status(status, name.replace(" ", "-"), None) if status else None
    return Call(name, end, fault, job_status)


def _passing(
    name: str,
    reason: str,
    attempts: int,
    kind: str = "",
    status: int = 0,
    client: str = "good",
    body: bytes | None = None,
    method: str | None = None,
) -> list[Call]:
    """Two rows: the fault goes away after the first delivery; it stays, and attempts are used up."""
    rows = []
    for used_up in (False, True):
        row = f"{name} used up" if used_up else name
        job_id, times = row.replace(" ", "-"), None if used_up else attempts
        fault = None
        if status:
            fault = _status(status, job_id, times, body, method)
        elif kind:
            fault = Fault(kind, job_id=job_id, times=times, delay_seconds=_SLOW if client == "impatient" else 0.0)  # type: ignore[arg-type]
        end = reason if used_up else CANCELLED
        rows.append(
            Call(row, end, fault, "queued", client, attempts, deliveries=None if used_up else 1, used_up=used_up)
        )
    return rows


_IN_CALL = 3  # attempts for what may be a blip; what only a person can mend gets one a delivery
_USED_UP = "RetriesExhausted"
_PAGE = f"<html><title>404 Web Site not found</title><p>{_ECHO}</p></html>".encode()
_IN_BETWEEN = (
    ("HTML 400", 400, _PAGE),
    ("HTML 401", 401, _PAGE),
    ("HTML 403", 403, _PAGE),
    ("HTML 404", 404, _PAGE),
    ("empty 404", 404, b""),
    ("another 410", 410, b'{"title": "Gone"}'),
    ("empty 501", 501, b""),
    ("empty 200", 200, b""),
    ("partial 206", 206, b"{}"),
    ("error inside 200", 200, b'{"status": "Healthy", "error": null}'),
)

CALLS: tuple[Call, ...] = (
    Call("200", CANCELLED),
    Call("200 already cancelled", CANCELLED, job_status="cancelled"),
    _dead("404", "JobNotFound", job_status=None),
    _dead("409 closed", "JobNotCancellable", job_status="closed"),
    _dead("409 completed", "JobNotCancellable", job_status="completed"),
    _dead("400 of an open job", "Code400", 400),
    *(
        row
        for status in (404, 409, 412)
        for row in _passing(f"{status} of an open job", "JobRouterConflict", _IN_CALL, status=status, method="POST")
    ),
    *(
        row
        for name, status, body in _IN_BETWEEN
        for row in _passing(name, "JobRouterNotReached", 1, status=status, body=body)
    ),
    *_passing("interim answer", _USED_UP, _IN_CALL, "interim"),
    *(
        _dead(f"{status}", f"Code{status}", status)
        for status in (402, 405, 406, 410, 411, 413, 414, 415, 422, 428, 431, 451, 501, 505)
    ),
    *(row for status in (401, 403) for row in _passing(str(status), "JobRouterAccessDenied", 1, status=status)),
    *(
        row
        for status in (301, 302, 303, 307, 308, 407)
        for row in _passing(str(status), "JobRouterNotReached", 1, status=status)
    ),
    *_passing("200 not JSON", "JobRouterNotReached", 1, "not_json"),
    *(
        row
        for status in (408, 421, 425, 429, 500, 502, 503, 504, 507, 599)
        for row in _passing(str(status), _USED_UP, _IN_CALL, status=status)
    ),
    Call("503 for one attempt", CANCELLED, Fault("status", job_id="503-for-one-attempt", times=1)),
    Call("reset for one attempt", CANCELLED, Fault("reset_after", job_id="reset-for-one-attempt", times=1)),
    *_passing("refused", _USED_UP, _IN_CALL, client="refused"),
    *_passing("reset before the request", _USED_UP, _IN_CALL, "reset_before"),
    *_passing("reset after the request", _USED_UP, _IN_CALL, "reset_after"),
    *_passing("closed without an answer", _USED_UP, _IN_CALL, "close"),
    *_passing("half a body", _USED_UP, _IN_CALL, "half_body"),
    *_passing("slow headers", _USED_UP, _IN_CALL, "delay", client="impatient"),
    *_passing("slow body", _USED_UP, _IN_CALL, "slow_body", client="impatient"),
    *_passing("DNS failure", _USED_UP, _IN_CALL, client="dns"),
    *_passing("bad certificate", "JobRouterCertificateInvalid", 1, client="certificate"),
    *_passing("no credential", "JobRouterCredentialUnavailable", 1, client="credential"),
)
CASES = tuple(Case(call, settling) for settling, call in product(Settling, CALLS))
