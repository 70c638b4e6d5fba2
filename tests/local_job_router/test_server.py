"""Starting, stopping, connections, and what is remembered of requests."""

import http.client
import logging
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.job_router import Fault, JobRouter
from tests.local_job_router.calls import BEARER, CANCEL_JOB_1, GET_JOB_1, GOOD_TOKEN, call, call_on, cancel


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("job-router")]


def exchange_raw(router: JobRouter, sent: bytes) -> bytes:
    """Send bytes, say that no more will come, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", router.port), timeout=5) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


def test_endpoint_and_connection_string_name_the_port(router: JobRouter) -> None:
    assert router.endpoint == f"http://127.0.0.1:{router.port}"
    assert re.fullmatch(rf"endpoint={router.endpoint}/;accesskey=[\w+/=]+", router.connection_string)


def test_the_port_is_not_known_before_the_start() -> None:
    with pytest.raises(RuntimeError, match=r"Call start\(\) first"):
        _ = JobRouter().endpoint


def test_starting_and_stopping_twice_is_the_same_as_once() -> None:
    router = JobRouter()
    router.start()
    port = router.port
    router.start()
    assert router.port == port
    router.stop()
    router.stop()
    router.down()
    assert own_threads() == []


def test_stop_closes_open_connections_and_leaves_no_thread(router: JobRouter) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=5)
    call_on(connection, "GET", GET_JOB_1)
    router.stop()
    assert connection.sock.recv(1) == b""
    connection.close()
    assert own_threads() == []


@pytest.mark.parametrize("kind", ["delay", "slow_body", "reset_before", "reset_after", "close"])
def test_stop_does_not_wait_for_a_delay(router: JobRouter, kind: str) -> None:
    router.faults.add(Fault(kind, delay_seconds=60))  # type: ignore[arg-type]  # one of the kinds
    with socket.create_connection(("127.0.0.1", router.port), timeout=5) as connection:
        connection.sendall(f"GET {GET_JOB_1} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while router.requests_handled == 0:
            time.sleep(0.001)
        started = time.monotonic()
        router.stop()
    assert time.monotonic() - started < 2


def test_while_down_connections_are_refused_and_open_ones_closed(router: JobRouter) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=5)
    call_on(connection, "GET", GET_JOB_1)
    router.down()
    assert connection.sock.recv(1) == b""
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        cancel(router)


def test_up_listens_again_on_the_same_port_with_the_same_jobs(router: JobRouter) -> None:
    endpoint = router.endpoint
    cancel(router)
    router.down()
    router.down()
    router.up()
    assert router.endpoint == endpoint
    assert call(router, "GET", GET_JOB_1).document["status"] == "cancelled"


def test_a_router_stopped_while_down_can_start_again(router: JobRouter) -> None:
    router.down()
    router.stop()
    router.start()
    assert cancel(router).status == 200


def test_a_port_that_is_taken_is_an_error_at_the_start(router: JobRouter) -> None:
    second = JobRouter(port=router.port)
    with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
        second.start()
    second.stop()


def test_requests_on_one_connection_share_it(router: JobRouter) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=5)
    for _ in range(3):
        assert call_on(connection, "GET", GET_JOB_1).status == 200
    port = connection.sock.getsockname()[1]
    connection.close()
    assert (router.connections_accepted, router.requests_handled) == (1, 3)
    assert {request.client_port for request in router.requests} == {port}


def test_pipelined_requests_are_answered_in_order(router: JobRouter) -> None:
    request = f"GET {GET_JOB_1} HTTP/1.1\r\nHost: x\r\nx-ms-client-request-id: %d\r\n\r\n"
    received = exchange_raw(router, "".join(request % number for number in range(3)).encode())
    assert re.findall(rb"x-ms-client-request-id: (\d)", received) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("request_line", ["GET / HTTP/1.0\r\n", "GET / HTTP/1.1\r\nConnection: close\r\n"])
def test_a_client_that_wants_the_connection_closed_gets_it_closed(router: JobRouter, request_line: str) -> None:
    with socket.create_connection(("127.0.0.1", router.port), timeout=5) as connection:
        connection.sendall(f"{request_line}Host: x\r\n\r\n".encode())
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert b"Connection: close" in received


def test_a_chunked_body_is_read(router: JobRouter) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=5)
    connection.request("POST", CANCEL_JOB_1, iter([b'{"note":', b'"n"}']), BEARER, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert router.job("job-1").notes[0].message == "n"


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(router: JobRouter) -> None:
    head = f"POST {CANCEL_JOB_1} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
    received = exchange_raw(router, f"{head}Authorization: Bearer {GOOD_TOKEN}\r\n\r\n{{}}".encode())
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_a_head_request_is_answered_without_a_body(router: JobRouter) -> None:
    received = exchange_raw(router, f"HEAD {GET_JOB_1} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert received.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "sent, status",
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nName : value\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nx: " + b"x" * 500_000, 431),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 500_000, 400),
    ],
)
def test_a_request_that_cannot_be_read_is_answered_and_the_connection_closed(
    router: JobRouter, sent: bytes, status: int
) -> None:
    received = exchange_raw(router, sent)
    assert received.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"x-ms-request-id: " in received


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"POST / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_a_request_that_breaks_off_is_not_answered(router: JobRouter, sent: bytes) -> None:
    assert exchange_raw(router, sent) == b""
    assert router.requests == []


def test_a_request_is_recorded_as_it_was_received(router: JobRouter) -> None:
    router.add_job("a b")
    cancel(router, "a%20b", body=b'{"note": "n"}')
    [request] = router.requests
    assert (request.method, request.path, request.query) == (
        "POST",
        "/routing/jobs/a%20b:cancel",
        "api-version=2023-11-01",
    )
    assert (request.body, request.status) == (b'{"note": "n"}', 200)
    assert request.headers["authorization"] == f"Bearer {GOOD_TOKEN}"
    assert request.time.tzinfo is not None


def test_without_recording_requests_are_only_counted() -> None:
    with JobRouter(record=False) as router:
        cancel(router)
        assert (router.requests, router.requests_handled) == ([], 1)


def test_the_service_time_passes_before_every_answer() -> None:
    with JobRouter(service_time_seconds=0.05) as router:
        started = time.monotonic()
        cancel(router)
        assert time.monotonic() - started >= 0.05


def test_of_many_simultaneous_cancels_exactly_one_is_accepted(router: JobRouter) -> None:
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: cancel(router).status, range(64)))
    assert sorted(statuses) == [200] + [409] * 63
    assert router.job("job-1").cancel_count == 1
    assert (router.requests_handled, len(router.requests), router.connections_accepted) == (64, 64, 64)


def test_a_failing_token_verifier_is_answered_with_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: str) -> bool:
        raise LookupError("no such token store")

    with JobRouter(token_verifier=fail) as router, caplog.at_level(logging.ERROR):
        assert cancel(router).status == 500
    assert "no such token store" in caplog.text
