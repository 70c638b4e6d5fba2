"""The queue's growth in small: what the measurement gives back. What a message costs, no test says."""

from __future__ import annotations

import pytest

from bench import queue_growth
from bench.broker_process import broker_process
from bench.fast_server import fast_server


def test_the_cost_per_message_is_measured_at_each_size() -> None:
    found = queue_growth.measure(1, sizes=(10, 600), handled=20)
    (row,) = found.rows
    assert row.peer
    assert (row.what, row.peer_name) == ("CPU per message, 600 waiting", "itself, 10 waiting")
    assert row.limit == pytest.approx(1.2)
    assert row.ours.median > 0
    (curve,) = found.curves
    assert list(curve.x) == [10, 600]
    assert curve.ours == [row.peer.median, row.ours.median]


def test_as_many_messages_as_asked_for_wait_behind_those_that_are_handled() -> None:
    with broker_process(["q"]) as broker, fast_server() as server:
        queue_growth._fill(broker, "q", 1_150)
        assert broker.counts("q").active == 1_150
        assert queue_growth._cpu_seconds(broker, "q", server.endpoint, 50) > 0
        counts = broker.counts("q")
        assert 0 <= 1_000 - counts.active - counts.locked <= 16  # what was in flight at the end may have been settled


def test_messages_that_were_postponed_instead_of_cancelled_are_no_measurement() -> None:
    with broker_process(["q"]) as broker:
        queue_growth._fill(broker, "q", 200)
        with pytest.raises(RuntimeError, match="should have been cancelled"):
            queue_growth._cpu_seconds(broker, "q", "https://", 50)
