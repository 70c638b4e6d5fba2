"""Cold start in small: fresh workers cancel real jobs, and the rows have ours beside both peers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench import cold_start
from bench.outage.side import make_certificate
from bench.worker import OURS, PLAIN, PLAIN_COMPLETE, PLAIN_ENTRA, run_worker
from local.identity import IdentityEndpoint
from local.job_router import JobRouter

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("app", [OURS, PLAIN, PLAIN_COMPLETE], ids=lambda app: app.name)
def test_a_fresh_worker_cancels_a_real_job_with_an_access_key(app: Path, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with JobRouter(tls=certificate.server) as router:
        router.add_job("job-0")
        settings = {"JOB_ROUTER_CONNECTION_STRING": router.connection_string}
        (reached,) = run_worker(app, settings, certificate.authority, (1,))
        assert router.job("job-0").status == "cancelled"
    assert reached.handled == 1
    assert reached.cpu_seconds > 0
    assert reached.at > 0


@pytest.mark.parametrize("app", [OURS, PLAIN_ENTRA, PLAIN_COMPLETE], ids=lambda app: app.name)
def test_a_fresh_worker_cancels_a_real_job_with_entra_id(app: Path, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with IdentityEndpoint() as identity, JobRouter(tls=certificate.server, token_verifier=identity.verify) as router:
        router.add_job("job-0")
        settings = {"JOB_ROUTER_ENDPOINT": router.endpoint, **identity.environment}
        run_worker(app, settings, certificate.authority, (1,))
        assert router.job("job-0").status == "cancelled"
        assert router.requests[0].headers["authorization"].startswith("Bearer ")


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="JOB_ROUTER_CONNECTION_STRING"):
        run_worker(PLAIN, {}, make_certificate(tmp_path).authority, (1,))


def test_the_rows_have_ours_beside_both_peers_for_both_ways_to_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "STARTS_A_ROUND", 1)
    rows = cold_start.measure(1).rows
    goals = {row.what: row.limit for row in rows if row.limit is not None}
    assert goals == {"cold start, access key": 0.60, "cold start, Entra ID": 0.85}
    assert {row.peer_name for row in rows} == {cold_start.COMPLETE, cold_start.SHORT}
    assert all(row.ratio and row.ours.median > 0 and row.unit == "ms" for row in rows)
