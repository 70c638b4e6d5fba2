"""Every kind of fault, as a client meets it."""

import http.client
import time

import pytest

from local.job_router import Fault, JobRouter
from tests.local_job_router.calls import CANCEL_JOB_1, GET_JOB_1, call, cancel


def test_a_status_fault_answers_with_a_documented_error_and_cancels_nothing(router: JobRouter) -> None:
    router.faults.add(Fault("status", status=429, retry_after="7", headers={"retry-after-ms": "7000"}))
    answer = cancel(router)
    assert answer.status == 429
    assert (answer.headers["Retry-After"], answer.headers["retry-after-ms"]) == ("7", "7000")
    assert answer.error["code"] == answer.headers["x-ms-error-code"] == "TooManyRequests"
    assert router.job("job-1").status == "queued"


@pytest.mark.parametrize(
    "body, content_type",
    [(b"<html>", "text/html"), (b'{"a": 1}', "application/json"), (b"upstream", "text/plain"), (b"", None)],
)
def test_a_status_fault_can_answer_with_a_body_of_its_own(
    router: JobRouter, body: bytes, content_type: str | None
) -> None:
    router.faults.add(Fault("status", status=502, body=body))
    answer = cancel(router)
    assert (answer.status, answer.body, answer.headers.get("Content-Type")) == (502, body, content_type)


@pytest.mark.parametrize("status", [204, 304, 599])
def test_the_connection_survives_a_status_fault(router: JobRouter, status: int) -> None:
    router.faults.add(Fault("status", status=status))
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=5)
    for expected in (status, 401):
        connection.request("GET", GET_JOB_1)
        response = connection.getresponse()
        response.read()
        assert response.status == expected
    connection.close()
    assert router.connections_accepted == 1


def test_a_delay_fault_answers_late_with_the_usual_answer(router: JobRouter) -> None:
    router.faults.add(Fault("delay", delay_seconds=0.1))
    started = time.monotonic()
    assert cancel(router).status == 200
    assert time.monotonic() - started >= 0.1


def test_a_client_that_gives_up_on_a_delayed_answer_has_cancelled_the_job(router: JobRouter) -> None:
    router.faults.add(Fault("delay", delay_seconds=60))
    with pytest.raises(TimeoutError):
        cancel(router, timeout=0.1)
    assert router.job("job-1").status == "cancelled"
    assert [request.status for request in router.requests] == [200]


def test_a_slow_body_drips_after_the_headers_and_is_still_valid_json(router: JobRouter) -> None:
    router.faults.add(Fault("slow_body", delay_seconds=0.2))
    started = time.monotonic()
    # Shorter than the whole and longer than the pause between two bytes: a timeout per read never strikes.
    answer = cancel(router, timeout=0.15)
    assert time.monotonic() - started >= 0.2
    assert answer.document == {}


def test_reset_before_resets_the_connection_and_cancels_nothing(router: JobRouter) -> None:
    router.faults.add(Fault("reset_before"))
    with pytest.raises(ConnectionResetError):
        cancel(router)
    assert router.job("job-1").status == "queued"
    assert [request.status for request in router.requests] == [None]


def test_reset_after_cancels_the_job_and_resets_the_connection(router: JobRouter) -> None:
    router.faults.add(Fault("reset_after"))
    with pytest.raises(ConnectionResetError):
        cancel(router)
    assert router.job("job-1").status == "cancelled"
    assert [request.status for request in router.requests] == [None]


def test_close_ends_the_connection_without_an_answer_and_cancels_nothing(router: JobRouter) -> None:
    router.faults.add(Fault("close"))
    with pytest.raises(http.client.RemoteDisconnected):
        cancel(router)
    assert router.job("job-1").status == "queued"


def test_half_body_cancels_the_job_and_breaks_off_the_answer(router: JobRouter) -> None:
    router.faults.add(Fault("half_body"))
    with pytest.raises(http.client.IncompleteRead) as caught:
        cancel(router)
    assert caught.value.partial == b"{"
    assert router.job("job-1").status == "cancelled"


@pytest.mark.parametrize("status", [None, 503])
def test_not_json_answers_with_a_page(router: JobRouter, status: int | None) -> None:
    router.faults.add(Fault("not_json", status=status))
    answer = cancel(router)
    assert (answer.status, answer.headers["Content-Type"]) == (status or 200, "text/html")
    assert answer.body.startswith(b"<!DOCTYPE html>")


def test_a_redirect_leads_elsewhere_on_the_same_server_by_default(router: JobRouter) -> None:
    router.faults.add(Fault("redirect"))
    answer = cancel(router)
    assert (answer.status, answer.headers["Location"]) == (302, f"{router.endpoint}/moved")


def test_a_redirect_can_name_its_status_and_location(router: JobRouter) -> None:
    router.faults.add(Fault("redirect", status=308, headers={"Location": "https://example.org/"}))
    answer = cancel(router)
    assert (answer.status, answer.headers["Location"]) == (308, "https://example.org/")


def test_faults_are_met_in_the_order_they_were_added_and_then_no_more(router: JobRouter) -> None:
    router.faults.add(Fault("status", status=503, times=2), Fault("status", status=429))
    assert [cancel(router).status for _ in range(4)] == [503, 503, 429, 200]
    assert router.faults.pending == []


def test_a_fault_befalls_only_the_job_and_method_it_names(router: JobRouter) -> None:
    router.add_job("a/b")
    router.faults.add(Fault("status", job_id="a/b", method="POST"))
    assert cancel(router).status == 200
    assert call(router, "GET", "/routing/jobs/a%2Fb?api-version=2023-11-01").status == 200
    assert cancel(router, "a%2Fb").status == 503


def test_a_fault_without_end_lasts_until_it_is_removed(router: JobRouter) -> None:
    fault = Fault("status", times=None)
    router.faults.add(fault)
    assert [cancel(router).status for _ in range(3)] == [503, 503, 503]
    router.faults.remove(fault)
    assert cancel(router).status == 200


def test_clear_removes_every_fault(router: JobRouter) -> None:
    router.faults.add(Fault("status", times=None), Fault("close", times=None))
    router.faults.clear()
    assert call(router, "POST", CANCEL_JOB_1).status == 200


def test_a_fault_that_cannot_be_played_is_refused_when_it_is_written_down() -> None:
    with pytest.raises(ValueError, match="'explode' is not a kind of fault"):
        Fault("explode")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="times is 0"):
        Fault("close", times=0)
