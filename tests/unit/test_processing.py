"""The way of a message that comes to an end in one delivery."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from shared.call_guard import ATTEMPTS, FAILED_CALLS_BEFORE_SHEDDING
from shared.job_router_error import JobRouterError, RequestId
from shared.processing import SettlementError
from shared.redelivery import ATTEMPT, FIRST_ENQUEUED_TIME, MESSAGE_ID
from tests.unit.edges import BACKOFF, BAD, LONG_AGO, NOTE, NOW, Edges, error

if TYPE_CHECKING:
    from pytest_mock import MockerFixture


def test_a_cancelled_job_completes_the_message_with_one_line(edges: Edges) -> None:
    edges.process(delivery_count=2)
    level, line = edges.line
    assert line.pop("duration_ms") >= 0
    assert line.pop("age_seconds") >= 1.7
    assert (level, line) == (
        logging.INFO,
        {
            "message_id": "msg-1",
            "attempt": 2,
            "delivery_count": 2,
            "invocation_id": "inv-1",
            "job_id": "job-1",
            "outcome": "Cancelled",
            "request_id": "req-1",
            "request_id_header": "trace-id",
        },
    )


def test_a_cancelled_job_leaves_the_completing_to_the_host(edges: Edges) -> None:
    edges.process()
    assert edges.settler.method_calls == []


def test_the_line_of_a_copy_names_the_first_message_and_the_attempt(edges: Edges) -> None:
    edges.process(properties={ATTEMPT: 4, MESSAGE_ID: "first-id"})
    assert (edges.line[1]["message_id"], edges.line[1]["attempt"]) == ("first-id", 4)


def test_the_line_tells_the_age_since_the_sender_sent_not_since_the_copy(edges: Edges) -> None:
    edges.process(properties={FIRST_ENQUEUED_TIME: (NOW - timedelta(hours=2)).isoformat()})
    assert edges.line[1]["age_seconds"] == pytest.approx(7200, abs=1)


def test_the_age_goes_on_until_the_line_is_written(edges: Edges, mocker: MockerFixture) -> None:
    mocker.patch("shared.log_line.time.monotonic", return_value=time.monotonic() + 5)
    edges.process()
    assert edges.line[1]["age_seconds"] == pytest.approx(6.75, abs=1)


@pytest.mark.parametrize("trace_parent", ["trace", None])
def test_the_cancelling_is_part_of_the_invocations_trace(edges: Edges, trace_parent: str | None) -> None:
    edges.process(trace_parent=trace_parent)
    assert edges.cancel.call_args.kwargs == {"trace_parent": trace_parent}


def test_the_reading_is_part_of_the_invocations_trace(edges: Edges) -> None:
    edges.cancel.side_effect = error(409)
    edges.process()
    assert edges.read.call_args.args == ("job-1",)
    assert edges.read.call_args.kwargs == {"trace_parent": "trace", "private": (NOTE,)}


def test_an_invalid_message_is_dead_lettered(edges: Edges) -> None:
    edges.process(BAD)
    assert edges.settle.call_args.args[:2] == ("lock-1", "InvalidCancellation")


def test_an_invalid_message_is_no_matter_for_job_router(edges: Edges) -> None:
    edges.process(BAD)
    assert edges.router.method_calls == []


def test_a_dead_letter_is_an_error_in_the_log(edges: Edges) -> None:
    edges.process(BAD)
    level, line = edges.line
    assert (level, line["outcome"], line["reason"]) == (logging.ERROR, "DeadLetter", "InvalidCancellation")


def test_header_and_log_give_the_same_description(edges: Edges) -> None:
    edges.process(BAD)
    assert edges.settle.call_args.args[2] == edges.line[1]["description"]


def test_a_job_found_cancelled_completes_the_message(edges: Edges) -> None:
    edges.cancel.side_effect = error(409)
    edges.read.return_value = "cancelled"
    edges.process()
    level, line = edges.line
    assert (level, line["outcome"], line["status"]) == (logging.INFO, "AlreadyCancelled", 409)
    edges.settle.assert_not_called()


def test_a_job_found_closed_is_dead_lettered(edges: Edges) -> None:
    edges.cancel.side_effect = error(409)
    edges.read.return_value = "closed"
    edges.process()
    assert edges.settle.call_args.args[1] == "JobNotCancellable"


@pytest.mark.parametrize("status", [405, 422])
def test_a_refusal_that_no_status_explains_reads_no_job(edges: Edges, status: int) -> None:
    edges.cancel.side_effect = error(status)
    edges.process()
    edges.read.assert_not_called()
    edges.settle.assert_called_once()


def test_a_job_gone_by_the_time_it_is_read_is_not_found(edges: Edges) -> None:
    edges.cancel.side_effect = error(409)
    edges.read.side_effect = error(404)
    edges.process()
    assert edges.settle.call_args.args[1] == "JobNotFound"


@pytest.mark.parametrize("status", [400, 404, 409, 412])
def test_an_unknown_job_is_not_found_once_reading_says_so_too(edges: Edges, status: int) -> None:
    edges.cancel.side_effect = error(status)
    edges.read.side_effect = error(404)
    edges.process()
    assert edges.settle.call_args.args[1] == "JobNotFound"


@pytest.mark.parametrize("status", [404, 409, 412])
@pytest.mark.parametrize("job_status", ["queued", "assigned", "somethingNew"])
def test_a_conflict_inside_the_service_is_tried_again_and_then_postponed(
    edges: Edges, status: int, job_status: str
) -> None:
    edges.cancel.side_effect = error(status)
    edges.read.return_value = job_status
    edges.process()
    assert (edges.cancel.call_count, edges.read.call_count) == (ATTEMPTS, ATTEMPTS)
    edges.copy.assert_called_once()
    level, line = edges.line
    assert (level, line["outcome"], line["reason"]) == (logging.WARNING, "Redeliver", "JobRouterConflict")
    assert f"job status: {job_status}" in line["description"]


def test_a_conflict_that_is_over_cancels_the_job(edges: Edges) -> None:
    edges.cancel.side_effect = [error(409), RequestId("trace-id", "req-1")]
    edges.process()
    assert edges.line[1]["outcome"] == "Cancelled"


def test_a_conflict_is_dead_lettered_only_once_attempts_are_used_up(edges: Edges) -> None:
    edges.cancel.side_effect = error(409)
    edges.process(properties=LONG_AGO)
    assert edges.settle.call_args.args[1] == "JobRouterConflict"


def test_conflicts_of_single_jobs_do_not_stop_the_calls_for_others(edges: Edges) -> None:
    edges.cancel.side_effect = error(409)
    for _ in range(FAILED_CALLS_BEFORE_SHEDDING + 1):
        edges.process()
    assert all("Not called" not in line["description"] for _, line in edges.lines)


@pytest.mark.parametrize("status", [400, 404, 409, 412])
def test_a_refusal_by_something_in_between_reads_no_job_and_condemns_nothing(edges: Edges, status: int) -> None:
    edges.cancel.side_effect = JobRouterError(status, f"Http{status}", "No site here.")
    edges.process()
    edges.read.assert_not_called()
    edges.copy.assert_called_once()
    level, line = edges.line
    assert (level, line["reason"]) == (logging.ERROR, "JobRouterNotReached")


def test_a_read_that_something_in_between_answers_condemns_nothing(edges: Edges) -> None:
    edges.cancel.side_effect = error(404)
    edges.read.side_effect = JobRouterError(404, "Http404", "No site here.")
    edges.process()
    edges.settle.assert_not_called()
    assert edges.line[1]["reason"] == "JobRouterNotReached"


# A cancel that overtakes its job


@pytest.mark.parametrize("grace, outcome", [(0.0, "DeadLetter"), (1.7, "DeadLetter"), (1.8, "Redeliver")])
def test_an_unknown_job_may_be_created_within_the_grace_since_the_sending(
    edges: Edges, grace: float, outcome: str
) -> None:
    edges.queue = replace(edges.queue, backoff=replace(BACKOFF, job_not_found_grace=grace))
    edges.cancel.side_effect = edges.read.side_effect = error(404)
    edges.process()  # 1.75 seconds after the sending
    assert (edges.line[1]["outcome"], edges.line[1]["reason"]) == (outcome, "JobNotFound")


def test_the_grace_counts_from_the_first_sending_not_from_the_copys(edges: Edges) -> None:
    edges.queue = replace(edges.queue, backoff=replace(BACKOFF, job_not_found_grace=60.0))
    edges.cancel.side_effect = edges.read.side_effect = error(404)
    edges.process(properties={FIRST_ENQUEUED_TIME: (NOW - timedelta(seconds=61)).isoformat()})
    assert edges.line[1]["outcome"] == "DeadLetter"


def test_a_grace_longer_than_all_attempts_ends_with_the_attempts(edges: Edges) -> None:
    edges.queue = replace(edges.queue, backoff=replace(BACKOFF, job_not_found_grace=1e6))
    edges.cancel.side_effect = edges.read.side_effect = error(404)
    edges.process(properties=LONG_AGO)
    assert edges.settle.call_args.args[1] == "JobNotFound"


# The end of the line


def test_a_line_stays_under_eight_kibibytes_whatever_arrives(edges: Edges) -> None:
    body = json.dumps({"jobId": "\U0001f4de" * 1024, "note": "n"}).encode()
    edges.cancel.side_effect = JobRouterError(
        422,
        "C" * 100,
        "\U0001f4de" * 500,
        target="\U0001f4de" * 200,
        details=("\U0001f4de" * 500,) * 10,
        inner_codes=("I" * 100,) * 10,
        request_id=RequestId("trace-id", "r" * 128),
        from_job_router=True,
    )
    edges.process(body, properties={MESSAGE_ID: "\x01" * 60_000})
    (record,) = edges.caplog.records
    assert len(record.getMessage().encode()) <= 8 * 1024
    assert edges.line[1]["reason"] == "C" * 100
    assert edges.line[1]["description"].endswith("…")


@pytest.mark.parametrize("status", [400, 405])
def test_a_refused_read_leaves_the_first_refusal(edges: Edges, status: int) -> None:
    edges.cancel.side_effect = error(400, "First")
    edges.read.side_effect = error(status, "Second")
    edges.process()
    assert edges.settle.call_args.args[1] == "First"


def test_dead_lettering_that_fails_is_raised(edges: Edges) -> None:
    edges.settle.side_effect = OSError("secret")
    with pytest.raises(SettlementError, match=r"^Dead-lettering as InvalidCancellation failed \(OSError\)\.$"):
        edges.process(BAD)


def test_dead_lettering_that_fails_is_logged_as_such_and_once(edges: Edges) -> None:
    edges.settle.side_effect = OSError("secret")
    with pytest.raises(SettlementError):
        edges.process(BAD)
    level, line = edges.line
    assert (level, line["outcome"], line["reason"]) == (logging.ERROR, "SettlementFailed", "InvalidCancellation")


def test_a_message_without_a_lock_token_leaves_the_refusal_to_the_settler(edges: Edges) -> None:
    edges.process(BAD, lock=None)
    assert edges.settle.call_args.args[0] == ""


def test_nothing_is_written_below_the_logs_level(edges: Edges) -> None:
    edges.caplog.set_level(logging.ERROR, "cancel_job")
    edges.process()
    assert edges.caplog.records == []
