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

from shared.job_router_error import JobRouterError, RequestId, error_from_response, request_id_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def read(status: int = 409, body: bytes = b"", **headers: str) -> JobRouterError:
    named = CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()})
    return error_from_response(status, named, body, "client-id", lambda: NOW)


def documented(**error: Any) -> JobRouterError:
    return read(body=json.dumps({"error": error}).encode())


# What the service was recorded to answer, written anew: the shape, the codes and the headers are the recordings', the
# ids and the prose are ours. docs/decisions/0011-recorded-service.md.
TRACE_ID = "5a1f9c7e-1111-4222-8333-944455556666"
PATHS = {
    "distribution policy": "/routing/distributionPolicies/policy-1",
    "exception policy": "/routing/exceptionPolicies/policy-2",
    "classification policy": "/routing/classificationPolicies/policy-3",
    "queue": "/routing/queues/queue-1",
    "job": "/routing/jobs/job-1",
    "offer": "/routing/workers/worker-1/offers/offer-1:decline",
}
RECORDED = [
    (400, "BadRequest", "QueueExistsWithDistributionPolicy", "A queue uses the policy.", "distribution policy"),
    (400, "BadRequest", "QueueExistsWithExceptionPolicy", "A queue uses the policy.", "exception policy"),
    (400, "BadRequest", "ActiveJobWithClassificationPolicyExist", "A job uses the policy.", "classification policy"),
    (409, "Conflict", None, "The queue has active jobs.\r\nIt is a policy's fallback queue.", "queue"),
    (409, "Conflict", None, "Workers are assigned to the queue.", "queue"),
    (404, "NotFound", None, "The job does not exist.", "job"),
    (404, "NotFound", None, "The queue does not exist.", "queue"),
    (404, "NotFound", None, "The policy does not exist.", "classification policy"),
    (404, "NotFound", None, "OfferHandler: offer offer-1 was not found.", "offer"),
    (500, "InternalServerError", None, "Something failed inside.", "offer"),
]


@pytest.mark.parametrize("status, code, detail, message, target", RECORDED)
def test_each_recorded_error_is_read_whole(
    status: int, code: str, detail: str | None, message: str, target: str
) -> None:
    document: dict[str, Any] = {"code": code, "message": message, "target": PATHS[target]}
    if detail:
        document["details"] = [{"code": detail, "message": f"{message} Remove it there first."}]
    headers = {"trace_id": TRACE_ID, "x_azure_ref": "20240418T083540Z-r1", "X_Cache": "CONFIG_NOCACHE"}
    error = read(status, json.dumps({"communicationError": document}).encode(), **headers)
    assert (error.status, error.code, error.specific_code) == (status, code, detail or code)
    assert (error.message, error.target) == (" ".join(message.split()), PATHS[target])
    assert error.details == ((f"{detail}: {message} Remove it there first.",) if detail else ())
    assert error.request_id == RequestId("trace-id", TRACE_ID)
    assert error.from_job_router


@pytest.mark.parametrize("key", ["communicationError", "error"])
def test_both_shapes_are_read_alike(key: str) -> None:
    body = json.dumps({key: {"code": "BadRequest", "message": "m", "details": [{"code": "Specific"}]}}).encode()
    error = read(400, body)
    assert (error.code, error.specific_code, error.message, error.from_job_router) == (
        *("BadRequest", "Specific", "m"),
        True,
    )


@pytest.mark.parametrize(
    "error, specific",
    [
        ({"code": "Conflict"}, "Conflict"),
        ({"code": "conflict", "details": [{"code": "First"}, {"code": "Second"}]}, "First"),
        ({"code": "NotFound", "details": [{"message": "no code"}, {"code": "Second"}]}, "Second"),
        ({"code": "BadRequest", "innererror": {"code": "Outer", "innererror": {"code": "Innermost"}}}, "Innermost"),
        ({"code": "BadRequest", "details": [{"code": "Detail"}], "innererror": {"code": "Inner"}}, "Detail"),
        ({"code": "InvalidJobState", "details": [{"code": "Detail"}]}, "InvalidJobState"),
        ({"code": "InternalServerError", "details": [{"code": "not a code"}]}, "InternalServerError"),
    ],
)
def test_the_specific_code_stands_behind_one_that_repeats_the_http_reason(error: dict[str, Any], specific: str) -> None:
    assert documented(**error).specific_code == specific


