"""From a message on a queue to a cancelled job or a dead letter, over real AMQP and real HTTP."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from azure.servicebus import ServiceBusMessage

from local.job_router import Fault, JobRouter
from local.stack import Stack
from tests.end_to_end.conftest import QUEUE, drained, each_second_cancel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.conftest import Answers, Lines


pytestmark = each_second_cancel


def message(job_id: str, **options: Any) -> ServiceBusMessage:
    return ServiceBusMessage(json.dumps({"jobId": job_id}), **{"message_id": f"m-{job_id}", **options})


def test_two_hundred_messages_one_in_five_poisonous_each_end_once_in_the_right_place(
    stack: Stack, send: Callable[..., None], lines: Lines
) -> None:
    for number in range(200):
        stack.job_router.add_job(f"job-{number}")

    send(
        stack,
        *(
            ServiceBusMessage("poison" if number % 5 == 0 else f'{{"jobId": "job-{number}"}}', message_id=str(number))
            for number in range(200)
        ),
    )

    assert drained(stack)
    dead = {letter.message_id for letter in stack.broker.messages(QUEUE, dead_letter=True)}
    assert dead == {str(number) for number in range(0, 200, 5)}
    cancelled = {job.id for job in stack.job_router.jobs() if job.status == "cancelled"}
    assert cancelled == {f"job-{number}" for number in range(200) if number % 5}
    assert all(job.cancel_count <= 1 for job in stack.job_router.jobs())
    told = lines.wait_for("DeadLetter", 40)
    assert Counter(line["message_id"] for _, line in told) == Counter(map(str, range(200)))


def test_another_process_reads_a_dead_letter_whole(stack: Stack, send: Callable[..., None]) -> None:
    key = uuid.uuid4()
    send(
        stack,
        ServiceBusMessage(
            '{"jobId": "ghost"}',
            message_id="m-1",
            correlation_id="c-1",
            subject="ended",
            content_type="application/json",
            application_properties={"tenant": "blue", "attempt": 3, "key": key},
        ),
    )
    assert stack.broker.wait_until(lambda broker: broker.counts(QUEUE).dead_lettered == 1, 10)

    script = """
import sys
from azure.servicebus import ServiceBusClient
client = ServiceBusClient.from_connection_string(sys.argv[1])
with client, client.get_queue_receiver(sys.argv[2], sub_queue="deadletter") as r:
    (m,) = r.receive_messages(1, max_wait_time=5)
    p = m.application_properties
    print(m.dead_letter_reason, m.message_id, m.correlation_id, m.subject, m.content_type, str(m), sep="|")
    print(p[b"tenant"], p[b"attempt"], p[b"key"])
    print(m.dead_letter_error_description)
