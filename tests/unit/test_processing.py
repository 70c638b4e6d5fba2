"""The way of one message, with the Job Router and the settler at its edges replaced."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, cast

import azure.functions as func
import pytest

from shared.job_router_error import JobRouterError
from shared.processing import RedeliveryError, SettlementError, hold, process

if TYPE_CHECKING:
    from pytest_mock import MockerFixture, MockType

NOTE = "Customer Jane Roe changed her mind"


class Edges:
    """A Job Router and a settler that answer what a test says, and the log lines that were written."""

    def __init__(self, mocker: MockerFixture, caplog: pytest.LogCaptureFixture) -> None:
        self.cancel: MockType = mocker.Mock(return_value="req-1")
        self.read: MockType = mocker.Mock(return_value="queued")
        self.settle: MockType = mocker.Mock(return_value=None)
        self.router: Any = mocker.Mock(cancel_job=self.cancel, get_job_status=self.read)
        self.settler: Any = mocker.Mock(dead_letter=self.settle)
        self.caplog = caplog

    def process(self, body: bytes, trace_parent: str | None = "trace") -> None:
        process(message(body), "inv-1", trace_parent, self.router, self.settler)

    @property
    def line(self) -> tuple[int, dict[str, Any]]:
        (record,) = [r for r in self.caplog.records if r.name == "cancel_job"]
        return record.levelno, cast("dict[str, Any]", json.loads(record.getMessage()))


@pytest.fixture
def edges(mocker: MockerFixture, caplog: pytest.LogCaptureFixture) -> Edges:
    caplog.set_level(logging.INFO, "cancel_job")
    return Edges(mocker, caplog)


def message(body: bytes, lock: str | None = "lock-1") -> func.ServiceBusMessage:
    from azure.functions.servicebus import ServiceBusMessage

    return ServiceBusMessage(
        body=body, application_properties={}, user_properties={}, message_id="msg-1", delivery_count=2, lock_token=lock
    )


GOOD = json.dumps({"jobId": "job-1", "note": NOTE}).encode()


def error(status: int | None, code: str = "Code") -> JobRouterError:
    return JobRouterError(status, code, f"Refused: {NOTE}", request_id="req-2")


def test_a_cancelled_job_completes_the_message_with_one_line(edges: Edges) -> None:
    edges.process(GOOD)
    level, line = edges.line
    assert line.pop("duration_ms") >= 0
    assert (level, line) == (
        logging.INFO,
        {
            "message_id": "msg-1",
            "delivery_count": 2,
            "invocation_id": "inv-1",
            "job_id": "job-1",
            "outcome": "Cancelled",
            "request_id": "req-1",
        },
    )
    assert edges.cancel.call_args.kwargs == {"trace_parent": "trace"}
    edges.settle.assert_not_called()


def test_an_invalid_message_is_dead_lettered_without_a_call(edges: Edges) -> None:
    edges.process(b"{}")
    edges.cancel.assert_not_called()
    assert edges.settle.call_args.args[:2] == ("lock-1", "InvalidCancellation")
    level, line = edges.line
    assert (level, line["outcome"], line["reason"]) == (logging.ERROR, "DeadLetter", "InvalidCancellation")


def test_a_job_found_cancelled_completes_the_message(edges: Edges) -> None:
    edges.cancel.side_effect = error(409)
    edges.read.return_value = "cancelled"
    edges.process(GOOD)
    level, line = edges.line
    assert (level, line["outcome"], line["status"]) == (logging.INFO, "AlreadyCancelled", 409)
    edges.settle.assert_not_called()


def test_a_job_found_closed_is_dead_lettered(edges: Edges) -> None:
    edges.cancel.side_effect = error(409)
    edges.read.return_value = "closed"
    edges.process(GOOD)
    assert edges.settle.call_args.args[1] == "JobNotCancellable"


@pytest.mark.parametrize("status", [404, 405, 422])
def test_a_refusal_that_no_status_explains_reads_no_job(edges: Edges, status: int) -> None:
    edges.cancel.side_effect = error(status)
    edges.process(GOOD)
    edges.read.assert_not_called()
    edges.settle.assert_called_once()


@pytest.mark.parametrize("status", [503, 401])
def test_a_job_that_cannot_be_read_now_is_redelivered(edges: Edges, status: int) -> None:
    edges.cancel.side_effect = error(409)
    edges.read.side_effect = error(status)
    with pytest.raises(RedeliveryError):
        edges.process(GOOD)
    edges.settle.assert_not_called()


def test_a_job_gone_by_the_time_it_is_read_is_not_found(edges: Edges) -> None:
    edges.cancel.side_effect = error(409)
    edges.read.side_effect = error(404)
    edges.process(GOOD)
    assert edges.settle.call_args.args[1] == "JobNotFound"


def test_a_refused_read_leaves_the_first_refusal(edges: Edges) -> None:
    edges.cancel.side_effect = error(400, "First")
    edges.read.side_effect = error(400, "Second")
    edges.process(GOOD)
    assert edges.settle.call_args.args[1] == "First"


@pytest.mark.parametrize("status, level", [(503, logging.WARNING), (401, logging.ERROR), (302, logging.ERROR)])
def test_a_redelivery_is_raised_and_logged_by_whose_fault_it_is(edges: Edges, status: int, level: int) -> None:
    edges.cancel.side_effect = error(status)
    with pytest.raises(RedeliveryError):
        edges.process(GOOD)
    assert edges.line[0] == level
    assert edges.line[1]["outcome"] == "Redeliver"


@pytest.mark.parametrize("status", [503, 401, 404, 409])
def test_no_note_is_in_a_log_line_a_header_or_an_exception(edges: Edges, status: int) -> None:
    edges.cancel.side_effect = error(status)
    raised = ""
    try:
        edges.process(GOOD)
    except RedeliveryError as caught:
        raised = str(caught)
    assert "Jane" not in raised + json.dumps(edges.line[1]) + str(edges.settle.call_args)


def test_dead_lettering_that_fails_is_raised_and_logged(edges: Edges) -> None:
    edges.settle.side_effect = OSError("secret")
    with pytest.raises(SettlementError, match=r"Dead-lettering as InvalidCancellation failed \(OSError\)"):
        edges.process(b"{}")
    level, line = edges.line
    assert (level, line["outcome"], line["reason"]) == (logging.ERROR, "SettlementFailed", "InvalidCancellation")


def test_a_message_without_a_lock_token_leaves_the_refusal_to_the_settler(edges: Edges) -> None:
    process(message(b"{}", None), "inv-1", None, edges.router, edges.settler)
    assert edges.settle.call_args.args[0] == ""


def test_nothing_is_written_below_the_logs_level(edges: Edges) -> None:
    edges.caplog.set_level(logging.ERROR, "cancel_job")
    edges.process(GOOD)
    assert edges.caplog.records == []


def test_a_worker_with_bad_settings_holds_the_message_before_it_goes_back(edges: Edges, mocker: MockerFixture) -> None:
    wait = mocker.Mock()
    with pytest.raises(RedeliveryError, match="InvalidSettings: no queue"):
        hold(message(GOOD), "inv-1", ValueError("no queue"), wait)
    wait.assert_called_once_with()
    level, line = edges.line
    assert (level, line["reason"], line["description"]) == (logging.CRITICAL, "InvalidSettings", "no queue")
