"""The measurement of single calls in small: what it gives back, and that it counts what really happened."""

from __future__ import annotations

import os

import pytest

from bench import calls, clients
from bench.fast_server import fast_server
from bench.rows import Measured


@pytest.fixture(scope="module")
def measured() -> Measured:
    return calls.measure(1, calls.Counts(warm_up=1, turns=2, cancels=2, threads=4, tls_cancels=20))


def test_every_peer_stands_beside_ours(measured: Measured) -> None:
    over_http = [row for row in measured.rows if row.what == "CPU per cancel_job (HMAC)"]
    assert [row.peer_name for row in over_http] == [name for name in clients.ALL if name != clients.OURS]
    assert len({row.ours for row in over_http}) == 1


def test_the_goals_are_those_of_the_sdk_of_http_client_and_of_the_handshakes(measured: Measured) -> None:
    assert [(row.peer_name, row.limit) for row in measured.rows if row.limit is not None] == [
        (clients.SDK, 0.33),
        (clients.RAW, 2.5),
        ("", 16),
    ]


def test_all_figures_are_positive(measured: Measured) -> None:
    assert len(measured.rows) == 8
    for row in measured.rows:
        assert row.ours.low > 0
        assert row.peer is None or row.peer.low > 0


@pytest.mark.parametrize("name", clients.ALL)
def test_each_client_really_cancels(name: str) -> None:
    with clients.environment(), fast_server() as server, clients.ALL[name](server.endpoint) as cancel:
        for number in range(3):
            cancel(f"job-{number}")
        assert server.counted().requests == 3


@pytest.mark.parametrize("name", [name for name in clients.ALL if name != "requests.post"])
def test_each_client_but_the_simplest_keeps_its_connection(name: str) -> None:
    with clients.environment(), fast_server() as server, clients.ALL[name](server.endpoint) as cancel:
        for number in range(3):
            cancel(f"job-{number}")
        assert server.counted().connections == 1


def test_the_environment_of_the_machine_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    before = dict(os.environ)
    with clients.environment(REQUESTS_CA_BUNDLE="bundle"):
        assert ("HTTPS_PROXY" in os.environ, os.environ["REQUESTS_CA_BUNDLE"]) == (False, "bundle")
    assert dict(os.environ) == before
