"""The way of a message that cannot be handled now: postponed, kept for a while, or given up in the end."""

from __future__ import annotations

import json
import logging
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from azure.servicebus.exceptions import MessageLockLostError

from shared.call_guard import FAILED_CALLS_BEFORE_SHEDDING, PATIENCE
from shared.job_router import CALL_SECONDS
from shared.job_router_error import RequestId
from shared.log_line import LogLine
from shared.processing import (
    DELIVERY_SECONDS,
    HOLD_SECONDS,
    Queue,
    RedeliveryError,
    SettlementError,
    hold,
    postpone,
)
from shared.redelivery import ATTEMPT, FIRST_ATTEMPT_TIME, FIRST_ENQUEUED_TIME, LEAST_ATTEMPTS, MESSAGE_ID
from shared.service_bus_errors import SETTLE_WITHIN, MessageGoneError, SendRightMissingError
from shared.settings import SettingsError
from shared.token_source import FETCH_LIMIT
from tests.unit.edges import BACKOFF, BAD, LONG_AGO, NOW, Edges, error, message

if TYPE_CHECKING:
    from pytest_mock import MockerFixture


@pytest.mark.parametrize("status", [503, 401, 302])
def test_a_message_that_cannot_be_handled_now_is_postponed(edges: Edges, status: int) -> None:
    edges.cancel.side_effect = error(status)
    edges.process()
    edges.copy.assert_called_once()
    edges.settle.assert_not_called()


def test_the_copy_is_of_this_message_and_carries_its_past(edges: Edges) -> None:
    edges.cancel.side_effect = error(503)
    edges.process()
    assert edges.copy.call_args.args == (
        77,
        5.0,
        {
            ATTEMPT: 2,
            FIRST_ATTEMPT_TIME: "2026-03-01T12:00:00+00:00",
            FIRST_ENQUEUED_TIME: "2026-03-01T11:59:58.250+00:00",
            MESSAGE_ID: "msg-1",
        },
    )


@pytest.mark.parametrize("waited, delay", [(0, 5.0), (40, 10.0), (400, 100.0), (3599, 500.0)])
def test_the_longer_a_message_has_waited_the_longer_it_is_put_off(edges: Edges, waited: int, delay: float) -> None:
    edges.cancel.side_effect = error(503)
    edges.process(properties={FIRST_ATTEMPT_TIME: (NOW - timedelta(seconds=waited)).isoformat()})
    assert edges.copy.call_args.args[1] == delay


def test_a_message_comes_again_after_retry_after_at_the_soonest(edges: Edges) -> None:
    edges.cancel.side_effect = error(429, retry_after=120.0)
    edges.process()
    assert edges.copy.call_args.args[1] == 125.0


def test_a_message_without_a_sequence_number_leaves_the_refusal_to_the_settler(edges: Edges) -> None:
    edges.cancel.side_effect = error(503)
    edges.process(sequence_number=None)
    assert edges.copy.call_args.args[0] == 0


def test_a_postponed_message_is_given_back_without_waiting(edges: Edges) -> None:
    edges.cancel.side_effect = error(503)
    edges.process()
    edges.wait.assert_not_called()


@pytest.mark.parametrize("status, level", [(503, logging.WARNING), (401, logging.ERROR), (302, logging.ERROR)])
def test_a_redelivery_is_logged_by_whose_fault_it_is(edges: Edges, status: int, level: int) -> None:
    edges.cancel.side_effect = error(status)
    edges.process()
    assert (edges.line[0], edges.line[1]["outcome"]) == (level, "Redeliver")


def test_the_line_of_a_redelivery_says_when_and_why(edges: Edges) -> None:
    edges.cancel.side_effect = error(503, retry_after=60.04)
    edges.process()
    line = edges.line[1]
    assert (line["reason"], line["status"]) == ("JobRouterUnavailable", 503)
    assert (line["request_id"], line["request_id_header"]) == ("req-2", "trace-id")
    assert line["delay_seconds"] == 65.0
    assert "is not cancelled yet" in line["description"]


@pytest.mark.parametrize("status, reason", [(503, "JobRouterUnavailable"), (401, "JobRouterAccessDenied")])
def test_a_job_that_cannot_be_read_now_is_for_a_later_attempt(edges: Edges, status: int, reason: str) -> None:
    edges.cancel.side_effect = error(409)
    edges.read.side_effect = error(status)
    edges.process()
    edges.copy.assert_called_once()
    assert edges.line[1]["reason"] == reason


