"""How an error is read from whatever answered."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from shared.job_router_error import JobRouterError, error_from_response

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def read(status: int = 409, body: bytes = b"", **headers: str) -> JobRouterError:
    named = CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()})
    return error_from_response(status, named, body, "client-id", lambda: NOW)


def documented(**error: Any) -> JobRouterError:
    return read(body=json.dumps({"error": error}).encode())


def test_the_documented_error_is_read_whole() -> None:
    error = documented(
        code="InvalidJobState",
        message="The job is closed.",
        target="status",
        details=[{"code": "A", "message": "first"}, {"code": "B", "message": "second"}],
        innererror={"code": "Inner", "innererror": {"code": "Innermost"}},
    )
    assert (error.status, error.code, error.message, error.target) == (
        409,
        "InvalidJobState",
        "The job is closed.",
        "status",
    )
    assert error.details == ("A: first", "B: second")
    assert error.inner_codes == ("Inner", "Innermost")


def test_the_header_names_the_code_before_the_body_does() -> None:
    assert read(body=b'{"error":{"code":"Body"}}', x_ms_error_code="Header").code == "Header"


def test_an_error_without_its_envelope_is_read_as_well() -> None:
    assert read(body=b'{"code":"Bare","message":"m"}').code == "Bare"


def test_the_services_request_id_goes_before_the_clients() -> None:
    assert read(x_ms_request_id="service-id").request_id == "service-id"
    assert read().request_id == "client-id"


def test_an_empty_body_leaves_the_status() -> None:
    error = read(status=418)
    assert (error.code, error.message, error.target, error.details, error.inner_codes) == ("Http418", "", None, (), ())


def test_a_gateways_page_is_read_without_its_markup() -> None:
    page = b"<html><style>p{x}</style><script type=a>var y</script ><h1>Bad &amp; sad</h1>\n<p>Gateway</p></html>"
    assert read(status=502, body=page).message == "Bad & sad Gateway"


def test_plain_text_is_the_message() -> None:
    assert read(status=503, body=b"try again\r\nlater").message == "try again later"


@pytest.mark.parametrize("body", [b"[]", b"5", b'"text"', b"null", b"{", b"[" * 100_000, b'{"a":"\xff"}', b"\xff\xfe"])
def test_a_body_of_another_shape_still_gives_an_error(body: bytes) -> None:
    assert read(body=body).code == "Http409"


@pytest.mark.parametrize(
    "error",
    [
        {"code": None},
        {"code": ""},
        {"details": "no list"},
        {"details": [1, None, "x"]},
        {"innererror": "no object"},
        {"innererror": {"innererror": {}}},
    ],
)
def test_fields_of_the_wrong_kind_do_no_harm(error: dict[str, Any]) -> None:
    found = documented(**error)
    assert found.code == "Http409"
    assert found.inner_codes == ()


def test_inner_errors_end_after_ten() -> None:
    inner: dict[str, Any] = {"code": "last"}
    for number in range(50):
        inner = {"code": f"c{number}", "innererror": inner}
    assert len(documented(innererror=inner).inner_codes) == 10


def test_details_end_after_ten() -> None:
    assert len(documented(details=[{"code": "a", "message": "b"}] * 50).details) == 10


def test_texts_are_cut() -> None:
    error = documented(code="c" * 500, message="m" * 5000, target="t" * 500)
    assert (len(error.code), len(error.message), len(error.target or "")) == (100, 500, 100)
    assert error.message.endswith("…")


@pytest.mark.parametrize(
    "secret",
    [
        "HMAC-SHA256 SignedHeaders=a&Signature=QWxhZGRpbg==",
        "endpoint=https://x/;accesskey=QWxhZGRpbg==",
        "SharedAccessKey=QWxhZGRpbg==",
        "?sig=QWxhZGRpbg%3D&x=1",
        "Authorization: Bearer QWxhZGRpbg.QWxhZGRpbg-_",
    ],
)
def test_a_quoted_credential_is_hidden(secret: str) -> None:
    error = documented(message=f"Refused: {secret}", details=[{"code": "x", "message": secret}])
    assert "QWxh" not in str(error)
    assert "QWxh" not in "".join(error.details)
    assert "[hidden]" in error.message


def test_the_error_reads_as_a_sentence() -> None:
    assert str(JobRouterError(404, "JobNotFound", "No.", request_id="r")) == (
        "JobNotFound: No. (status=404, request id=r)"
    )


# Retry-After


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"Retry_After": " 7 "}, 7.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after_ms": "250"}, 0.25),
        ({"x_ms_retry_after_ms": "1500"}, 1.5),
        ({"retry_after_ms": "250", "x_ms_retry_after_ms": "1500", "retry_after": "7"}, 0.25),
        ({"retry_after_ms": "soon", "retry_after": "7"}, 7.0),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after_ms": "inf", "retry_after": "7"}, 7.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": ""}, None),
    ],
)
def test_retry_after_is_read_in_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert read(429, b"", **headers).retry_after == seconds


def test_retry_after_as_a_date_counts_from_now() -> None:
    assert read(503, retry_after=format_datetime(NOW + timedelta(seconds=30), usegmt=True)).retry_after == 30.0


def test_a_date_without_a_zone_is_gmt() -> None:
    assert read(503, retry_after="Fri, 02 Jan 2026 03:04:15 -0000").retry_after == 10.0


def test_a_date_gone_by_means_at_once() -> None:
    assert read(503, retry_after="Fri, 02 Jan 1970 00:00:00 GMT").retry_after == 0.0


names = st.sampled_from(["retry-after", "retry-after-ms", "x-ms-retry-after-ms", "x-ms-error-code", "x-ms-request-id"])


@given(st.integers(100, 599), st.dictionaries(names, st.text(max_size=40)), st.binary(max_size=300))
def test_any_answer_gives_an_error(status: int, headers: dict[str, str], body: bytes) -> None:
    error = error_from_response(status, headers, body, "id", lambda: NOW)
    assert error.code
    assert error.retry_after is None or 0 <= error.retry_after < float("inf")
    assert len(error.message) <= 500
