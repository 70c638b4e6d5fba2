"""A running Job Router with one queued job, which takes one bearer token besides its access key."""

from collections.abc import Iterator

import pytest

from local.job_router import JobRouter
from tests.local_job_router.calls import GOOD_TOKEN


@pytest.fixture
def router() -> Iterator[JobRouter]:
    with JobRouter(token_verifier=lambda token: token == GOOD_TOKEN) as running:
        running.add_job("job-1")
        yield running