def test_a_blip_is_over_within_the_delivery(edges: Edges) -> None:
    edges.cancel.side_effect = [error(503), RequestId("trace-id", "req-3")]
    edges.process()
    assert edges.line[1]["outcome"] == "Cancelled"


@pytest.mark.parametrize("status", [503, 401, 404, 409])
@pytest.mark.parametrize("properties", [{}, LONG_AGO])
def test_no_note_is_in_a_log_line_or_a_header(edges: Edges, status: int, properties: dict[str, Any]) -> None:
    edges.cancel.side_effect = error(status)
    edges.process(properties=properties)
    assert "Jane" not in json.dumps(edges.lines) + str(edges.settler.method_calls)


# Shedding


def make_shed(edges: Edges) -> None:
    """Job Router fails until it is not called any more; then it is well again."""
    edges.cancel.side_effect = error(503)
    for _ in range(FAILED_CALLS_BEFORE_SHEDDING):
        edges.process()
    edges.cancel.reset_mock(side_effect=True)
    edges.copy.reset_mock()
    edges.caplog.clear()


def test_while_job_router_is_known_to_be_down_a_message_is_postponed_without_a_call(edges: Edges) -> None:
    make_shed(edges)
    edges.process()
    edges.cancel.assert_not_called()
    edges.copy.assert_called_once()


def test_the_line_of_a_message_that_was_not_tried_says_so(edges: Edges) -> None:
    make_shed(edges)
    edges.process()
    level, line = edges.line
    assert (level, line["reason"], line["status"]) == (logging.WARNING, "JobRouterUnavailable", 503)
    assert "Not called now" in line["description"]


def test_a_last_attempt_is_made_even_while_others_are_not(edges: Edges) -> None:
    make_shed(edges)
    edges.process(properties=LONG_AGO)
    assert edges.line[1]["outcome"] == "Cancelled"


def test_reading_a_job_of_which_the_service_has_just_spoken_is_part_of_the_same_call(
    edges: Edges, mocker: MockerFixture
) -> None:
    calls = mocker.spy(edges.guard, "call")
    edges.cancel.side_effect = error(409)
    edges.read.return_value = "cancelled"
    edges.process()
    assert (calls.call_count, edges.read.call_count) == (1, 1)


# The last attempt


def test_a_message_tried_long_enough_is_dead_lettered(edges: Edges) -> None:
    edges.cancel.side_effect = error(503)
    edges.process(properties=LONG_AGO)
    lock, reason, description = edges.settle.call_args.args
    assert (lock, reason) == ("lock-1", "RetriesExhausted")
    assert description.startswith("Given up after 9 attempts since 2026-03-01 11:00:00 UTC.")


def test_a_message_tried_long_enough_is_not_postponed_again(edges: Edges) -> None:
    edges.cancel.side_effect = error(503)
    edges.process(properties=LONG_AGO)
    edges.copy.assert_not_called()


def test_giving_up_is_an_error_in_the_log(edges: Edges) -> None:
    edges.cancel.side_effect = error(503)
    edges.process(properties=LONG_AGO)
    level, line = edges.line
    assert (level, line["outcome"], line["reason"]) == (logging.ERROR, "DeadLetter", "RetriesExhausted")


@pytest.mark.parametrize("status, reason", [(401, "JobRouterAccessDenied"), (302, "JobRouterNotReached")])
def test_giving_up_for_the_environments_fault_keeps_its_reason(edges: Edges, status: int, reason: str) -> None:
    edges.cancel.side_effect = error(status)
    edges.process(properties=LONG_AGO)
    assert edges.settle.call_args.args[1] == reason


def test_a_second_before_the_end_a_message_is_still_postponed(edges: Edges) -> None:
    edges.cancel.side_effect = error(503)
    edges.process(properties={FIRST_ATTEMPT_TIME: (NOW - timedelta(seconds=3599)).isoformat()})
    edges.copy.assert_called_once()


def test_a_last_attempt_that_succeeds_completes_the_message(edges: Edges) -> None:
    edges.process(properties=LONG_AGO)
    assert edges.settler.method_calls == []


# Messages that cannot be postponed


@pytest.fixture
def stuck(edges: Edges) -> Edges:
    """Job Router is down, and the queue takes no copy."""
    edges.cancel.side_effect = error(503)
    edges.copy.side_effect = SendRightMissingError()
    return edges


