"""Cancelling and reading jobs, and what a request must look like for it."""

import json
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from local.job_router import JobNotFoundError, JobRouter, Note
from tests.local_job_router.calls import API, BEARER, CANCEL_JOB_1, GET_JOB_1, GOOD_TOKEN, call, cancel

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
CANCELLABLE = [
    "pendingClassification",
    "queued",
    "assigned",
    "classificationFailed",
    "created",
    "pendingSchedule",
    "scheduled",
    "scheduleFailed",
    "waitingForActivation",
]


def router_with(**options: object) -> JobRouter:
    options = {"dialect": "specified", **options}
    return JobRouter(token_verifier=lambda token: token == GOOD_TOKEN, **options)  # type: ignore[arg-type]


def test_a_cancel_is_answered_with_200_and_an_empty_object(router: JobRouter) -> None:
    answer = cancel(router)
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


def test_a_cancelled_job_has_the_default_disposition_code_and_no_note(router: JobRouter) -> None:
    cancel(router)
    job = router.job("job-1")
    assert (job.status, job.disposition_code, job.notes, job.cancel_count) == ("cancelled", "Cancelled", (), 1)


def test_a_cancel_needs_no_body(router: JobRouter) -> None:
    assert cancel(router, body=None).status == 200


def test_disposition_code_and_note_of_a_cancel_end_up_on_the_job() -> None:
    with router_with(clock=lambda: NOON) as router:
        router.add_job("job-1", notes=(Note(NOON, "earlier"),))
        cancel(router, body=json.dumps({"dispositionCode": "Abandoned", "note": "hung up 😀"}).encode())
        job = router.job("job-1")
    assert job.disposition_code == "Abandoned"
    assert job.notes == ((NOON, "earlier"), (NOON, "hung up 😀"))


def test_unknown_fields_of_a_cancel_are_ignored(router: JobRouter) -> None:
    assert cancel(router, body=b'{"other": 1}').status == 200


@pytest.mark.parametrize("status", CANCELLABLE)
def test_a_job_that_is_not_done_with_can_be_cancelled(router: JobRouter, status: str) -> None:
    router.add_job("job-1", status)
    assert cancel(router).status == 200


@pytest.mark.parametrize("status", ["cancelled", "closed", "completed"])
@pytest.mark.parametrize("refusal_status", [400, 404, 409, 412])
def test_a_job_that_is_done_with_refuses_a_cancel_and_names_its_status(status: str, refusal_status: int) -> None:
    with router_with(refusal_status=refusal_status, second_cancel=refusal_status) as router:
        before = router.add_job("job-1", status)
        answer = cancel(router)
        assert answer.status == refusal_status
        assert answer.error["code"] == answer.headers["x-ms-error-code"] == "InvalidJobState"
        assert status in answer.error["message"]
        assert answer.error["innererror"] == {"code": f"JobIs{status.capitalize()}"}
        assert router.job("job-1") == before


def test_a_second_cancel_can_be_made_to_succeed_and_changes_nothing() -> None:
    with router_with(second_cancel=200) as router:
        router.add_job("job-1")
        cancel(router, body=b'{"dispositionCode": "first"}')
        assert cancel(router, body=b'{"dispositionCode": "second", "note": "second"}').status == 200
        job = router.job("job-1")
    assert (job.disposition_code, job.notes, job.cancel_count) == ("first", (), 1)


def test_a_second_cancel_that_succeeds_does_not_open_closed_jobs() -> None:
    with router_with(second_cancel=200) as router:
        router.add_job("job-1", "closed")
        assert cancel(router).status == 409


@pytest.mark.parametrize("target", [CANCEL_JOB_1, GET_JOB_1])
def test_an_unknown_job_is_answered_with_404(router: JobRouter, target: str) -> None:
    answer = call(router, "POST" if "cancel" in target else "GET", target.replace("job-1", "job-2"))
    assert answer.status == 404
    assert answer.error["code"] == answer.headers["x-ms-error-code"] == "JobNotFound"


@pytest.mark.parametrize(
    "job_id",
    ["a/b", "a b", "日本 😀", "100%", "%2F", "x:cancel", "?#&+=;:@", "..", "\n", "a.b-c_d~e!$'()*,"],
)
def test_a_job_id_is_decoded_exactly_once(router: JobRouter, job_id: str) -> None:
    router.add_job(job_id)
    assert cancel(router, quote(job_id, safe="")).status == 200
    assert router.job(job_id).status == "cancelled"
    assert call(router, "GET", f"/routing/jobs/{quote(job_id, safe='')}{API}").document["id"] == job_id


