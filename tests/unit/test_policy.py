"""The table of outcomes: each row, the job read back, and what a description may hold."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import job_router_error
from shared.cancellation import InvalidCancellationError
from shared.job_router_error import NO_SUCH_JOB, UNREADABLE, JobRouterError, RequestId
from shared.policy import (
    HEADER_LIMIT,
    READ_RULES,
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


def answered(
    status: int, code: str = "SomeCode", message: str = "Said so.", job_status: str | None = None
) -> JobRouterError:
    """Job Router's own answer."""
    request_id = RequestId("trace-id", "req-1")
    return JobRouterError(status, code, message, request_id=request_id, from_job_router=True, job_status=job_status)


def in_between(status: int) -> JobRouterError:
    """The answer of something that is not Job Router."""
    return JobRouterError(status, f"Http{status}", "404 Web Site not found")


def unanswered(code: str) -> JobRouterError:
    return JobRouterError(None, code, "No answer.", request_id=RequestId("x-ms-client-request-id", "req-1"))


def judged(error: JobRouterError, *, in_grace: bool = False) -> Outcome:
    return outcome_of_error(error, "job-1", 3, in_grace=in_grace)


def dead_lettered(error: JobRouterError) -> DeadLetter:
    outcome = judged(error)
    assert isinstance(outcome, DeadLetter)
    return outcome


def redelivered(error: JobRouterError, *, in_grace: bool = False) -> Redeliver:
    outcome = judged(error, in_grace=in_grace)
    assert isinstance(outcome, Redeliver)
    return outcome


# The table itself


def test_no_status_stands_in_two_rows() -> None:
    assert {s: n for s, n in Counter(s for rule in RULES for s in rule.statuses).items() if n > 1} == {}


def test_no_code_stands_in_two_rows() -> None:
    assert {c: n for c, n in Counter(c for rule in RULES for c in rule.codes).items() if n > 1} == {}


def test_every_code_of_the_client_has_a_row() -> None:
    assert {code for rule in RULES for code in rule.codes} == OWN_CODES


def test_every_error_status_stands_in_a_row() -> None:
    assert {s for rule in RULES for s in rule.statuses} == set(range(300, 600))


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_a_rule(status: int) -> None:
    assert rule_for(answered(status)) in RULES
    assert rule_for(in_between(status)) in RULES


@pytest.mark.parametrize("status", [0, 99, 100, 199, 600, 999])
def test_a_status_that_is_no_error_of_http_is_not_job_routers(status: int) -> None:
    assert rule_for(answered(status)).reason == "JobRouterNotReached"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.when)
def test_a_rule_that_repairs_says_where_to_look(rule: Rule) -> None:
    assert bool(rule.advice) or rule.verdict is not Verdict.REPAIR


# Only Job Router condemns


@pytest.mark.parametrize("status", [*range(400, 600)])
def test_nothing_in_between_can_condemn_a_message(status: int) -> None:
    assert isinstance(judged(in_between(status)), Redeliver)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 410, 412, 422, 451, 499, 501, 505])
def test_a_refusal_without_the_error_document_came_from_something_in_between(status: int) -> None:
    outcome = redelivered(in_between(status))
    assert outcome.environment_fault
    assert outcome.reason == "JobRouterNotReached"
    assert "JOB_ROUTER_ENDPOINT" in outcome.description


@pytest.mark.parametrize("status", [408, 421, 425, 429, 500, 502, 503, 504])
def test_whoever_asks_to_come_again_is_believed(status: int) -> None:
    outcome = redelivered(in_between(status))
    assert not outcome.environment_fault
    assert outcome.reason == "JobRouterUnavailable"


@pytest.mark.parametrize("code", sorted(OWN_CODES))
def test_a_code_of_the_services_that_is_spelt_like_one_of_ours_is_the_services(code: str) -> None:
    assert rule_for(answered(422, code)).verdict is Verdict.DEAD_LETTER


