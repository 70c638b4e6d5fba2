"""A running Job Router with one queued job, which takes one bearer token besides its access key.

It answers as specified, which says the most of what went wrong; test_recorded_answers.py holds the other dialect.
"""

from collections.abc import Iterator

import pytest

from local.job_router import JobRouter
from tests.local_job_router.calls import GOOD_TOKEN


@pytest.fixture
def router() -> Iterator[JobRouter]:
    with JobRouter(dialect="specified", token_verifier=lambda token: token == GOOD_TOKEN) as running:
        running.add_job("job-1")
        yield running
