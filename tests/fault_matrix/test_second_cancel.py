"""The answer to a second cancel was never seen: each that it may be ends a message that comes twice, and well."""

from __future__ import annotations

import pytest

from local.job_router import Dialect
from tests.fault_matrix.cases import CALLS, CANCELLED, Settling
from tests.fault_matrix.stage import play

# Each answer, and both dialects.
SECOND_CANCELS: list[tuple[int, Dialect]] = [
    (200, "specified"),
    (400, "recorded"),
    (404, "recorded"),
    (409, "specified"),
]
# A message that ends as a dead letter cancels nothing, so it cannot cancel twice.
CANCELLING = tuple(call for call in CALLS if call.end == CANCELLED)


@pytest.mark.parametrize("settling", Settling)
@pytest.mark.parametrize("second_cancel, dialect", SECOND_CANCELS)
def test_each_answer_to_a_second_cancel_ends_a_duplicate_well(
    second_cancel: int, dialect: Dialect, settling: Settling
) -> None:
    played = play(settling, CANCELLING, second_cancel=second_cancel, dialect=dialect)
    assert played.left == 0
    assert {job_id: [str(d) for d in dead] for job_id, dead in played.letters.items()} == {}
    assert {job.id: job.status for job in played.jobs.values() if job.status != "cancelled"} == {}
    assert max(job.cancel_count for job in played.jobs.values()) <= 1
    ended = {job_id: {line["outcome"] for line in played.lines[job_id]} for job_id in played.jobs}
    assert [job_id for job_id, outcomes in ended.items() if not outcomes & {"Cancelled", "AlreadyCancelled"}] == []