def test_a_job_id_that_is_not_utf_8_is_answered_with_400(router: JobRouter) -> None:
    answer = cancel(router, "%ff")
    assert (answer.status, answer.error["target"]) == (400, "jobId")


@pytest.mark.parametrize(
    "body, target",
    [
        (b"{", "body"),
        (b"\xff\xfe\xfd", "body"),
        (b"[]", "body"),
        (b"null", "body"),
        (b"[" * 100_000, "body"),
        (b'{"note": 1}', "note"),
        (b'{"note": null}', "note"),
        (b'{"dispositionCode": {}}', "dispositionCode"),
    ],
)
def test_a_body_that_is_not_valid_is_answered_with_400_naming_the_field(
    router: JobRouter, body: bytes, target: str
) -> None:
    answer = cancel(router, body=body)
    assert (answer.status, answer.error["target"]) == (400, target)
    assert router.job("job-1").status == "queued"


@pytest.mark.parametrize(
    "query, code",
    [
        ("", "MissingApiVersionParameter"),
        ("?api-version=", "MissingApiVersionParameter"),
        ("?api-version=2021-01-01", "UnsupportedApiVersionValue"),
        ("?api-version=2023-11-01&api-version=2023-11-01", "UnsupportedApiVersionValue"),
    ],
)
def test_a_missing_or_unsupported_api_version_is_answered_with_400(router: JobRouter, query: str, code: str) -> None:
    answer = call(router, "POST", f"/routing/jobs/job-1:cancel{query}")
    assert (answer.status, answer.error["code"]) == (400, code)
    assert router.job("job-1").status == "queued"


@pytest.mark.parametrize("path", ["/", "/routing/jobs/", "/routing/jobs/:cancel", "/routing/jobs/a/b", "/Routing/x"])
def test_an_unknown_path_is_answered_with_404(router: JobRouter, path: str) -> None:
    answer = call(router, "GET", path + API)
    assert (answer.status, answer.error["code"]) == (404, "NotFound")


@pytest.mark.parametrize(
    "method, target, allowed",
    [("GET", CANCEL_JOB_1, "POST"), ("POST", GET_JOB_1, "GET"), ("DELETE", GET_JOB_1, "GET")],
)
def test_an_unknown_method_is_answered_with_405(router: JobRouter, method: str, target: str, allowed: str) -> None:
    answer = call(router, method, target)
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)


def test_a_job_reads_back_as_documented() -> None:
    with router_with(clock=lambda: NOON) as router:
        router.add_job("job-1", channel_id="voice", queue_id="q", labels={"vip": True}, priority=5)
        cancel(router, body=b'{"note": "n"}')
        document = call(router, "GET", GET_JOB_1).document
    assert document == {
        "etag": '"00000002-0000-0000-0000-000000000000"',
        "id": "job-1",
        "status": "cancelled",
        "enqueuedAt": "2026-01-02T12:00:00.000000Z",
        "channelId": "voice",
        "queueId": "q",
        "priority": 5,
        "dispositionCode": "Cancelled",
        "labels": {"vip": True},
        "tags": {},
        "notes": [{"message": "n", "addedAt": "2026-01-02T12:00:00.000000Z"}],
    }


def test_a_job_without_disposition_code_reads_back_without_the_field(router: JobRouter) -> None:
    assert "dispositionCode" not in call(router, "GET", GET_JOB_1).document


def test_every_answer_has_a_request_id_of_its_own_and_echoes_the_clients(router: JobRouter) -> None:
    answers = [call(router, "GET", GET_JOB_1, headers={**BEARER, "x-ms-client-request-id": "mine"}) for _ in range(2)]
    assert len({answer.headers["x-ms-request-id"] for answer in answers}) == 2
    assert {answer.headers["x-ms-client-request-id"] for answer in answers} == {"mine"}


def test_a_status_that_the_service_does_not_know_is_refused_when_a_job_is_added(router: JobRouter) -> None:
    with pytest.raises(ValueError, match="'canceled' is not a job status"):
        router.add_job("job-2", "canceled")


def test_asking_for_an_unknown_job_raises(router: JobRouter) -> None:
    with pytest.raises(JobNotFoundError):
        router.job("job-2")


def test_jobs_are_listed_in_the_order_they_were_added(router: JobRouter) -> None:
    router.add_job("a")
    assert [job.id for job in router.jobs()] == ["job-1", "a"]


@pytest.mark.parametrize(
    "option, value, advice",
    [
        ("refusal_status", 200, "Use 400, 404, 409 or 412"),
        ("second_cancel", 500, "Use 200, 400, 404, 409 or 412"),
        ("dialect", "spoken", "Use recorded or specified"),
    ],
)
def test_only_what_the_service_may_answer_can_be_chosen(option: str, value: object, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        router_with(**{option: value})
