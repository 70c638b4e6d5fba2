"""The client's requests and its reading of answers, over real sockets."""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from local.job_router import DEVELOPMENT_ACCESS_KEY, Dialect, Fault, JobRouter, Note
from shared.cancellation import CancellationRequest
from shared.job_router import AccessKeyAuth, JobRouterClient, JobRouterError, normalise_endpoint
from shared.job_router_error import CONNECTION_FAILED, NOT_JOB_ROUTER, TIMEOUT, UNREADABLE

REQUEST = CancellationRequest("job-1")
TRACE_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def failure(client: JobRouterClient, request: CancellationRequest = REQUEST) -> JobRouterError:
    with pytest.raises(JobRouterError) as caught:
        client.cancel_job(request)
    return caught.value


def impatient(router: JobRouter) -> JobRouterClient:
    return JobRouterClient.from_connection_string(router.connection_string, connect_timeout=0.2, read_timeout=0.2)


# What is sent


def test_a_cancelled_job_is_cancelled_at_the_service(router: JobRouter, client: JobRouterClient) -> None:
    client.cancel_job(CancellationRequest("job-1", "the note", "Abandoned"))
    job = router.job("job-1")
    assert (job.status, job.disposition_code, [note.message for note in job.notes]) == (
        "cancelled",
        "Abandoned",
        ["the note"],
    )