@pytest.mark.parametrize("status", [400, 404, 410, 502])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><title>404 Web Site not found</title></html>",
        b'{"title": "Gone", "status": 410}',
        b'{"code": "Bare", "message": "m"}',
        b'{"error": "text"}',
        b'{"error": {"message": "no code"}}',
        b'{"communicationError": {"code": "not a code"}}',
        b'{"errors": {"code": "Other"}}',
    ],
)
def test_what_has_no_error_document_is_not_job_routers(status: int, body: bytes) -> None:
    error = read(status, body)
    assert not error.from_job_router
    assert error.code == f"Http{status}"


def test_the_header_with_a_code_is_job_routers_word_even_without_a_body() -> None:
    error = read(404, b"", x_ms_error_code="JobNotFound")
    assert (error.code, error.from_job_router) == ("JobNotFound", True)


@pytest.mark.parametrize("code", ["with space", "c" * 101, "ü", "a/b", "eyJhbGciOi.abc.def", "", 5, None, ["x"]])
def test_a_code_that_is_none_is_left_out(code: object) -> None:
    error = documented(code=code, details=[{"code": code, "message": "m"}], innererror={"code": code})
    assert (error.code, error.details, error.inner_codes) == ("Http409", ("m",), ())


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


@pytest.mark.parametrize(
    "headers, header",
    [
        (["trace-id", "x-ms-request-id", "x-azure-ref", "MS-CV"], "trace-id"),
        (["x-ms-request-id", "x-azure-ref", "MS-CV"], "x-ms-request-id"),
        (["x-azure-ref", "MS-CV"], "x-azure-ref"),
        (["MS-CV"], "MS-CV"),
    ],
)
def test_the_id_is_the_one_that_support_looks_up_first(headers: list[str], header: str) -> None:
    named = CaseInsensitiveDict({name: f"{name}-1" for name in headers})
    assert request_id_of(named, "client-id") == RequestId(header, f"{header}-1")


@pytest.mark.parametrize("value", ["", "two words", "i" * 129, "<b>", "sig=QWxhZGRpbjpvcGVu"])
def test_what_is_no_id_is_passed_over_for_our_own(value: str) -> None:
    assert read(trace_id=value).request_id == RequestId("x-ms-client-request-id", "client-id")


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
    error = documented(code="c" * 100, message="m" * 5000, target="t" * 500)
    assert (len(error.code), len(error.message), len(error.target or "")) == (100, 500, 200)
    assert error.message.endswith("…")


@pytest.mark.parametrize(
    "secret",
    [
        "HMAC-SHA256 SignedHeaders=a&Signature=QWxhZGRpbg==",
        "endpoint=https://x/;accesskey=QWxhZGRpbg==",
        "SharedAccessKey=QWxhZGRpbg==",
        "?sig=QWxhZGRpbg%3D&x=1",
        "Authorization: Bearer QWxhZGRpbg.QWxhZGRpbg-_",
        "authorization=Bearer%20QWxhZGRpbg.QWxhZGRpbg-_",
        '{"accesskey":"QWxhZGRpbg=="}',
        '{\\"accesskey\\": \\"QWxhZGRpbg==\\"}',
        "accesskey: QWxhZGRpbg==",
        "AccessKey = QWxhZGRpbg==",
        "https%3A%2F%2Fx%2F%3Fa%3Db%26sig%3DQWxhZGRpbg%253D",
        "SharedAccessSignature sr=x&sig=QWxhZGRpbg%3D&se=1&skn=QWxhZGRpbg",
        "SharedAccessSignature%20sr%3Dx%26sig%3DQWxhZGRpbg",
        'token="eyJQWxhZGRpbg.QWxhZGRpbg.QWxhZGRpbg"',
        "token=QWxhZGRpbjpvcGVuc2VzYW1l",
        "the token eyJQWxhZGRpbg.QWxhZGRpbg.QWxhZGRpbg is refused",
        "client_secret=QWxhZGRpbg",
        "client_assertion=QWxhZGRpbg",
        "Signature=abcd\\u002BQWxhZGRpbg",
        "Signature=abcd\\/QWxhZGRpbg",
        "Signature=abcd&#43;QWxhZGRpbg",
        "Signature\\u003dQWxhZGRpbg",
        "Signature&#61;QWxhZGRpbg",
        "Signature%253DQWxhZGRpbg",
        "Bearer\\u0020QWxhZGRpbg.QWxhZGRpbg",
        "Bearer&nbsp;QWxhZGRpbg",
        "Bearer: 'QWxhZGRpbg'",
        "{'Signature': ['QWxhZGRpbg']}",
        "Signature QWxhZGRpbjpvcGVuc2VzYW1l",
        "http://user:QWxhZGRpbg@proxy:3128",
        "Authorization: Basic QWxhZGRpbjpvcGVu",
    ],
)
def test_a_quoted_credential_is_hidden(secret: str) -> None:
    error = documented(message=f"Refused: {secret}", details=[{"code": "x", "message": secret}])
    assert "QWxh" not in str(error)
    assert "QWxh" not in "".join(error.details)
    assert "[hidden]" in error.message


