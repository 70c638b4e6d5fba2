"""Credentials are checked for real: signatures recomputed, tokens judged, keys never shown."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from local.job_router import DEVELOPMENT_ACCESS_KEY, JobRouter
from tests.local_job_router.calls import CANCEL_JOB_1, GET_JOB_1, call, signed

BODY = b'{"note": "n"}'
OTHER_KEY = base64.b64encode(b"another key").decode()


def refused_part(router: JobRouter, headers: dict[str, str], body: bytes = BODY) -> str:
    """What the 401 says failed, after checking what all of them have in common."""
    answer = call(router, "POST", CANCEL_JOB_1, body, headers)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "HMAC-SHA256, Bearer"
    assert answer.error["code"] == answer.headers["x-ms-error-code"] == "Denied"
    assert DEVELOPMENT_ACCESS_KEY.encode() not in answer.body
    assert router.job("job-1").status == "queued"
    part = answer.error["innererror"]["code"]
    assert isinstance(part, str)
    return part


def test_a_signed_cancel_is_accepted(router: JobRouter) -> None:
    assert call(router, "POST", CANCEL_JOB_1, BODY, signed(router, "POST", CANCEL_JOB_1, BODY)).status == 200


def test_a_signed_read_is_accepted(router: JobRouter) -> None:
    assert call(router, "GET", GET_JOB_1, None, signed(router, "GET", GET_JOB_1)).status == 200


@pytest.mark.parametrize("minutes", [-4.9, 4.9])
def test_a_signature_with_a_date_within_five_minutes_is_accepted(router: JobRouter, minutes: float) -> None:
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    assert call(router, "GET", GET_JOB_1, None, signed(router, "GET", GET_JOB_1, at=at)).status == 200


@pytest.mark.parametrize("minutes", [-5.1, 5.1])
def test_a_signature_with_a_date_beyond_five_minutes_is_answered_401(router: JobRouter, minutes: float) -> None:
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    assert refused_part(router, signed(router, "POST", CANCEL_JOB_1, BODY, at=at)) == "InvalidDate"


def test_the_date_is_compared_with_the_routers_own_clock() -> None:
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    with JobRouter(dialect="specified", clock=lambda: long_ago) as router:
        router.add_job("job-1")
        assert refused_part(router, signed(router, "POST", CANCEL_JOB_1, BODY)) == "InvalidDate"
        headers = signed(router, "POST", CANCEL_JOB_1, BODY, at=long_ago)
        assert call(router, "POST", CANCEL_JOB_1, BODY, headers).status == 200


@pytest.mark.parametrize(
    "date", ["", "yesterday GMT", "2026-01-01T00:00:00Z", "Fri, 02 Jan 2026 12:00:00 +0000", "99 GMT"]
)
def test_a_date_that_is_not_rfc_1123_in_gmt_is_answered_401(router: JobRouter, date: str) -> None:
    headers = {**signed(router, "POST", CANCEL_JOB_1, BODY), "x-ms-date": date}
    assert refused_part(router, headers) == "InvalidDate"


def test_a_body_other_than_the_signed_one_is_answered_401(router: JobRouter) -> None:
    headers = signed(router, "POST", CANCEL_JOB_1, BODY)
    assert refused_part(router, headers, b"{}") == "InvalidContentHash"


def test_a_signature_by_another_key_is_answered_401(router: JobRouter) -> None:
    assert refused_part(router, signed(router, "POST", CANCEL_JOB_1, BODY, key=OTHER_KEY)) == "InvalidSignature"


@pytest.mark.parametrize(
    "method, target",
    [
        ("GET", CANCEL_JOB_1),
        ("POST", CANCEL_JOB_1.replace("job-1", "job-2")),
        ("POST", CANCEL_JOB_1.replace(":", "%3A")),
        ("POST", CANCEL_JOB_1.partition("?")[0]),
    ],
)
def test_a_signature_for_another_request_is_answered_401(router: JobRouter, method: str, target: str) -> None:
    assert refused_part(router, signed(router, method, target, BODY)) == "InvalidSignature"


def test_a_signature_for_another_host_is_answered_401(router: JobRouter) -> None:
    headers = {**signed(router, "POST", CANCEL_JOB_1, BODY), "Host": "localhost"}
    assert refused_part(router, headers) == "InvalidSignature"


@pytest.mark.parametrize(
    "parameters",
    ["", "Signature=x", "SignedHeaders=host&Signature=x", "SignedHeaders=x-ms-date;host;x-ms-content-sha256"],
)
def test_signature_parameters_of_another_form_are_answered_401(router: JobRouter, parameters: str) -> None:
    headers = {**signed(router, "POST", CANCEL_JOB_1, BODY), "Authorization": f"HMAC-SHA256 {parameters}"}
    assert refused_part(router, headers) == "InvalidAuthorization"


@pytest.mark.parametrize(
    "headers, part",
    [
        ({}, "MissingAuthorization"),
        ({"Authorization": "Basic eDp5"}, "InvalidAuthorization"),
        ({"Authorization": "Bearer"}, "InvalidToken"),
        ({"Authorization": "Bearer unknown"}, "InvalidToken"),
    ],
)
def test_missing_or_other_credentials_are_answered_401(router: JobRouter, headers: dict[str, str], part: str) -> None:
    assert refused_part(router, headers) == part


def test_without_a_token_verifier_every_token_is_answered_401() -> None:
    with JobRouter(dialect="specified") as router:
        router.add_job("job-1")
        assert refused_part(router, {"Authorization": "Bearer any"}) == "InvalidToken"


def test_an_access_key_that_is_not_base64_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="access_key is not base64") as caught:
        JobRouter(access_key="not base64!")
    assert "not base64!" not in str(caught.value)
