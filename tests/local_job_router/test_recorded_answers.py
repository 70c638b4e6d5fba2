"""The recorded dialect: what docs/decisions/0011-recorded-service.md says was seen of the service."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest

from local.job_router import DEVELOPMENT_ACCESS_KEY, Fault, JobRouter
from tests.local_job_router.calls import API, BEARER, CANCEL_JOB_1, GET_JOB_1, GOOD_TOKEN, Answer, call, cancel, signed

if TYPE_CHECKING:
    from collections.abc import Iterator

NEVER_SEEN = ("x-ms-request-id", "x-ms-error-code", "x-ms-client-request-id", "WWW-Authenticate", "Retry-After")
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def router() -> Iterator[JobRouter]:
    with JobRouter(token_verifier=lambda token: token == GOOD_TOKEN) as running:
        running.add_job("job-1")
        yield running


def recorded(answer: Answer) -> dict[str, object]:
    (key,) = answer.document
    assert key == "communicationError"
    error: dict[str, object] = answer.document[key]
    return error


def test_a_cancel_is_answered_with_an_empty_object_in_chunks(router: JobRouter) -> None:
    answer = cancel(router)
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.headers["X-Cache"] == "CONFIG_NOCACHE"


@pytest.mark.parametrize("target", [CANCEL_JOB_1, GET_JOB_1])
def test_an_unknown_job_is_not_found_at_the_requests_path(router: JobRouter, target: str) -> None:
    target = target.replace("job-1", "job-2")
    answer = call(router, "POST" if "cancel" in target else "GET", target)
    assert answer.status == 404
    error = recorded(answer)
    assert sorted(error) == ["code", "message", "target"]
    assert (error["code"], error["target"]) == ("NotFound", target.removesuffix(API))


@pytest.mark.parametrize(
    "status, code, details",
    [(400, "BadRequest", ["JobIsCancelled"]), (404, "NotFound", None), (409, "Conflict", None)],
)
def test_a_second_cancel_answers_as_chosen(status: int, code: str, details: list[str] | None) -> None:
    with JobRouter(token_verifier=lambda token: token == GOOD_TOKEN, second_cancel=status) as router:
        router.add_job("job-1", "cancelled")
        answer = cancel(router)
    error = recorded(answer)
    assert (answer.status, error["code"]) == (status, code)
    assert [detail["code"] for detail in error.get("details", ())] == (details or [])  # type: ignore[attr-defined]


def test_a_body_that_is_not_valid_says_why_in_its_details(router: JobRouter) -> None:
    error = recorded(cancel(router, body=b"["))
    assert error["code"] == "BadRequest"
    assert error["details"] == [{"code": "InvalidValue", "message": "The body is not JSON."}]


def test_denied_access_is_answered_as_the_sister_services_do(router: JobRouter) -> None:
    answer = call(router, "GET", GET_JOB_1, headers=signed(router, "GET", GET_JOB_1, key="b3RoZXI="))
    assert (answer.status, list(answer.document), answer.error["code"]) == (401, ["error"], "Denied")
    assert answer.error["message"].startswith("Denied by the resource provider.")
    assert DEVELOPMENT_ACCESS_KEY.encode() not in answer.body


def test_a_scripted_fault_of_the_services_is_in_the_same_shape(router: JobRouter) -> None:
    router.faults.add(Fault("status", status=503))
    assert recorded(cancel(router))["code"] == "ServiceUnavailable"


def test_what_something_in_between_answers_has_none_of_the_services_headers(router: JobRouter) -> None:
    router.faults.add(Fault("status", status=404, body=b"<html></html>"))
    answer = cancel(router)
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert [name for name in ("trace-id", "x-azure-ref", *NEVER_SEEN) if name in answer.headers] == []


@pytest.mark.parametrize("job_id", ["job-1", "nobody"])
def test_headers_that_were_never_seen_are_not_sent(router: JobRouter, job_id: str) -> None:
    answer = call(router, "GET", f"/routing/jobs/{job_id}{API}", headers={**BEARER, "x-ms-client-request-id": "mine"})
    assert [name for name in NEVER_SEEN if name in answer.headers] == []
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{32}", answer.headers["x-azure-ref"])


def test_the_trace_id_is_the_requests_or_one_of_its_own(router: JobRouter) -> None:
    traced = call(router, "GET", GET_JOB_1, headers={**BEARER, "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
    assert traced.headers["trace-id"] == TRACE
    own = {call(router, "GET", GET_JOB_1).headers["trace-id"] for _ in range(2)}
    assert len({uuid.UUID(trace_id) for trace_id in own}) == 2


def test_a_cancelled_job_reads_back_as_recorded(router: JobRouter) -> None:
    before = call(router, "GET", GET_JOB_1)
    cancel(router, body=b'{"note": "n"}')
    answer = call(router, "GET", GET_JOB_1)
    assert (answer.document["status"], answer.document["dispositionCode"]) == ("cancelled", "Cancelled")
    assert [sorted(note) for note in answer.document["notes"]] == [["addedAt", "message"]]
    assert before.document["notes"] == []
    assert (before.headers["ETag"][1:9], answer.headers["ETag"][1:9]) == ("00000001", "00000002")


def test_an_interim_answer_comes_before_the_usual_one(router: JobRouter) -> None:
    router.faults.add(Fault("interim"))
    assert call(router, "GET", GET_JOB_1).status == 103
