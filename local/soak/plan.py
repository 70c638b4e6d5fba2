"""What is sent, to which jobs, and what goes wrong with each: all of it follows from the seed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from local.job_router import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.job_router import JobRouter

SECRET_NOTE = "private words"  # noqa: S105  # planted in every note: it may show up nowhere but in the job
CANCELLED = "cancelled"
_FAULTY_SHARE = 0.3
_SLOW_SECONDS = 1.5  # longer than the worker's read timeout in a soak


@dataclass(frozen=True)
class Planned:
    """One message. expected: `cancelled`, or the reason of the dead letter that it must become."""

    message_id: str
    kind: str
    body: str
    expected: str
    job_id: str | None = None
    job_status: str | None = None  # the job to create; None: none, or another message's
    note: str | None = None
    fault: Fault | None = None


def plan(seed: int, count: int) -> list[Planned]:
    """`count` messages, the same for the same seed."""
    random = Random(seed)  # noqa: S311  # reproducible on purpose
    kinds, weights = zip(*_KINDS, strict=True)
    planned: list[Planned] = []
    while len(planned) < count:
        number = len(planned)
        kind = random.choices(kinds, weights)[0]
        planned += list(kind(random, number))[: count - number]
    return planned


def prepare(router: JobRouter, planned: list[Planned]) -> None:
    """Create the jobs, script the faults, and put bystanders between the jobs that nobody may cancel."""
    for message in planned:
        if message.job_id and message.job_status:
            router.add_job(message.job_id, message.job_status)
            router.add_job(f"bystander-{message.job_id}")
        if message.fault:
            router.faults.add(message.fault)


def _good(random: Random, number: int) -> Iterator[Planned]:
    job_id = f"job-{number}"
    fault = _fault(random, job_id) if random.random() < _FAULTY_SHARE else None
    kind = f"good, {fault.kind} {fault.status or ''}".strip() if fault else "good"
    yield _message(number, kind, job_id, CANCELLED, "queued", fault)


def _twice(random: Random, number: int) -> Iterator[Planned]:
    """Two messages for one job, the first perhaps in trouble while the second passes it."""
    job_id = f"job-{number}"
    fault = _fault(random, job_id) if random.random() < _FAULTY_SHARE else None
    yield _message(number, "one job twice", job_id, CANCELLED, "queued", fault)
    yield _message(number + 1, "one job twice", job_id, CANCELLED, None)


def _already(_: Random, number: int) -> Iterator[Planned]:
    yield _message(number, "already cancelled", f"job-{number}", CANCELLED, "cancelled")


def _closed(_: Random, number: int) -> Iterator[Planned]:
    yield _message(number, "closed", f"job-{number}", "JobNotCancellable", "closed")


def _unknown(_: Random, number: int) -> Iterator[Planned]:
    yield _message(number, "unknown job", f"ghost-{number}", "JobNotFound", None)


def _malformed(random: Random, number: int) -> Iterator[Planned]:
    body = random.choice(["", "stop it", "[]", '{"jobId": 7}', '{"note": "private words"}', '{"jobId": "job-1"'])
    yield Planned(f"m-{number}", "malformed", body, "InvalidCancellation")


def _refused(random: Random, number: int) -> Iterator[Planned]:
    job_id = f"job-{number}"
    status, code = random.choice([(422, "UnprocessableEntity"), (501, "NotImplemented"), (505, "VersionRefused")])
    shape = random.choice(["communicationError", "error"])
    body = json.dumps({shape: {"code": code, "message": f"No. {SECRET_NOTE} of job {job_id}, in full."}}).encode()
    fault = Fault("status", job_id=job_id, status=status, times=None, body=body)
    yield _message(number, "refused for good", job_id, code, "queued", fault)


_KINDS: tuple[tuple[Callable[[Random, int], Iterator[Planned]], float], ...] = (
    (_good, 80.0),
    (_twice, 5.0),
    (_already, 3.0),
    (_closed, 3.0),
    (_unknown, 3.0),
    (_malformed, 3.0),
    (_refused, 1.0),
)


def _message(
    number: int, kind: str, job_id: str, expected: str, job_status: str | None, fault: Fault | None = None
) -> Planned:
    note = f"{SECRET_NOTE} of job {job_id}, in full"
    body = json.dumps({"jobId": job_id, "note": note, "dispositionCode": f"code-{job_id}"})
    return Planned(f"m-{number}", kind, body, expected, job_id, job_status, note, fault)


def _fault(random: Random, job_id: str) -> Fault:
    """Something that goes away by itself."""
    times = random.choice([1, 1, 2, 3, 4, 6])
    kind = random.choices(
        [
            *("status", "reset_before", "reset_after", "half_body", "close", "not_json", "redirect", "delay"),
            *("slow_body", "interim", "in_between"),
        ],
        [50, 10, 10, 8, 5, 5, 5, 3, 3, 3, 6],
    )[0]
    match kind:
        case "status":
            status = random.choice([401, 403, 407, 408, 421, 425, 429, 429, 500, 502, 503, 503, 504, 599])
            retry_after = random.choice([None, "0", "1", "4"]) if status in (429, 503) else None
            return Fault("status", job_id=job_id, times=times, status=status, retry_after=retry_after)
        case "in_between":
            status = random.choice([200, 206, 400, 401, 403, 404, 409, 410, 501])
            body = random.choice([b"", b"<html><title>404 Web Site not found</title></html>", b'{"error": null}'])
            return Fault("status", job_id=job_id, times=times, status=status, body=body)
        case "delay" | "slow_body":
            return Fault(kind, job_id=job_id, times=1, delay_seconds=_SLOW_SECONDS)
        case _:
            return Fault(kind, job_id=job_id, times=times)  # type: ignore[arg-type]  # one of the kinds above