@pytest.mark.parametrize(
    "request_, body",
    [
        (REQUEST, {}),
        (CancellationRequest("job-1", note="n"), {"note": "n"}),
        (CancellationRequest("job-1", note=""), {"note": ""}),
        (CancellationRequest("job-1", disposition_code="D"), {"dispositionCode": "D"}),
        (CancellationRequest("job-1", "n", "D"), {"note": "n", "dispositionCode": "D"}),
        (CancellationRequest("job-1", "日本 😀\n"), {"note": "日本 😀\n"}),
    ],
)
def test_the_body_has_only_the_fields_that_were_given(
    router: JobRouter, client: JobRouterClient, request_: CancellationRequest, body: dict[str, str]
) -> None:
    client.cancel_job(request_)
    assert json.loads(router.requests[0].body) == body
    assert router.requests[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "job_id, segment",
    [
        ("a/b", "a%2Fb"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
        ("a b", "a%20b"),
        ("%2e%2e", "%252e%252e"),
        ("a?b#c", "a%3Fb%23c"),
        ("a:cancel", "a%3Acancel"),
        ("a.b-c_d~e", "a.b-c_d~e"),
        ("../x", "..%2Fx"),
        ("a;b=c&d+e@f", "a%3Bb%3Dc%26d%2Be%40f"),
        ("...", "..."),
        ("\\", "%5C"),
    ],
)
def test_a_job_id_is_one_percent_encoded_segment(
    router: JobRouter, client: JobRouterClient, job_id: str, segment: str
) -> None:
    router.add_job(job_id)
    client.cancel_job(CancellationRequest(job_id))
    assert client.get_job_status(job_id) == "cancelled"
    assert [(r.method, r.path, r.query) for r in router.requests] == [
        ("POST", f"/routing/jobs/{segment}:cancel", "api-version=2023-11-01"),
        ("GET", f"/routing/jobs/{segment}", "api-version=2023-11-01"),
    ]


def test_reading_a_job_sends_no_body(router: JobRouter, client: JobRouterClient) -> None:
    assert client.get_job_status("job-1") == "queued"
    assert router.requests[0].body == b""
    assert "content-type" not in router.requests[0].headers


def test_each_call_carries_its_own_client_request_id(router: JobRouter, client: JobRouterClient) -> None:
    client.get_job_status("job-1")
    client.get_job_status("job-1")
    first, second = (request.headers["x-ms-client-request-id"] for request in router.requests)
    assert uuid.UUID(first) != uuid.UUID(second)


def test_the_trace_goes_on_at_the_service(router: JobRouter, client: JobRouterClient) -> None:
    client.cancel_job(REQUEST, trace_parent=TRACE_PARENT)
    client.get_job_status("job-1", trace_parent=TRACE_PARENT)
    assert [request.headers["traceparent"] for request in router.requests] == [TRACE_PARENT] * 2


def test_without_a_trace_there_is_no_traceparent(router: JobRouter, client: JobRouterClient) -> None:
    client.cancel_job(REQUEST)
    assert "traceparent" not in router.requests[0].headers


def test_the_api_version_can_be_chosen(router: JobRouter) -> None:
    client = JobRouterClient.from_connection_string(router.connection_string, api_version="2099-01-01&x")
    with pytest.raises(JobRouterError, match="UnsupportedApiVersionValue"):
        client.get_job_status("job-1")
    assert router.requests[0].query == "api-version=2099-01-01%26x"
    client.close()


def test_the_services_request_id_is_returned(router: JobRouter, client: JobRouterClient) -> None:
    header, value = client.cancel_job(REQUEST)
    assert header in ("trace-id", "x-ms-request-id")
    assert uuid.UUID(value)
    assert value != router.requests[0].headers["x-ms-client-request-id"]


@pytest.mark.parametrize("router", ["recorded"], indirect=True)
def test_the_request_id_is_the_trace_that_the_request_belongs_to(client: JobRouterClient) -> None:
    assert client.cancel_job(REQUEST, trace_parent=TRACE_PARENT) == ("trace-id", TRACE_PARENT.split("-")[1])


def test_cookies_are_not_kept(router: JobRouter, client: JobRouterClient) -> None:
    router.faults.add(Fault("status", status=200, headers={"Set-Cookie": "a=b"}, body=b"{}"))
    client.cancel_job(REQUEST)
    client.cancel_job(REQUEST)
    assert "cookie" not in router.requests[1].headers


def test_a_netrc_never_replaces_the_signature(
    router: JobRouter, client: JobRouterClient, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    netrc = tmp_path / "netrc"  # type: ignore[operator]
    netrc.write_text("machine 127.0.0.1 login u password p\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client.cancel_job(REQUEST)
    assert router.requests[0].headers["authorization"].startswith("HMAC-SHA256 ")


def test_one_connection_serves_many_calls(router: JobRouter, client: JobRouterClient) -> None:
    client.cancel_job(REQUEST)
    for _ in range(5):
        client.get_job_status("job-1")
    failure(client)
    client.get_job_status("job-1")
    assert router.connections_accepted == 1


def test_a_closed_client_opens_a_connection_anew(router: JobRouter, client: JobRouterClient) -> None:
    client.get_job_status("job-1")
    client.close()
    assert client.get_job_status("job-1") == "queued"
    assert router.connections_accepted == 2


def test_sixteen_threads_share_one_client(router: JobRouter, client: JobRouterClient) -> None:
    ids = [f"job-{number}" for number in range(160)]
    for job_id in ids:
        router.add_job(job_id)
    with ThreadPoolExecutor(16) as threads:
        request_ids = list(threads.map(lambda job_id: client.cancel_job(CancellationRequest(job_id, job_id)), ids))
    assert len(set(request_ids)) == len(ids)
    assert all(router.job(i).cancel_count == 1 and router.job(i).notes[0].message == i for i in ids)
    assert router.connections_accepted <= 16


# Answers of the service


def test_an_unknown_job_is_not_found(client: JobRouterClient) -> None:
    error = failure(client, CancellationRequest("nobody"))
    assert (error.status, error.code, error.target) in (
        (404, "NotFound", "/routing/jobs/nobody:cancel"),
        (404, "JobNotFound", "jobId"),
    )
    assert error.from_job_router
    assert error.request_id
    assert error.request_id.header in ("trace-id", "x-ms-request-id")


@pytest.mark.parametrize(
    "dialect, status, codes",
    [
        ("recorded", 400, ("BadRequest", "JobIsCancelled")),
        ("recorded", 404, ("NotFound", "NotFound")),
        ("recorded", 409, ("Conflict", "Conflict")),
        ("specified", 409, ("InvalidJobState", "InvalidJobState")),
    ],
)
def test_a_second_cancel_is_refused_with_the_services_words(
    dialect: Dialect, status: int, codes: tuple[str, str]
) -> None:
    with JobRouter(second_cancel=status, dialect=dialect) as router:
        router.add_job("job-1", "cancelled")
        with closing(JobRouterClient.from_connection_string(router.connection_string)) as client:
            error = failure(client)
    assert (error.status, (error.code, error.specific_code)) == (status, codes)
    assert "cancelled" in error.message


@pytest.mark.parametrize("status", [400, 403, 408, 429, 500, 503])
def test_an_error_status_is_raised(router: JobRouter, client: JobRouterClient, status: int) -> None:
    router.faults.add(Fault("status", status=status))
    assert failure(client).status == status
    assert len(router.requests) == 1


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({}, None),
    ],
)
def test_the_wait_that_is_asked_for_is_read(
    router: JobRouter, client: JobRouterClient, headers: dict[str, str], seconds: float | None
) -> None:
    router.faults.add(Fault("status", status=429, headers=headers))
    assert failure(client).retry_after == seconds


def test_a_wait_until_a_date_is_read(router: JobRouter, client: JobRouterClient) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    router.faults.add(Fault("status", status=503, retry_after=date))
    assert failure(client).retry_after == pytest.approx(600, abs=20)


@pytest.mark.parametrize(
    "body, message",
    [(b"<html><h1>Bad gateway</h1></html>", "Bad gateway"), (b"upstream gone", "upstream gone"), (b"", "")],
)
def test_a_gateways_answer_leaves_the_status(
    router: JobRouter, client: JobRouterClient, body: bytes, message: str
) -> None:
    router.faults.add(Fault("status", status=502, body=body))
    error = failure(client)
    assert (error.status, error.code, error.message) == (502, "Http502", message)


@pytest.mark.parametrize("body", [b"<html/>", b"[]", b'"ok"', b"null", b"{", b"[" * 100_000, b'{"a":"\xff"}'])
def test_a_success_that_is_not_a_json_object_is_not_job_router(
    router: JobRouter, client: JobRouterClient, body: bytes
) -> None:
    router.faults.add(Fault("status", status=200, body=body))
    error = failure(client)
    assert (error.status, error.code) == (200, NOT_JOB_ROUTER)


@pytest.mark.parametrize(
    "status, body",
    [
        (200, b""),
        (200, b" "),
        (201, b"{}"),
        (202, b"{}"),
        (204, b""),
        (206, b"{}"),
        (299, b"{}"),
        (200, b'{"error": null}'),
        (200, b'{"status": "Healthy", "Error": {"code": "x"}}'),
        (200, b'{"communicationError": {"code": "BadRequest"}}'),
    ],
)
def test_another_success_is_not_job_routers(
    router: JobRouter, client: JobRouterClient, status: int, body: bytes
) -> None:
    router.faults.add(Fault("status", status=status, body=body))
    error = failure(client)
    assert (error.status, error.code) == (status, NOT_JOB_ROUTER)


def test_a_job_with_many_long_notes_can_be_read(router: JobRouter, client: JobRouterClient) -> None:
    router.add_job("job-1", "cancelled", notes=tuple(Note(datetime.now(UTC), "n" * 200_000) for _ in range(5)))
    assert client.get_job_status("job-1") == "cancelled"


def test_a_status_that_repeats_the_note_is_not_told(router: JobRouter, client: JobRouterClient) -> None:
    router.faults.add(Fault("status", status=200, body=b'{"status":"CustomerJaneRoeLeft"}', times=None))
    assert client.get_job_status("job-1", private=("Customer Jane Roe left",)) == UNREADABLE
    assert client.get_job_status("job-1", private=("another note",)) == "CustomerJaneRoeLeft"


def test_no_note_hides_a_status_that_is_documented(router: JobRouter, client: JobRouterClient) -> None:
    router.add_job("job-1", "cancelled")
    assert client.get_job_status("job-1", private=("please have it cancelled",)) == "cancelled"


@pytest.mark.parametrize("body", [b"{}", b"\xef\xbb\xbf{}", b' {"added": {"later": [1]}} '])
def test_an_object_without_an_error_is_a_success(router: JobRouter, client: JobRouterClient, body: bytes) -> None:
    router.faults.add(Fault("status", status=200, body=body))
    assert client.cancel_job(REQUEST)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"status":null}', b'{"status":5}', b'{"status":""}', b'{"status":"two words"}', b""]
)
def test_a_job_without_a_status_is_not_job_router(router: JobRouter, client: JobRouterClient, body: bytes) -> None:
    router.faults.add(Fault("status", status=200, body=body))
    with pytest.raises(JobRouterError) as caught:
        client.get_job_status("job-1")
    assert caught.value.code == NOT_JOB_ROUTER


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(router: JobRouter, client: JobRouterClient, status: int) -> None:
    router.faults.add(Fault("redirect", status=status, times=None))
    assert failure(client).status == status
    assert len(router.requests) == 1


