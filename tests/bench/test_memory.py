"""Memory in small: the messages are handled by sixteen threads, and the rows have their shape."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from bench import memory
from bench.outage.side import make_certificate
from bench.worker import OURS, run_worker
from local.job_router import JobRouter

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the figures come from /proc")


def test_a_worker_cancels_each_job_once_and_tells_its_memory_on_the_way(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with JobRouter(tls=certificate.server) as router:
        for number in range(64):
            router.add_job(f"job-{number}")
        settings = {"JOB_ROUTER_CONNECTION_STRING": router.connection_string}
        few, many = run_worker(OURS, settings, certificate.authority, (20, 64), threads=16)
        assert {job.status for job in router.jobs()} == {"cancelled"}
        assert len(router.requests) == 64
    assert (few.handled, many.handled) == (20, 64)
    assert 0 < few.rss_kib <= few.peak_kib <= many.peak_kib


def test_growth_stands_for_itself_and_the_peak_beside_the_plain_functions() -> None:
    growth, *peaks = memory.measure(1, few=32, many=64).rows
    assert (growth.unit, growth.limit, growth.peer) == ("MiB", 2.0, None)
    assert len(peaks) == 2
    assert all(row.limit == 1.0 and row.ratio for row in peaks)


def test_without_proc_there_is_nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.memory.Path.exists", lambda _: False)
    assert memory.measure(1).rows == []
