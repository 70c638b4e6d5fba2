"""The table of outcomes: each row, the job read back, and what a description may hold."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import job_router_error
from shared.cancellation import InvalidCancellationError
from shared.job_router_error import JobRouterError
from shared.policy import (
    HEADER_LIMIT,
    RULES,
    AlreadyCancelled,
    DeadLetter,
    Outcome,
    Redeliver,
    Rule,
    Verdict,
    outcome_of_error,
    outcome_of_invalid,
    outcome_when_used_up,
    rule_for,
)
from shared.redelivery import Attempt

OWN_CODES = {
    job_router_error.TIMEOUT,
    job_router_error.CONNECTION_FAILED,
    job_router_error.TLS_VERIFICATION_FAILED,
    job_router_error.CREDENTIAL_UNAVAILABLE,
    job_router_error.NOT_JOB_ROUTER,
}


def answered(status: int, code: str = "SomeCode", message: str = "Said so.") -> JobRouterError:
    return JobRouterError(status, code, message, request_id="req-1")


def unanswered(code: str) -> JobRouterError:
    return JobRouterError(None, code, "No answer.", request_id="req-1")


def judged(error: JobRouterError, note: str | None = None, job_status: str | None = None) -> Outcome:
    return outcome_of_error(error, "job-1", note, 3, job_status)


def dead_lettered(error: JobRouterError, note: str | None = None, job_status: str | None = None) -> DeadLetter:
    outcome = judged(error, note, job_status)
    assert isinstance(outcome, DeadLetter)
    return outcome


def redelivered(error: JobRouterError, note: str | None = None) -> Redeliver:
    outcome = judged(error, note)
    assert isinstance(outcome, Redeliver)
    return outcome


# The table itself


def test_no_status_stands_in_two_rows() -> None:
    assert {s: n for s, n in Counter(s for rule in RULES for s in rule.statuses).items() if n > 1} == {}


def test_no_code_stands_in_two_rows() -> None:
    assert {c: n for c, n in Counter(c for rule in RULES for c in rule.codes).items() if n > 1} == {}


def test_every_code_of_the_client_has_a_row() -> None:
    assert {code for rule in RULES for code in rule.codes} == OWN_CODES


def test_every_status_that_is_not_success_stands_in_a_row() -> None:
    assert {s for rule in RULES for s in rule.statuses} == set(range(100, 600)) - set(range(200, 300))


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_a_rule(status: int) -> None:
    assert rule_for(answered(status)) in RULES


@pytest.mark.parametrize("status", [0, 99, 600, 999])
def test_a_status_that_http_does_not_know_is_any_other(status: int) -> None:
    assert rule_for(answered(status)).when == "any other status"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.when)
def test_a_rule_that_repairs_says_where_to_look(rule: Rule) -> None:
    assert bool(rule.advice) or rule.verdict is not Verdict.REPAIR


# Each row


def test_an_unknown_job_is_dead_lettered_as_not_found() -> None:
    outcome = dead_lettered(answered(404))
    assert outcome.reason == "JobNotFound"
    assert outcome.description.startswith("Job 'job-1': Job Router knows no such job")


@pytest.mark.parametrize("status", [400, 409, 412])
def test_a_refusal_asks_for_the_job_to_be_read(status: int) -> None:
    assert rule_for(answered(status)).verdict is Verdict.READ_JOB


@pytest.mark.parametrize("status", [401, 403])
def test_denied_access_is_the_environments_fault(status: int) -> None:
    outcome = redelivered(answered(status))
    assert outcome.environment_fault
    assert outcome.reason == "JobRouterAccessDenied"
    assert "JOB_ROUTER_CONNECTION_STRING" in outcome.description


@pytest.mark.parametrize("status", [*range(300, 309), 399, 407])
def test_a_redirect_or_a_proxys_refusal_names_the_endpoint(status: int) -> None:
    outcome = redelivered(answered(status))
    assert outcome.environment_fault
    assert outcome.reason == "JobRouterNotReached"
    assert "JOB_ROUTER_ENDPOINT" in outcome.description


def test_a_success_that_is_not_job_routers_names_the_endpoint() -> None:
    outcome = redelivered(answered(200, job_router_error.NOT_JOB_ROUTER))
    assert outcome.environment_fault
    assert outcome.reason == "JobRouterNotReached"


def test_an_unverified_certificate_names_the_ca_bundle() -> None:
    outcome = redelivered(unanswered(job_router_error.TLS_VERIFICATION_FAILED))
    assert outcome.environment_fault
    assert outcome.reason == "JobRouterCertificateInvalid"
    assert "REQUESTS_CA_BUNDLE" in outcome.description


def test_a_missing_credential_names_the_identity() -> None:
    outcome = redelivered(unanswered(job_router_error.CREDENTIAL_UNAVAILABLE))
    assert outcome.environment_fault
    assert outcome.reason == "JobRouterCredentialUnavailable"
    assert "AZURE_CLIENT_ID" in outcome.description


@pytest.mark.parametrize("status", [408, 421, 425, 429, 500, 502, 503, 504, 507, 599])
def test_a_passing_trouble_is_redelivered(status: int) -> None:
    outcome = redelivered(answered(status))
    assert not outcome.environment_fault
    assert outcome.reason == "JobRouterUnavailable"
    assert "is not cancelled yet" in outcome.description


@pytest.mark.parametrize("code", [job_router_error.TIMEOUT, job_router_error.CONNECTION_FAILED])
def test_a_dead_network_is_redelivered(code: str) -> None:
    outcome = redelivered(unanswered(code))
    assert not outcome.environment_fault
    assert outcome.reason == "JobRouterUnavailable"


@pytest.mark.parametrize("status", [100, 402, 405, 406, 410, 413, 422, 451, 499, 501, 505])
def test_any_other_status_is_dead_lettered_under_the_services_code(status: int) -> None:
    outcome = dead_lettered(answered(status, "OddThing"))
    assert outcome.reason == "OddThing"
    assert "Job Router refuses to cancel it." in outcome.description


@pytest.mark.parametrize("retry_after", [None, 0.0, 90.5])
@pytest.mark.parametrize("status", [503, 429, 401, 302])
def test_a_redelivery_keeps_the_services_retry_after(status: int, retry_after: float | None) -> None:
    error = JobRouterError(status, "SomeCode", "Said so.", retry_after=retry_after)
    assert redelivered(error).retry_after == retry_after


# The job read back


@pytest.mark.parametrize("status", [400, 409, 412])
def test_a_job_found_cancelled_is_already_cancelled(status: int) -> None:
    assert judged(answered(status), job_status="cancelled") == AlreadyCancelled()


@pytest.mark.parametrize("status", [400, 409, 412])
def test_a_job_found_closed_is_not_cancellable(status: int) -> None:
    outcome = dead_lettered(answered(status), job_status="closed")
    assert outcome.reason == "JobNotCancellable"
    assert "is closed and can no longer be cancelled" in outcome.description
    assert "job status: closed" in outcome.description


@pytest.mark.parametrize("job_status", ["completed", "queued", "assigned", "Cancelled", ""])
def test_a_job_found_otherwise_is_dead_lettered_under_the_services_code(job_status: str) -> None:
    outcome = dead_lettered(answered(409, "InvalidJobState"), job_status=job_status)
    assert outcome.reason == "InvalidJobState"
    assert f"job status: {job_status}" in outcome.description


def test_a_job_that_could_not_be_read_is_dead_lettered_under_the_services_code() -> None:
    outcome = dead_lettered(answered(400, "InvalidRequestBody"))
    assert outcome.reason == "InvalidRequestBody"
    assert "job status" not in outcome.description


@pytest.mark.parametrize("status", [404, 401, 503, 405])
def test_a_job_status_changes_nothing_where_no_rule_asks_for_it(status: int) -> None:
    assert not isinstance(judged(answered(status), job_status="cancelled"), AlreadyCancelled)


# Enough is enough

ATTEMPT = Attempt(17, datetime(2026, 3, 1, 9, 5, 7, tzinfo=UTC), None, "msg-1")


@pytest.mark.parametrize("status", [408, 429, 503])
def test_a_message_tried_long_enough_has_used_up_its_retries(status: int) -> None:
    assert outcome_when_used_up(redelivered(answered(status)), ATTEMPT).reason == "RetriesExhausted"


@pytest.mark.parametrize("status, reason", [(401, "JobRouterAccessDenied"), (302, "JobRouterNotReached")])
def test_the_environments_fault_stays_the_reason_to_the_end(status: int, reason: str) -> None:
    assert outcome_when_used_up(redelivered(answered(status)), ATTEMPT).reason == reason


def test_giving_up_says_how_often_since_when_and_after_what() -> None:
    outcome = redelivered(answered(503))
    assert outcome_when_used_up(outcome, ATTEMPT).description == (
        "Given up after 17 attempts since 2026-03-01 09:05:07 UTC. Mend the cause and send the message again. "
        f"{outcome.description}"
    )


def test_giving_up_fits_a_header_however_much_was_said() -> None:
    outcome = redelivered(answered(503, message="x" * 9000))
    assert len(outcome_when_used_up(outcome, ATTEMPT).description) < HEADER_LIMIT


# Descriptions


def test_a_description_ends_with_the_facts() -> None:
    error = JobRouterError(
        409, "Outer", "No.", target="status", details=("D1: why",), inner_codes=("Inner",), request_id="req-9"
    )
    assert dead_lettered(error).description == (
        "Job 'job-1': Job Router refuses to cancel it. The service said: No. D1: why "
        "(code: Outer, Inner; status: 409; target: status; request id: req-9; attempt: 3)"
    )


def test_facts_that_are_not_known_are_left_out() -> None:
    outcome = redelivered(JobRouterError(None, "Timeout", ""))
    assert outcome.description.endswith("Job Router could not answer now. (code: Timeout; attempt: 3)")


def test_a_service_that_said_nothing_is_not_quoted() -> None:
    assert "said" not in redelivered(JobRouterError(None, "Timeout", "")).description


def test_what_the_service_said_is_quoted_when_there_is_no_note() -> None:
    assert "The service said: Said so." in dead_lettered(answered(404)).description


NOTE = "Customer Jane Roe, phone 555-0199, changed her mind"


@pytest.mark.parametrize(
    "message",
    [
        f"Invalid note: {NOTE}",
        NOTE,
        f"Invalid note: {NOTE[:20]}…",
        f"near '{NOTE[9:25]}'",
        NOTE[-16:],
    ],
)
@pytest.mark.parametrize("status", [404, 405, 409, 401, 503])
def test_a_message_that_repeats_the_note_is_left_out(message: str, status: int) -> None:
    outcome = judged(answered(status, message=message), NOTE)
    assert isinstance(outcome, (DeadLetter, Redeliver))
    assert "repeats the note and is left out" in outcome.description
    assert "Jane" not in outcome.description
    assert "0199" not in outcome.description
    assert "mind" not in outcome.description


def test_a_detail_that_repeats_the_note_is_left_out() -> None:
    error = JobRouterError(422, "Bad", "Invalid.", details=(f"Bad: {NOTE}",))
    assert "Jane" not in dead_lettered(error, NOTE).description


def test_a_short_note_is_left_out_when_repeated_whole() -> None:
    assert "vip" not in dead_lettered(answered(422, message="note 'vip' refused"), "vip").description


def test_a_message_of_its_own_is_quoted_beside_a_note() -> None:
    assert "The service said: Said so." in dead_lettered(answered(404), NOTE).description


@given(st.text(min_size=16, max_size=60), st.data())
def test_no_run_of_sixteen_characters_of_a_note_is_ever_quoted(note: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(note) - 16))
    stop = data.draw(st.integers(start + 16, len(note)))
    message = data.draw(st.text(max_size=20)) + note[start:stop] + data.draw(st.text(max_size=20))
    outcome = judged(answered(422, message=message), note)
    assert isinstance(outcome, DeadLetter)
    assert "The service said" not in outcome.description


@given(st.text(max_size=6000), st.text(max_size=6000), st.none() | st.text(max_size=50), st.integers(100, 599))
def test_a_description_always_fits_a_header_on_one_line(message: str, job_id: str, note: str | None, code: int) -> None:
    outcome = outcome_of_error(JobRouterError(code, "C", message * 3), job_id, note, 1)
    assert isinstance(outcome, (DeadLetter, Redeliver))
    assert 0 < len(outcome.description) < HEADER_LIMIT
    assert "\n" not in outcome.description
    assert 0 < len(outcome.reason) < HEADER_LIMIT


def test_a_description_that_is_too_long_ends_in_an_ellipsis() -> None:
    description = dead_lettered(answered(404, message="x" * 9000)).description
    assert len(description) == HEADER_LIMIT - 1
    assert description.endswith("…")


def test_a_description_just_short_enough_is_whole() -> None:
    spare = HEADER_LIMIT - 1 - len(dead_lettered(answered(404, message="x")).description)
    description = dead_lettered(answered(404, message="x" * (1 + spare))).description
    assert len(description) == HEADER_LIMIT - 1
    assert description.endswith("attempt: 3)")


def test_a_long_job_id_is_cut_in_the_description() -> None:
    outcome = outcome_of_error(answered(404), "j" * 1024, None, 1)
    assert isinstance(outcome, DeadLetter)
    assert "j" * 200 in outcome.description
    assert "j" * 201 not in outcome.description


def test_an_invalid_message_says_what_is_wrong_and_what_to_do() -> None:
    outcome = outcome_of_invalid(InvalidCancellationError("The body is empty."))
    assert outcome == DeadLetter(
        "InvalidCancellation", "The body is empty. Correct the message at its sender and send it again."
    )


def test_a_message_that_quotes_the_middle_of_the_note_is_left_out() -> None:
    note = "aaaa the customer asked us never to call again bbbb"
    error = JobRouterError(422, "Bad", "cannot accept 'asked us never to call' as a note")
    outcome = outcome_of_error(error, "call-1", note, 1)
    assert isinstance(outcome, DeadLetter)
    assert "never to call" not in outcome.description