"""
    arguments = [sys.executable, "-c", script, stack.broker.connection_string, QUEUE]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603  # our own script
    first, second, description = done.stdout.splitlines()
    assert first == 'JobNotFound|m-1|c-1|ended|application/json|{"jobId": "ghost"}'
    assert second == f"b'blue' 3 {key}"
    assert description.startswith("Job 'ghost': Job Router knows no such job at this endpoint.")


@pytest.mark.parametrize(
    "fault",
    [Fault("status", status=503), Fault("status", status=429, retry_after="1"), Fault("reset_before")],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_a_blip_is_over_within_one_delivery(
    stack: Stack, send: Callable[..., None], lines: Lines, fault: Fault
) -> None:
    stack.job_router.add_job("call-1")
    stack.job_router.faults.add(fault)

    send(stack, message("call-1"))

    assert drained(stack)
    assert stack.job_router.job("call-1").status == "cancelled"
    assert [line["outcome"] for _, line in lines.found] == ["Cancelled"]


def test_a_cancel_that_overtakes_its_job_waits_for_it_within_its_grace(
    fresh_function: None, monkeypatch: pytest.MonkeyPatch, answers: Answers, send: Callable[..., None], lines: Lines
) -> None:
    monkeypatch.setenv("JOB_NOT_FOUND_GRACE_SECONDS", "60")
    with Stack(job_router=JobRouter(**answers)) as stack:
        send(stack, message("call-1"))
        lines.wait_for("Redeliver")
        stack.job_router.add_job("call-1")

        assert drained(stack)
        assert stack.job_router.job("call-1").status == "cancelled"
    assert lines.found[0][1]["reason"] == "JobNotFound"
    assert lines.found[-1][1]["outcome"] == "Cancelled"


def test_an_outage_delays_a_message_and_its_lines_tell_one_story(
    stack: Stack, send: Callable[..., None], lines: Lines
) -> None:
    stack.job_router.add_job("call-1")
    stack.job_router.faults.add(Fault("status", status=503, times=4))  # three attempts of the first delivery, and one

    send(stack, message("call-1"))

    first, second = (line for _, line in lines.wait_for("Cancelled"))
    assert (first["message_id"], first["outcome"], first["attempt"]) == ("m-call-1", "Redeliver", 1)
    assert (second["message_id"], second["outcome"], second["attempt"]) == ("m-call-1", "Cancelled", 2)
    assert drained(stack)
    assert stack.broker.counts(QUEUE).dead_lettered == 0


def test_two_messages_for_one_job_both_end_well(
    stack: Stack, send: Callable[..., None], lines: Lines, answers: Answers
) -> None:
    stack.job_router.add_job("call-1")

    send(stack, message("call-1"), message("call-1", message_id="another"))

    assert drained(stack)
    second = "Cancelled" if answers["second_cancel"] == 200 else "AlreadyCancelled"
    assert sorted(line["outcome"] for _, line in lines.wait_for("Cancelled")) == sorted([second, "Cancelled"])


def test_second_cancel_of_a_cancelled_job_completes_the_message(
    stack: Stack, send: Callable[..., None], lines: Lines, answers: Answers
) -> None:
    stack.job_router.add_job("call-1", "cancelled")

    send(stack, message("call-1"))

    assert drained(stack)
    outcome = "Cancelled" if answers["second_cancel"] == 200 else "AlreadyCancelled"
    assert [(level, line["outcome"]) for level, line in lines.found] == [(logging.INFO, outcome)]
    assert stack.job_router.job("call-1").cancel_count == 0


def test_the_line_of_a_dead_letter_says_who_why_and_how_often_at_error_level(
    stack: Stack, send: Callable[..., None], lines: Lines
) -> None:
    send(stack, message("ghost"))

    assert drained(stack)
    ((level, line),) = lines.wait_for("DeadLetter")
    assert level == logging.ERROR
    assert {
        "message_id": "m-ghost",
        "job_id": "ghost",
        "outcome": "DeadLetter",
        "reason": "JobNotFound",
    }.items() <= line.items()
    assert line["delivery_count"] == 1
    assert line["status"] == 404
    assert line["duration_ms"] > 0
    assert uuid.UUID(line["invocation_id"])
    assert line["request_id"]


def test_no_note_and_no_key_reaches_a_log_line_or_a_dead_letter(
    stack: Stack, send: Callable[..., None], lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    note = "the customer's private words, in full"
    stack.job_router.add_job("closed-1", "closed")
    stack.job_router.faults.add(
        Fault(
            "status", job_id="echo", status=422, body=json.dumps({"error": {"code": "Bad", "message": note}}).encode()
        )
    )

    with caplog.at_level(logging.DEBUG):
        send(
            stack,
            *(
                ServiceBusMessage(body)
                for body in (
                    json.dumps({"jobId": "closed-1", "note": note}),
                    json.dumps({"jobId": "echo", "note": note}),
                    json.dumps({"jobId": 7, "note": note}),
                    f'{{"note": "{note}"',
                )
            ),
        )
        told = [json.dumps(fields) for _, fields in lines.wait_for("DeadLetter", 4)]

    told += [record.getMessage() for record in caplog.records if record.name == "local.host"]
    letters = [str(letter.application_properties) for letter in stack.broker.messages(QUEUE, dead_letter=True)]
    assert len(told) >= 4
    key = stack.settings["JOB_ROUTER_CONNECTION_STRING"].split("accesskey=")[1]
    for text in (*told, *letters):
        assert note not in text
        assert note[:20] not in text
        assert key not in text
        assert "SharedAccessKey=" not in text


def test_the_trace_of_the_sender_reaches_job_router(stack: Stack, send: Callable[..., None]) -> None:
    stack.job_router.add_job("call-1")
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"

    send(stack, message("call-1", application_properties={"Diagnostic-Id": f"00-{trace_id}-00f067aa0ba902b7-01"}))

    assert drained(stack)
    (request,) = stack.job_router.requests
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert headers["traceparent"].split("-")[1] == trace_id
