"""The demo's messages: what is sent, how the Job Router is set up for it, and what must become of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local.job_router import Fault, JobRouter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CANCELLED = "Cancelled"
ALREADY = "AlreadyCancelled"


@dataclass(frozen=True)
class Case:
    """One message. expected: the outcome, or the reason of the dead letter that it must become."""

    kind: str
    message_id: str
    body: str
    expected: str
    job_id: str | None = None
    content_type: str | None = "application/json"
    properties: tuple[tuple[str, str], ...] = ()

    @property
    def is_dead_letter(self) -> bool:
        return self.expected not in (CANCELLED, ALREADY)


def demo_cases(router: JobRouter) -> list[Case]:
    """Create the jobs and script the faults; the messages are sent by the caller."""
    return [*_good(router), *_events(router), *_malformed(), *_refused(router), *_healing(router)]


def _good(router: JobRouter) -> Iterator[Case]:
    extras: list[tuple[str, dict[str, str]]] = [
        ("plain", {}),
        ("with a note", {"note": "Customer hung up"}),
        ("with a code", {"dispositionCode": "Abandoned"}),
        ("with both", {"note": "Duplicate of an earlier call", "dispositionCode": "Duplicate"}),
    ]
    for number in range(1, 13):
        kind, fields = extras[number % len(extras)]
        job_id = f"call-{number:02}"
        router.add_job(job_id, "assigned" if number % 3 == 0 else "queued")
        yield Case(kind, f"good-{number:02}", json.dumps({"jobId": job_id, **fields}), CANCELLED, job_id)


def _events(router: JobRouter) -> Iterator[Case]:
    for number in range(1, 4):
        router.add_job(f"event-{number}")
        event = {"specversion": "1.0", "id": f"e{number}", "source": "/crm", "type": "call.ended"}
        body = json.dumps({**event, "data": {"jobId": f"event-{number}"}})
        yield Case(
            "CloudEvent, structured",
            f"structured-{number}",
            body,
            CANCELLED,
            f"event-{number}",
            "application/cloudevents+json",
        )
    for number in range(4, 7):
        router.add_job(f"event-{number}")
        yield Case(
            "CloudEvent, binary",
            f"binary-{number}",
            json.dumps({"jobId": f"event-{number}"}),
            CANCELLED,
            f"event-{number}",
            properties=(("cloudEvents:specversion", "1.0"), ("cloudEvents:id", f"e{number}")),
        )


def _malformed() -> Iterator[Case]:
    bodies = {
        "empty": "",
        "not JSON": "please cancel call 17",
        "an array": '["call-01"]',
        "no jobId": '{"note": "which one?"}',
        "a blank jobId": '{"jobId": "  "}',
        "a number as jobId": '{"jobId": 17}',
    }
    for number, (kind, body) in enumerate(bodies.items(), 1):
        yield Case(f"malformed: {kind}", f"malformed-{number}", body, "InvalidCancellation")


def _refused(router: JobRouter) -> Iterator[Case]:
    for number in range(1, 4):
        yield Case("unknown job", f"unknown-{number}", json.dumps({"jobId": f"ghost-{number}"}), "JobNotFound")
    for number in range(1, 4):
        router.add_job(f"before-{number}", "cancelled")
        yield Case("job already cancelled", f"already-{number}", json.dumps({"jobId": f"before-{number}"}), ALREADY)
    for number in range(1, 4):
        router.add_job(f"ended-{number}", "closed")
        yield Case("job closed", f"closed-{number}", json.dumps({"jobId": f"ended-{number}"}), "JobNotCancellable")


def _healing(router: JobRouter) -> Iterator[Case]:
    faults: list[tuple[str, Callable[[str], Fault]]] = [
        ("throttled once", lambda job: Fault("status", job_id=job, status=429, retry_after="1")),
        ("service error that heals", lambda job: Fault("status", job_id=job, status=503, times=4)),
        ("access denied that heals", lambda job: Fault("status", job_id=job, status=403, times=2)),
        ("connection reset once", lambda job: Fault("reset_before", job_id=job)),
    ]
    for kind, fault in faults:
        for number in (1, 2):
            job_id = f"{kind.split()[0]}-{number}"
            router.add_job(job_id)
            router.faults.add(fault(job_id))
            yield Case(kind, job_id, json.dumps({"jobId": job_id}), CANCELLED, job_id)