def test_a_message_that_cannot_be_postponed_is_given_back_by_raising(stuck: Edges) -> None:
    assert str(stuck.process_in_vain()).startswith("JobRouterUnavailable: Job 'job-1' is not cancelled yet")


def test_no_note_is_in_the_exception(stuck: Edges) -> None:
    assert "Jane" not in str(stuck.process_in_vain())


def test_a_message_that_cannot_be_postponed_is_not_dead_lettered(stuck: Edges) -> None:
    stuck.process_in_vain()
    stuck.settle.assert_not_called()


def test_the_line_of_the_message_says_why_it_was_not_postponed(stuck: Edges) -> None:
    stuck.process_in_vain()
    level, line = stuck.lines[0]
    assert (level, line["outcome"], line["not_postponed"]) == (logging.WARNING, "Redeliver", "SendRightMissingError")
    assert "delay_seconds" not in line


@pytest.mark.parametrize(
    "delivery_count, retry_after, seconds",
    [(1, None, 10.0), (3, None, 40.0), (1, 60.0, 70.0), (1, 1e6, HOLD_SECONDS), (20, None, HOLD_SECONDS)],
)
def test_it_is_kept_for_a_while_so_that_its_deliveries_last(
    stuck: Edges, delivery_count: int, retry_after: float | None, seconds: float
) -> None:
    stuck.cancel.side_effect = error(503, retry_after=retry_after)
    stuck.process_in_vain(delivery_count=delivery_count)
    stuck.wait.assert_called_once_with(seconds)


def test_both_lines_are_written_before_the_wait(stuck: Edges) -> None:
    written: list[int] = []
    stuck.wait.side_effect = lambda _: written.append(len(stuck.lines))
    stuck.process_in_vain()
    assert written == [2]


def test_one_line_says_that_messages_are_not_postponed_and_what_to_do(stuck: Edges) -> None:
    stuck.process_in_vain()
    assert stuck.degraded == [
        (
            logging.ERROR,
            {
                "outcome": "Degraded",
                "reason": "SendRightMissingError",
                "description": f"Messages are not postponed but abandoned: {SendRightMissingError()}",
            },
        )
    ]


def test_an_error_of_the_sdks_is_not_quoted(stuck: Edges) -> None:
    stuck.copy.side_effect = OSError("secret")
    stuck.process_in_vain()
    assert stuck.degraded[0][1]["description"] == (
        "Messages are not postponed but abandoned: Service Bus did not take the copy."
    )


def test_the_same_failure_is_told_once(stuck: Edges) -> None:
    stuck.process_in_vain()
    stuck.process_in_vain()
    assert len(stuck.degraded) == 1


def test_each_kind_of_failure_is_told(stuck: Edges) -> None:
    stuck.process_in_vain()
    stuck.copy.side_effect = OSError("away")
    stuck.process_in_vain()
    assert [line["reason"] for _, line in stuck.degraded] == ["SendRightMissingError", "OSError"]


def test_a_message_that_is_gone_says_nothing_about_postponing(stuck: Edges) -> None:
    stuck.copy.side_effect = MessageGoneError("Gone.")
    stuck.process_in_vain()
    assert stuck.degraded == []
    stuck.wait.assert_called_once()


def test_a_failure_after_a_success_is_told_again(stuck: Edges) -> None:
    stuck.copy.side_effect = [SendRightMissingError(), None, SendRightMissingError()]
    stuck.process_in_vain()
    stuck.process()
    stuck.process_in_vain()
    assert len(stuck.degraded) == 2


# A worker with bad settings


def test_a_worker_with_bad_settings_postpones_the_message(edges: Edges) -> None:
    postpone(message(), "inv-1", SettingsError("no endpoint"), edges.queue)
    sequence_number, delay, history = edges.copy.call_args.args
    assert (sequence_number, delay, history[ATTEMPT]) == (77, 5.0, 2)


def test_the_line_of_a_message_postponed_for_bad_settings_names_the_problem(edges: Edges) -> None:
    postpone(message(properties={ATTEMPT: 3}), "inv-1", SettingsError("no endpoint"), edges.queue)
    level, line = edges.line
    assert line.pop("duration_ms") >= 0
    assert line.pop("age_seconds") >= 1.7
    assert (level, line) == (
        logging.ERROR,
        {
            "message_id": "msg-1",
            "attempt": 3,
            "delivery_count": 1,
            "invocation_id": "inv-1",
            "outcome": "Redeliver",
            "reason": "InvalidSettings",
            "description": "no endpoint",
            "delay_seconds": 5.0,
        },
    )