def test_a_denied_access_key_is_tried_once(router: JobRouter) -> None:
    client = JobRouterClient(router.endpoint, AccessKeyAuth("b3RoZXI="))
    assert failure(client).status == 401
    assert len(router.requests) == 1
    client.close()


def test_an_answer_beyond_the_limit_is_cut_not_read_to_its_end(router: JobRouter, client: JobRouterClient) -> None:
    router.faults.add(Fault("status", status=500, body=b"x" * 5_000_000))
    error = failure(client)
    assert error.status == 500
    assert len(error.message) == 500
    client.cancel_job(REQUEST)
    assert router.connections_accepted == 2


# The network


@pytest.mark.parametrize("kind", ["reset_before", "close"])
def test_a_connection_lost_before_the_work_is_a_failed_connection(
    router: JobRouter, client: JobRouterClient, kind: str
) -> None:
    router.faults.add(Fault(kind))  # type: ignore[arg-type]  # the parameter is one of the kinds
    error = failure(client)
    assert (error.status, error.code) == (None, CONNECTION_FAILED)
    sent = router.requests[0].headers["x-ms-client-request-id"]
    assert error.request_id == ("x-ms-client-request-id", sent)
    assert router.job("job-1").status == "queued"


def test_a_reset_after_the_work_is_not_tried_again_by_the_client(router: JobRouter, client: JobRouterClient) -> None:
    router.faults.add(Fault("reset_after"))
    error = failure(client)
    assert error.code == CONNECTION_FAILED
    assert "ConnectionResetError" in error.message
    assert router.job("job-1").cancel_count == 1
    assert len(router.requests) == 1