# Each row


@pytest.mark.parametrize("status", [400, 404, 409, 412])
def test_a_refusal_for_the_jobs_state_asks_for_the_job_to_be_read(status: int) -> None:
    assert rule_for(answered(status)).verdict is Verdict.READ_JOB


@pytest.mark.parametrize("status", [400, 404, 409, 412])
def test_a_job_that_was_not_read_condemns_nothing(status: int) -> None:
    assert isinstance(judged(answered(status)), Redeliver)


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


@pytest.mark.parametrize("status", [402, 405, 406, 410, 413, 422, 451, 499, 501, 505])
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

REFUSALS = [400, 404, 409, 412]


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("job_status", ["cancelled", "Cancelled", "CANCELLED"])
def test_a_job_found_cancelled_is_already_cancelled(status: int, job_status: str) -> None:
    assert judged(answered(status, job_status=job_status)) == AlreadyCancelled()


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("job_status", ["closed", "completed", "Closed", "Completed"])
def test_a_job_found_over_is_not_cancellable(status: int, job_status: str) -> None:
    outcome = dead_lettered(answered(status, job_status=job_status))
    assert outcome.reason == "JobNotCancellable"
    assert "nothing is left to cancel" in outcome.description
    assert f"job status: {job_status}" in outcome.description


@pytest.mark.parametrize("status", REFUSALS)
def test_a_job_that_cannot_be_found_either_is_not_found(status: int) -> None:
    outcome = dead_lettered(answered(status, job_status=NO_SUCH_JOB))
    assert outcome.reason == "JobNotFound"
    assert outcome.description.startswith("Job 'job-1': Job Router knows no such job at this endpoint")


def test_a_job_that_may_still_be_created_is_looked_for_again() -> None:
    outcome = redelivered(answered(404, job_status=NO_SUCH_JOB), in_grace=True)
    assert (outcome.reason, outcome.environment_fault) == ("JobNotFound", False)
    assert "is not cancelled yet" in outcome.description


@pytest.mark.parametrize("job_status", ["queued", "assigned", "newStatus", UNREADABLE])
def test_an_open_job_refused_with_400_is_dead_lettered_under_the_services_code(job_status: str) -> None:
    outcome = dead_lettered(answered(400, "InvalidRequestBody", job_status=job_status))
    assert outcome.reason == "InvalidRequestBody"
    assert f"job status: {job_status}" in outcome.description


@pytest.mark.parametrize("status", [404, 409, 412])
@pytest.mark.parametrize("job_status", ["queued", "assigned", "newStatus", UNREADABLE])
def test_an_open_job_refused_otherwise_is_a_conflict_for_a_later_attempt(status: int, job_status: str) -> None:
    outcome = redelivered(answered(status, job_status=job_status))
    assert (outcome.reason, outcome.environment_fault) == ("JobRouterConflict", False)
    assert f"job status: {job_status}" in outcome.description


@pytest.mark.parametrize("rule", READ_RULES, ids=lambda rule: rule.when)
def test_each_row_of_what_reading_gave_is_met(rule: Rule) -> None:
    found = {
        rule_for(answered(status, job_status=job_status)).when
        for status in REFUSALS
        for job_status in ("cancelled", "closed", NO_SUCH_JOB, "queued")
    }
    assert rule.when in found


@pytest.mark.parametrize("status", [401, 503, 405])
def test_a_job_status_changes_nothing_where_no_rule_asks_for_it(status: int) -> None:
    assert not isinstance(judged(answered(status, job_status="cancelled")), AlreadyCancelled)


# Enough is enough

ATTEMPT = Attempt(17, datetime(2026, 3, 1, 9, 5, 7, tzinfo=UTC), None, "msg-1")


@pytest.mark.parametrize("status", [408, 429, 503])
def test_a_message_tried_long_enough_has_used_up_its_retries(status: int) -> None:
    assert outcome_when_used_up(redelivered(answered(status)), ATTEMPT).reason == "RetriesExhausted"


