"""Answers that drip, break off or only announce another one: each call ends, and none takes another's answer."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from local.job_router import DEVELOPMENT_ACCESS_KEY, Fault, JobRouter
from shared.cancellation import CancellationRequest
from shared.job_router import AccessKeyAuth, JobRouterClient, JobRouterError
from shared.job_router_error import CONNECTION_FAILED, TIMEOUT
from tests.job_router.raw_server import RawServer

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_TIMEOUT = 0.5  # seconds
PAUSE = 0.05  # seconds; each byte comes well within the read timeout
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def client_of(endpoint: str) -> closing[JobRouterClient]:
    auth = AccessKeyAuth(DEVELOPMENT_ACCESS_KEY)
    return closing(JobRouterClient(endpoint, auth, connect_timeout=1.0, read_timeout=READ_TIMEOUT))


def failure(endpoint: str) -> JobRouterError:
    with client_of(endpoint) as client, pytest.raises(JobRouterError) as caught:
        client.cancel_job(CancellationRequest("job-1"))
    return caught.value


@pytest.mark.parametrize(
    "pieces, endless",
    [
        ([], b""),
        ([b"H"], b"T"),
        ([HEAD], b"x"),
        ([HEAD], b"X-More: header\r\n"),
        ([], b"HTTP/1.1 100 Continue\r\n\r\n"),
        ([HEAD + b"Content-Length: 9999\r\n\r\n"], b" "),
        ([HEAD + b"\r\n"], b" "),
        ([CHUNKED], b"0"),
        ([CHUNKED], b"1\r\n \r\n"),
        ([CHUNKED, b"2;"], b"x"),
        ([CHUNKED, b"2\r\n{}\r\n0\r\n"], b"Trailer: x\r\n"),
    ],
    ids=[
        *("nothing", "status line", "a header", "headers", "100 Continue", "body", "body without a length"),
        *("chunk size", "chunks", "chunk extension", "trailers"),
    ],
)
def test_an_answer_that_drips_ends_with_the_read_timeout(pieces: list[bytes], endless: bytes) -> None:
    with RawServer(pieces, endless=endless, pause=PAUSE) as server:
        started = time.monotonic()
        error = failure(server.endpoint)
        assert time.monotonic() - started < READ_TIMEOUT + 2
    # A hundred headers are refused by http.client itself.
    assert error.code in ((TIMEOUT, CONNECTION_FAILED) if endless == b"X-More: header\r\n" else (TIMEOUT,))


def test_interim_answers_without_end_and_without_a_pause_end_with_the_read_timeout() -> None:
    with RawServer([], endless=b"HTTP/1.1 100 Continue\r\n\r\n" * 1000) as server:
        started = time.monotonic()
        assert failure(server.endpoint).code == TIMEOUT
        assert time.monotonic() - started < READ_TIMEOUT + 2


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 10\r\n\r\n{}",
        CHUNKED + b"2\r\n{}",
        CHUNKED + b"2\r\n{}\r\n",
        CHUNKED + b"2\r\n{}\r\n5\r\n  ",
        CHUNKED + b"zz\r\n{}\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
    ids=range(9),
)
def test_an_answer_that_breaks_off_or_cannot_be_read_is_a_failed_connection(answer: bytes) -> None:
    class Once(RawServer):
        def _serve(self, connection: object) -> None:
            self._pause = 0.0
            super()._serve(connection)  # type: ignore[arg-type]

        def _all_pieces(self) -> Iterator[bytes]:
            yield answer
            raise OSError("the server closes the connection")

    with Once([]) as server:
        assert failure(server.endpoint).code == CONNECTION_FAILED


def test_a_slow_answer_leaves_its_connection_whole_for_the_next_request() -> None:
    answer = HEAD + b"Content-Length: 2\r\n\r\n{}"
    with (
        RawServer([answer[:20], answer[20:]], pause=READ_TIMEOUT * 0.3) as server,
        client_of(server.endpoint) as client,
    ):
        for _ in range(3):
            client.cancel_job(CancellationRequest("job-1"))
        assert server.connections == 1


@pytest.mark.parametrize("status", [101, 102, 103, 199])
def test_an_interim_answer_in_the_place_of_the_last_one_is_a_failed_connection(status: int) -> None:
    with JobRouter() as router:
        router.add_job("job-1")
        router.faults.add(Fault("interim", status=status))
        error = failure(router.endpoint)
        assert (error.status, error.code) == (None, CONNECTION_FAILED)
        assert f"interim answer ({status})" in error.message


@pytest.mark.parametrize("status", [101, 102, 103, 199])
def test_no_call_takes_the_late_answer_of_another_one(status: int) -> None:
    with JobRouter() as router, client_of(router.endpoint) as client:
        router.add_job("job-a")
        router.faults.add(Fault("interim", job_id="job-a", status=status, delay_seconds=0.1))
        with pytest.raises(JobRouterError):
            client.cancel_job(CancellationRequest("job-a"))
        time.sleep(0.2)  # until the true answer has come on the first connection
        with pytest.raises(JobRouterError) as caught:
            client.cancel_job(CancellationRequest("job-b"))
        assert caught.value.status == 404
        assert router.connections_accepted == 2


def test_a_call_is_bounded_whatever_the_timeouts_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.job_router.CALL_SECONDS", 1.0)
    auth = AccessKeyAuth(DEVELOPMENT_ACCESS_KEY)
    with RawServer([]) as server, closing(JobRouterClient(server.endpoint, auth, read_timeout=60.0)) as client:
        started = time.monotonic()
        with pytest.raises(JobRouterError) as caught:
            client.cancel_job(CancellationRequest("job-1"))
        assert caught.value.code == TIMEOUT
        assert time.monotonic() - started < 3


def test_a_peer_that_never_answers_the_tls_handshake_is_a_timeout() -> None:
    with RawServer([]) as server:
        started = time.monotonic()
        assert failure(server.endpoint.replace("http:", "https:")).code == TIMEOUT
        assert time.monotonic() - started < 3
