"""The embedded Job Router, a client for it, and an environment without proxies and CA bundles of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.job_router import DIALECTS, JobRouter
from shared.job_router import JobRouterClient

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine sets for itself must not decide these tests."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(params=DIALECTS)
def router(request: pytest.FixtureRequest) -> Iterator[JobRouter]:
    with JobRouter(dialect=request.param) as running:
        running.add_job("job-1")
        yield running


@pytest.fixture
def client(router: JobRouter) -> Iterator[JobRouterClient]:
    client = JobRouterClient.from_connection_string(router.connection_string, connect_timeout=2.0, read_timeout=5.0)
    yield client
    client.close()
