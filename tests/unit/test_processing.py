"""The way of a message that comes to an end in one delivery."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from shared.processing import SettlementError
from shared.redelivery import ATTEMPT, FIRST_ENQUEUED_TIME, MESSAGE_ID
from tests.unit.edges import BAD, NOW, Edges, error

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
    mocker.patch("shared.processing.time.monotonic", return_value=time.monotonic() + 5)
    edges.process()
    assert edges.line[1]["age_seconds"] == pytest.approx(6.75, abs=1)


@pytest.mark.parametrize("trace_parent", ["trace", None])
def test_the_cancelling_is_part_of_the_invocations_trace(edges: Edges, trace_parent: str | None) -> None:
    edges.process(trace_parent=trace_parent)
    assert edges.cancel.call_args.kwargs == {"trace_parent": trace_parent}


def test_the_reading_is_part_of_the_invocations_trace(edges: Edges) -> None:
    edges.cancel.side_effect = error(409)
    edges.process()
    assert (edges.read.call_args.args, edges.read.call_args.kwargs) == (("job-1",), {"trace_parent": "trace"})


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


@pytest.mark.parametrize("status", [404, 405, 422])
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