def test_half_a_body_is_a_failed_connection(router: JobRouter, client: JobRouterClient) -> None:
    router.faults.add(Fault("half_body"))
    assert failure(client).code == CONNECTION_FAILED


def test_a_refused_connection_is_a_failed_connection(router: JobRouter, client: JobRouterClient) -> None:
    router.down()
    error = failure(client)
    assert (error.status, error.code) == (None, CONNECTION_FAILED)
    assert "ConnectionRefusedError" in error.message


def test_the_client_recovers_when_the_service_does(router: JobRouter, client: JobRouterClient) -> None:
    client.get_job_status("job-1")
    router.down()
    failure(client)
    router.up()
    client.cancel_job(REQUEST)
    assert router.job("job-1").status == "cancelled"


def test_slow_headers_are_a_timeout(router: JobRouter) -> None:
    client = impatient(router)
    router.faults.add(Fault("delay", delay_seconds=20))
    started = time.monotonic()
    error = failure(client)
    assert (error.status, error.code) == (None, TIMEOUT)
    assert time.monotonic() - started < 5
    client.close()


def test_a_body_that_stops_is_a_timeout(router: JobRouter) -> None:
    client = impatient(router)
    router.faults.add(Fault("slow_body", delay_seconds=20))  # a byte a second, each later than the read timeout
    assert failure(client).code == TIMEOUT
    client.close()


def test_a_body_that_drips_is_bounded_as_a_whole(router: JobRouter) -> None:
    client = impatient(router)
    # More than 200 bytes: each comes well within the read timeout, the whole would take 10 seconds.
    router.faults.add(Fault("slow_body", delay_seconds=10))
    router.add_job("job-1", labels={"padding": "x" * 200})
    started = time.monotonic()
    with pytest.raises(JobRouterError) as caught:
        client.get_job_status("job-1")
    assert caught.value.code == TIMEOUT
    assert time.monotonic() - started < 5
    client.close()


# The endpoint


@pytest.mark.parametrize(
    "endpoint, normalised",
    [
        ("https://x.communication.azure.com", "https://x.communication.azure.com"),
        (" https://x.communication.azure.com/ ", "https://x.communication.azure.com"),
        ("HTTPS://X.Communication.Azure.com:443/", "https://x.communication.azure.com"),
        ("https://x:8443", "https://x:8443"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://localhost:80/", "http://localhost"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_an_endpoint_is_reduced_to_its_authority(endpoint: str, normalised: str) -> None:
    assert normalise_endpoint(endpoint) == normalised


@pytest.mark.parametrize(
    "endpoint",
    ["http://x.communication.azure.com", "http://10.0.0.1", "http://localhost.example.com", "ftp://localhost", "//x"],
)
def test_a_key_is_sent_over_https_or_to_loopback_only(endpoint: str) -> None:
    with pytest.raises(ValueError, match="is not an https URL"):
        JobRouterClient(endpoint, AccessKeyAuth(DEVELOPMENT_ACCESS_KEY))


@pytest.mark.parametrize(
    "endpoint",
    ["", "x", "https://", "https://x/path", "https://x?q=1", "https://x#f", "https://u@x", "https://x:99999"],
)
def test_what_is_not_a_resources_url_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="is not the URL of a Communication Services resource"):
        normalise_endpoint(endpoint)


@pytest.mark.parametrize(
    "connection_string, missing",
    [
        ("", "has no endpoint and no accesskey"),
        ("endpoint=https://x", "has no accesskey"),
        ("accesskey=a2V5;", "has no endpoint"),
        ("endpoint=;accesskey=a2V5", "has no endpoint"),
        ("a2V5", "has no endpoint and no accesskey"),
    ],
)
def test_a_connection_string_names_what_it_lacks(connection_string: str, missing: str) -> None:
    with pytest.raises(ValueError, match=missing) as caught:
        JobRouterClient.from_connection_string(connection_string)
    assert "a2V5" not in str(caught.value)


def test_a_connection_string_is_read_whatever_its_case_and_order(router: JobRouter) -> None:
    text = f" AccessKey = {DEVELOPMENT_ACCESS_KEY} ;; Endpoint = {router.endpoint}/ ;"
    client = JobRouterClient.from_connection_string(text)
    assert client.get_job_status("job-1") == "queued"
    client.close()