def test_a_byte_order_mark_does_not_hide_the_document() -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"communicationError": {"code": "Conflict", "message": "m"}}).encode()
    assert (read(409, body).code, read(409, body).from_job_router) == ("Conflict", True)


@pytest.mark.parametrize("private", [(), ("&#" + "1" * 5000,), ("a note",)])
@pytest.mark.parametrize("body", [b"&#" + b"1" * 5000, b'{"error":{"code":"C","message":"&#' + b"1" * 5000 + b'"}}'])
def test_a_character_reference_of_any_length_does_no_harm(body: bytes, private: tuple[str, ...]) -> None:
    error = error_from_response(409, {}, body, "client-id", lambda: NOW, private)
    assert error.code in ("C", "Http409")


def test_an_id_that_repeats_the_note_is_ours_instead() -> None:
    headers = {"trace-id": "CustomerJaneRoe", "x-azure-ref": "ref-1"}
    assert request_id_of(headers, "client-id", ("Customer Jane Roe left",)) == RequestId("x-azure-ref", "ref-1")
    assert request_id_of(headers, "client-id", ("Customer",)) == RequestId("x-azure-ref", "ref-1")
    assert request_id_of(headers, "client-id", ("Jane",)) == RequestId("trace-id", "CustomerJaneRoe")


def test_where_only_all_of_it_together_repeats_the_note_nothing_of_it_is_kept() -> None:
    body = json.dumps({"error": {"code": "JaneRo", "message": "m", "innererror": {"code": "eLeft"}}}).encode()
    error = error_from_response(
        422, {"trace-id": "trace-1"}, body, "client-id", lambda: NOW, ("Jane Ro Jane Ro e Left",)
    )
    assert (error.code, error.inner_codes, error.request_id) == ("Http422", (), ("x-ms-client-request-id", "client-id"))


def test_the_error_reads_as_a_sentence() -> None:
    assert str(JobRouterError(404, "JobNotFound", "No.", request_id=RequestId("trace-id", "r"))) == (
        "JobNotFound: No. (status=404, trace-id: r)"
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


@pytest.mark.parametrize(
    "value",
    [
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Fri, 02 Jan 99999999999999999999 03:04:05 GMT",
        "Fri, 99 Jan 2026 03:04:05 GMT",
        "Fri, 02 Jan 2026 99:99:99 GMT",
        "Fri, 02 Jan 2026 03:04:05 +99999999999",
        "Fri,",
        ",,,,",
        "9" * 5000,
        "1e999",
        "\x00",
    ],
)
def test_an_absurd_retry_after_is_none_or_a_number_and_never_raises(value: str) -> None:
    found = read(503, retry_after=value).retry_after
    assert found is None or 0 <= found < float("inf")


def test_a_date_gone_by_means_at_once() -> None:
    assert read(503, retry_after="Fri, 02 Jan 1970 00:00:00 GMT").retry_after == 0.0


names = st.sampled_from(["retry-after", "retry-after-ms", "x-ms-retry-after-ms", "x-ms-error-code", "x-ms-request-id"])


@given(st.integers(100, 599), st.dictionaries(names, st.text(max_size=40)), st.binary(max_size=300))
def test_any_answer_gives_an_error(status: int, headers: dict[str, str], body: bytes) -> None:
    error = error_from_response(status, headers, body, "id", lambda: NOW)
    assert error.code
    assert error.retry_after is None or 0 <= error.retry_after < float("inf")
    assert len(error.message) <= 500