def test_bad_settings_that_last_too_long_are_the_dead_letters_reason(edges: Edges) -> None:
    postpone(message(properties=LONG_AGO), "inv-1", SettingsError("no endpoint"), edges.queue)
    _, reason, description = edges.settle.call_args.args
    assert reason == "InvalidSettings"
    assert description.endswith("no endpoint")


def test_a_message_that_cannot_be_postponed_for_bad_settings_is_given_back(edges: Edges) -> None:
    edges.copy.side_effect = OSError()
    with pytest.raises(RedeliveryError, match=r"^InvalidSettings: no endpoint$"):
        postpone(message(), "inv-1", SettingsError("no endpoint"), edges.queue)
    edges.wait.assert_called_once_with(10.0)


def test_a_message_without_a_usable_queue_is_held_and_given_back(edges: Edges) -> None:
    with pytest.raises(RedeliveryError, match=r"^InvalidSettings: no queue$"):
        hold(message(), "inv-1", SettingsError("no queue"), edges.wait)
    edges.wait.assert_called_once_with(HOLD_SECONDS)


def test_the_line_of_a_held_message_is_written_before_the_wait(edges: Edges) -> None:
    written: list[tuple[int, dict[str, Any]]] = []
    edges.wait.side_effect = lambda _: written.append(edges.line)
    with pytest.raises(RedeliveryError):
        hold(message(), "inv-1", SettingsError("no queue"), edges.wait)
    ((level, line),) = written
    assert (level, line["outcome"], line["reason"], line["description"]) == (
        logging.ERROR,
        "Redeliver",
        "InvalidSettings",
        "no queue",
    )


def test_holding_stays_inside_the_hosts_lock_renewal() -> None:
    assert HOLD_SECONDS < 300


def test_a_queue_tells_the_time_in_utc_unless_told_otherwise(edges: Edges) -> None:
    assert Queue(edges.settler, BACKOFF, edges.wait).now().tzinfo is UTC


# A delivery has an end


@pytest.mark.parametrize("elapsed, held", [(0.0, 10.0), (275.0, 5.0), (279.5, 0.5), (300.0, 0.0)])
def test_the_hold_takes_no_more_than_what_is_left_of_the_delivery(
    edges: Edges, mocker: MockerFixture, elapsed: float, held: float
) -> None:
    edges.cancel.side_effect = error(503)
    edges.copy.side_effect = OSError
    mocker.patch.object(LogLine, "elapsed", return_value=elapsed)
    edges.process_in_vain()
    edges.wait.assert_called_once_with(held)


def test_the_longest_delivery_ends_inside_the_time_for_which_the_lock_is_renewed() -> None:
    """Attempts start within PATIENCE; the last one may be a cancel and a read, each with a token to be fetched."""
    host = json.loads((Path(__file__).parents[2] / "host.json").read_text(encoding="utf-8"))
    hours, minutes, seconds = host["extensions"]["serviceBus"]["maxAutoLockRenewalDuration"].split(":")
    renewed = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    assert PATIENCE + 2 * (CALL_SECONDS + FETCH_LIMIT) + SETTLE_WITHIN < DELIVERY_SECONDS < renewed


def test_a_failed_dead_letter_is_held_before_it_comes_again(edges: Edges) -> None:
    edges.settle.side_effect = OSError
    with pytest.raises(SettlementError):
        edges.process(BAD, delivery_count=3)
    edges.wait.assert_called_once_with(40.0)


def test_a_lost_lock_is_not_held(edges: Edges) -> None:
    edges.settle.side_effect = MessageLockLostError()
    with pytest.raises(SettlementError):
        edges.process(BAD)
    edges.wait.assert_not_called()


def test_an_app_that_was_stopped_overnight_does_not_give_up_at_its_first_failure(edges: Edges) -> None:
    edges.cancel.side_effect = error(503)
    for number in range(2, LEAST_ATTEMPTS):
        edges.process(properties={**LONG_AGO, ATTEMPT: number})
    edges.settle.assert_not_called()
    edges.process(properties={**LONG_AGO, ATTEMPT: LEAST_ATTEMPTS})
    edges.settle.assert_called_once()


def test_a_line_that_cannot_be_encoded_as_it_is_is_written_all_the_same(edges: Edges) -> None:
    edges.process(properties={MESSAGE_ID: "half of \ud83d"})
    assert edges.line[1]["message_id"] == "half of ?"