@pytest.mark.parametrize(
    "error, reason",
    [
        (answered(401), "JobRouterAccessDenied"),
        (answered(302), "JobRouterNotReached"),
        (in_between(404), "JobRouterNotReached"),
        (answered(409, job_status="queued"), "JobRouterConflict"),
    ],
    ids=str,
)
def test_what_names_its_cause_stays_the_reason_to_the_end(error: JobRouterError, reason: str) -> None:
    assert outcome_when_used_up(redelivered(error), ATTEMPT).reason == reason


def test_an_unknown_job_in_its_grace_stays_unknown_to_the_end() -> None:
    outcome = redelivered(answered(404, job_status=NO_SUCH_JOB), in_grace=True)
    assert outcome_when_used_up(outcome, ATTEMPT).reason == "JobNotFound"


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
        422,
        "Outer",
        "No.",
        target="status",
        details=("D1: why",),
        inner_codes=("Inner",),
        request_id=RequestId("x-azure-ref", "req-9"),
        from_job_router=True,
    )
    assert dead_lettered(error).description == (
        "Job 'job-1': Job Router refuses to cancel it. The service said: No. D1: why "
        "(code: Outer, Inner; status: 422; target: status; x-azure-ref: req-9; attempt: 3)"
    )


def test_the_specific_code_is_the_reason_and_goes_before_the_others() -> None:
    error = JobRouterError(422, "Outer", "No.", specific_code="Specific", from_job_router=True)
    outcome = dead_lettered(error)
    assert outcome.reason == "Specific"
    assert "(code: Specific, Outer; " in outcome.description


def test_facts_that_are_not_known_are_left_out() -> None:
    outcome = redelivered(JobRouterError(None, "Timeout", ""))
    assert outcome.description.endswith("Job Router could not answer now. (code: Timeout; attempt: 3)")


def test_a_service_that_said_nothing_is_not_quoted() -> None:
    assert "said" not in redelivered(JobRouterError(None, "Timeout", "")).description


def test_what_the_service_said_is_quoted() -> None:
    assert "The service said: Said so." in dead_lettered(answered(422)).description


@given(st.text(max_size=6000), st.text(max_size=6000), st.booleans(), st.integers(100, 599))
def test_a_description_always_fits_a_header_on_one_line(message: str, job_id: str, own: bool, code: int) -> None:
    outcome = outcome_of_error(JobRouterError(code, "C", message * 3, from_job_router=own), job_id, 1)
    assert isinstance(outcome, (DeadLetter, Redeliver))
    assert 0 < len(outcome.description) < HEADER_LIMIT
    assert "\n" not in outcome.description
    assert 0 < len(outcome.reason) < HEADER_LIMIT


def test_a_description_that_is_too_long_ends_in_an_ellipsis() -> None:
    description = dead_lettered(answered(422, message="x" * 9000)).description
    assert len(description) == HEADER_LIMIT - 1
    assert description.endswith("…")


def test_a_description_just_short_enough_is_whole() -> None:
    spare = HEADER_LIMIT - 1 - len(dead_lettered(answered(422, message="x")).description)
    description = dead_lettered(answered(422, message="x" * (1 + spare))).description
    assert len(description) == HEADER_LIMIT - 1
    assert description.endswith("attempt: 3)")


def test_a_long_job_id_is_cut_in_the_description() -> None:
    outcome = outcome_of_error(answered(422), "j" * 1024, 1)
    assert isinstance(outcome, DeadLetter)
    assert "j" * 200 in outcome.description
    assert "j" * 201 not in outcome.description


def test_an_invalid_message_says_what_is_wrong_and_what_to_do() -> None:
    outcome = outcome_of_invalid(InvalidCancellationError("The body is empty."))
    assert outcome == DeadLetter(
        "InvalidCancellation", "The body is empty. Correct the message at its sender and send it again."
    )
