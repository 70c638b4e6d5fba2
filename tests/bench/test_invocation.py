"""The measurement of whole invocations in small: what it gives back, and that every message was cancelled."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import clients, invocation
from bench.fast_server import fast_server
from bench.invocation_side import side
from bench.rows import Measured

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def measured() -> Measured:
    return invocation.measure(1, invocation.Counts(warm_up=2, turns=2, invocations=2))


def test_the_whole_and_what_is_above_the_call_stand_beside_the_plain_functions(measured: Measured) -> None:
    assert [(row.what, row.peer_name) for row in measured.rows] == [
        ("CPU per whole invocation", "plain function"),
        ("CPU per invocation above a bare http.client call", "plain function"),
        ("CPU per invocation above its own client's call", "plain function"),
    ]


def test_an_invocation_costs_something(measured: Measured) -> None:
    whole = measured.rows[0]
    assert whole.peer is not None
    assert min(whole.ours.low, whole.peer.low) > 0


@pytest.mark.parametrize("app, client", [(ROOT, clients.OURS), (ROOT / "bench" / "plain", clients.SDK)])
def test_each_invocation_and_each_bare_call_cancels_once(app: Path, client: str) -> None:
    with clients.environment(), fast_server() as server, side(app, server.endpoint, client) as running:
        turn = running.turn(3)
        assert server.counted().requests == 6
    assert min(turn) > 0


def test_a_function_that_fails_stops_the_measurement(tmp_path: Path) -> None:
    app = invocation.write_app(tmp_path, "def main(message, context):\n    raise ValueError('told')\n")
    with side(app, "http://127.0.0.1:1", None) as running, pytest.raises(RuntimeError, match="told"):
        running.turn(1)
