"""Throughput in small: what the measurement gives back. How fast either side is, no test says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench import throughput

if TYPE_CHECKING:
    from pathlib import Path


def test_both_sides_are_measured_at_each_point() -> None:
    found = throughput.measure(1, seconds=0.2, in_flight=(1, 4, 16), service_times=(0.005,))
    assert [row.what for row in found.rows] == [
        "throughput, 1 in flight, service time 5 ms",
        "throughput, 16 in flight, service time 5 ms",
    ]
    for row in found.rows:
        assert row.peer
        assert (row.limit, row.more_is_better, row.unit) == (1.0, True, "/s")
        assert row.ours.median > 0
        assert row.peer.median > 0
    (curve,) = found.curves
    assert list(curve.x) == [1, 4, 16]
    assert len(curve.ours) == len(curve.peer) == 3


def test_the_goal_is_higher_where_cpu_is_the_limit() -> None:
    found = throughput.measure(1, seconds=0.1, in_flight=(64,), service_times=(0.02,))
    assert [row.limit for row in found.rows] == [1.5]


def test_a_worker_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with (
        throughput._Worker(throughput.Point(tmp_path / "nowhere", 1), {}) as worker,
        pytest.raises(RuntimeError, match=r"(?s)'nowhere' failed:.*ConfigurationError"),
    ):
        worker.cancel_for(0.1)
