"""A short soak, and that its checker sees what it is there to see."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from local.job_router import Dialect, Job, Note
from local.service_bus import StoredMessage
from local.soak.__main__ import soak
from local.soak.checker import check
from local.soak.plan import CANCELLED, SECRET_NOTE, Planned, plan

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "second_cancel, dialect", [(200, "specified"), (400, "recorded"), (404, "recorded"), (409, "recorded")]
)
def test_a_short_soak_finds_nothing(tmp_path: Path, second_cancel: int, dialect: Dialect) -> None:
    report = soak(SEED, 300, tmp_path, longest_pause=0.6, second_cancel=second_cancel, dialect=dialect)
    assert vars(report.findings) == {name: [] for name in vars(report.findings)}
    assert report.left == 0
    assert report.mishaps["kill"]
    assert report.dead_letters == sum(message.expected != CANCELLED for message in plan(SEED, 300))


def test_a_seed_replays() -> None:
    assert plan(SEED, 500) == plan(SEED, 500) != plan(SEED + 1, 500)


def test_a_plan_has_good_and_bad_messages_and_faults() -> None:
    planned = plan(SEED, 1000)
    assert len(planned) == 1000
    assert len({message.message_id for message in planned}) == 1000
    assert {message.expected for message in planned} >= {CANCELLED, "JobNotFound", "InvalidCancellation"}
    assert len({message.fault.kind for message in planned if message.fault}) == 10


NOW = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = Planned("m-1", "good", "{}", CANCELLED, "job-1", "queued", "a note")
BAD = Planned("m-2", "unknown job", "{}", "JobNotFound", "ghost", None, "a note")
DONE = Job("job-1", "cancelled", NOW, notes=(Note(NOW, "a note"),), disposition_code="code-job-1", cancel_count=1)
BYSTANDER = Job("bystander-job-1", "queued", NOW)


def letter(message_id: str, reason: str | None = "JobNotFound", description: str | None = "It is so.") -> StoredMessage:
    properties = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
    return StoredMessage(1, message_id, "active", 0, NOW, NOW, properties, b"")


def wrong(jobs: list[Job], letters: list[StoredMessage], logs: list[Path] | None = None) -> set[str]:
    """The kinds of things that the checker finds wrong."""
    return {name for name, found in vars(check([GOOD, BAD], jobs, letters, logs or [])).items() if found}


def test_all_in_its_place_is_nothing_wrong() -> None:
    assert wrong([DONE, BYSTANDER], [letter("m-2")]) == set()


def test_a_job_that_still_runs_is_a_lost_message() -> None:
    assert wrong([replace(DONE, status="queued", cancel_count=0)], [letter("m-2")]) == {"lost"}


def test_a_bad_message_that_is_nowhere_is_lost() -> None:
    assert wrong([DONE], []) == {"lost"}


def test_a_good_message_among_the_dead_letters_is_seen() -> None:
    assert wrong([DONE], [letter("m-1"), letter("m-2")]) == {"good_dead_lettered"}


@pytest.mark.parametrize(
    "dead", [letter("m-2", None), letter("m-2", description=None), letter("m-2", "MaxDeliveryCountExceeded")]
)
def test_a_dead_letter_without_its_reason_is_seen(dead: StoredMessage) -> None:
    assert wrong([DONE], [dead]) == {"without_reason"}


@pytest.mark.parametrize(
    "jobs",
    [
        [DONE, replace(BYSTANDER, cancel_count=1)],
        [replace(DONE, cancel_count=2)],
        [replace(DONE, notes=(Note(NOW, "another note"),))],
        [replace(DONE, disposition_code="code-job-2")],
    ],
    ids=["bystander", "twice", "note", "code"],
)
def test_a_wrong_cancel_is_seen(jobs: list[Job]) -> None:
    assert wrong(jobs, [letter("m-2")]) == {"wrong_cancels"}


def test_a_note_in_a_description_or_a_log_is_seen(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text(f"it said: {SECRET_NOTE}")
    assert wrong([DONE], [letter("m-2", description=f"About {SECRET_NOTE}")]) == {"secrets_told"}
    assert wrong([DONE], [letter("m-2")], [log]) == {"secrets_told"}
