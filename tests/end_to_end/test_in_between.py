"""Good messages behind something that answers in Job Router's place: none is dead-lettered, none seems cancelled."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from azure.servicebus import ServiceBusMessage

from local.job_router import Fault
from tests.end_to_end.conftest import QUEUE, drained

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.stack import Stack
    from tests.end_to_end.conftest import Lines

COUNT = 50
PAGE = b"<!DOCTYPE html><html><head><title>404 Web Site not found</title></head><body>No site here.</body></html>"
ANSWERS = {
    "HTML 404": (404, PAGE),
    "HTML 400": (400, PAGE),
    "empty 404": (404, b""),
    "HTML 403": (403, PAGE),
    "another service's 410": (410, b'{"title": "Gone", "status": 410}'),
    "empty 501": (501, b""),
    "empty 200": (200, b""),
    "206": (206, b"{}"),
    "200 with an error inside": (200, b'{"status": "Healthy", "error": null}'),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_good_messages_outlive_whatever_stands_in_between(
    stack: Stack, send: Callable[..., None], lines: Lines, answer: str
) -> None:
    status, body = ANSWERS[answer]
    jobs = [f"job-{number}" for number in range(COUNT)]
    for job_id in jobs:
        stack.job_router.add_job(job_id)
    stack.job_router.faults.add(Fault("status", status=status, body=body, times=None))

    send(stack, *(ServiceBusMessage(json.dumps({"jobId": job_id}), message_id=job_id) for job_id in jobs))
    first = lines.wait_for_messages(set(jobs))

    found = Counter((fields["outcome"], fields["reason"]) for _, fields in first)
    assert found == {("Redeliver", "JobRouterNotReached"): len(first)}
    assert all("JOB_ROUTER_ENDPOINT" in fields["description"] for _, fields in first)
    assert [job.id for job in stack.job_router.jobs() if job.status != "queued"] == []

    stack.job_router.faults.clear()
    assert drained(stack, 60)
    assert [job.id for job in stack.job_router.jobs() if (job.status, job.cancel_count) != ("cancelled", 1)] == []
    assert stack.broker.messages(QUEUE, dead_letter=True) == []


def test_no_message_takes_the_late_answer_of_another_one(stack: Stack, send: Callable[..., None], lines: Lines) -> None:
    """A front end sends 103 and then the answer: what comes late on a connection belongs to nobody."""
    jobs = [f"job-{number}" for number in range(COUNT)]
    for job_id in jobs[::2]:
        stack.job_router.add_job(job_id)
    stack.job_router.faults.add(Fault("interim", delay_seconds=0.02, times=None))

    send(stack, *(ServiceBusMessage(json.dumps({"jobId": job_id}), message_id=job_id) for job_id in jobs))
    first = lines.wait_for_messages(set(jobs))

    # The job of each second message does not exist: that one is called cancelled would be another one's answer.
    assert {fields["outcome"] for _, fields in first} == {"Redeliver"}
    assert {fields["reason"] for _, fields in first} == {"JobRouterUnavailable"}
    assert any("interim answer (103)" in fields["description"] for _, fields in first)
    assert stack.broker.messages(QUEUE, dead_letter=True) == []

    stack.job_router.faults.clear()
    assert drained(stack, 60)
    assert {job.id for job in stack.job_router.jobs() if job.status == "cancelled"} == set(jobs[::2])
    lines.wait_for("DeadLetter", COUNT // 2)
    ended = {fields["message_id"]: fields["outcome"] for _, fields in lines.found}
    assert {ended[job_id] for job_id in jobs[::2]} <= {"Cancelled", "AlreadyCancelled"}
    assert {ended[job_id] for job_id in jobs[1::2]} == {"DeadLetter"}
