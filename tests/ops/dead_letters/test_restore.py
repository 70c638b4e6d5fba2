"""`dead-letters restore`: an export is sent again once its letters have left the queue, each letter once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import proton
import pytest

from tests.ops.dead_letters.conftest import LISTENER, QUEUE, UNIQUE
from tests.ops.dead_letters.test_killed import KILLED, start

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ops.dead_letters.conftest import Site

NEW_EACH_TIME = "CancelJobResubmittedAt"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "letters.jsonl"


def purged(site: Site, file: Path) -> None:
    """All letters are in the file, and no longer in the queue."""
    assert site.run("export", str(file)).exit_code == 0
    assert site.run("purge", str(file), "--yes").exit_code == 0
    assert site.dead() == []


def seen(message: proton.Message) -> dict[str, Any]:
    """All of a message but the time at which it was sent again."""
    names = (
        "id",
        "body",
        "content_type",
        "subject",
        "reply_to",
        "correlation_id",
        "user_id",
        "priority",
        "annotations",
    )
    named = {name: (type(value), value) for name, value in message.properties.items() if name != NEW_EACH_TIME}
    return {"named": named} | {name: getattr(message, name) for name in names}


def test_without_yes_nothing_is_sent(site: Site, file: Path) -> None:
    site.bury_many(3)
    purged(site, file)

    result = site.run("restore", str(file))

    assert result.exit_code == 0
    assert "would be sent again" in result.stdout
    assert "Nothing was sent. To send 3 dead letters again, add --yes." in result.stderr
    assert site.sent() == []


def test_what_was_purged_is_sent_and_the_file_stays(site: Site, file: Path) -> None:
    jobs = site.bury_many(250)
    purged(site, file)
    before = file.read_bytes()

    result = site.run("restore", str(file), "--yes")

    assert (result.exit_code, result.stderr) == (0, "250 sent again.\n")
    assert site.sent_jobs() == sorted(jobs)
    assert file.read_bytes() == before


MESSAGES = {
    "JSON with a past": proton.Message(
        b'{"jobId": "job-1"}',
        id="order-1~aa",
        content_type="application/json",
        properties={"CancelJobAttempt": 17, "CancelJobMessageId": "order-1", "tenant": "north", "wide": 2**40},
    ),
    "broken UTF-8": proton.Message(b'{"jobId": "job-1", "x": "\xff"}', id="b"),
    "a value body": proton.Message('{"jobId": "job-1"}', id="v"),
    "no MessageId": proton.Message(b'{"jobId": "job-1"}'),
    "typed properties": proton.Message(
        b'{"jobId": "job-1"}',
        id=UUID(int=7),
        subject="s",
        reply_to="r",
        correlation_id="c",
        properties={"uuid": UUID(int=9), "yes": True, "half": 0.5, "nothing": None, "bytes": b"\xff\x00"},
    ),
    "a CloudEvent": proton.Message(
        b'{"jobId": "job-1"}', id="e", content_type="application/json", properties={"cloudEvents:specversion": "1.0"}
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_it_is_the_same_message_that_resubmit_sends(site: Site, file: Path, name: str) -> None:
    message = MESSAGES[name]
    message.inferred = isinstance(message.body, bytes)
    site.bury(message=message)
    site.run("export", str(file))

    assert site.run("resubmit", "--all", "--yes").exit_code == 0
    assert site.run("restore", str(file), "--yes").exit_code == 0

    by_resubmit, by_restore = (entry.message for entry in site.broker.queue(QUEUE).entries.values())
    assert seen(by_restore) == seen(by_resubmit)


def test_what_is_still_in_the_queue_is_left_to_resubmit(site: Site, file: Path) -> None:
    site.bury_many(3)
    site.run("export", str(file))
    site.run("resubmit", "--job", "job-1", "--yes")

    result = site.run("restore", str(file), "--yes")

    assert result.exit_code == 0
    assert f"2 dead letters of {file} still in the queue: use dead-letters resubmit" in result.stderr
    assert site.sent_jobs() == ["job-1", "job-1"]
    assert len(site.dead()) == 2


def test_where_all_are_still_in_the_queue_nothing_fits(site: Site, file: Path) -> None:
    site.bury("job-1")
    site.run("export", str(file))

    result = site.run("restore", str(file), "--yes")

    assert (result.exit_code, site.sent()) == (1, [])
    assert f"{file} holds no dead letter that fits and has left queue '{QUEUE}'." in result.stderr


@pytest.mark.parametrize(
    "options, expected",
    [(["--job", "job-1"], ["job-1"]), (["--reason", "http418"], ["job-9"])],
    ids=lambda given: " ".join(given),
)
def test_filters(site: Site, file: Path, options: list[str], expected: list[str]) -> None:
    site.bury_many(3)
    site.bury("job-9", reason="Http418")
    purged(site, file)

    site.run("restore", str(file), *options, "--yes")

    assert site.sent_jobs() == expected


def test_an_export_can_be_sent_to_another_queue(site: Site, file: Path) -> None:
    site.bury("job-1")
    site.run("export", str(file))

    result = site.run("restore", str(file), "--yes", "--queue", UNIQUE)

    assert result.exit_code == 0
    assert [json.loads(bytes(sent.body))["jobId"] for sent in site.sent(UNIQUE)] == ["job-1"]
    assert len(site.dead()) == 1


def test_a_body_that_is_no_cancellation_stays_in_the_file_until_it_is_mended_there(site: Site, file: Path) -> None:
    site.bury("job-1")
    site.bury(body=b'{"job_id": "job-2"}', reason="InvalidCancellation", message_id="m")
    purged(site, file)

    result = site.run("restore", str(file), "--yes")

    assert result.exit_code == 1
    assert (
        f"1 dead letter cannot be sent again: the body is no cancellation. Mend message.body of its line in {file}."
        in (" ".join(result.stderr.split()))
    )
    assert site.sent_jobs() == ["job-1"]
    file.write_text(file.read_text().replace("job_id", "jobId"))
    assert site.run("restore", str(file), "--job", "job-2", "--yes").exit_code == 0
    assert site.sent_jobs() == ["job-1", "job-2"]


@pytest.mark.parametrize(
    "change",
    [
        {"sequenceNumber": 3},
        {"messageId": "another"},
        {"identity": "0" * 32},
        {"message": {}},
        {"message": {"body": {"base64": ["!"]}, "header": {}, "properties": {}, "annotations": {}}},
        {"enqueued": 7},
    ],
    ids=str,
)
def test_a_line_that_is_not_as_it_was_written_stops_everything(
    site: Site, file: Path, change: dict[str, object]
) -> None:
    site.bury_many(2)
    purged(site, file)
    first, second = file.read_text().splitlines()
    file.write_text(f"{first}\n{json.dumps(json.loads(second) | change)}\n")

    result = site.run("restore", str(file), "--yes")

    assert (result.exit_code, site.sent()) == (2, [])
    assert f"Line 2 of {file} is not as `dead-letters export` wrote it. Nothing was done." in result.stderr


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"], ids=["empty", "not UTF-8"])
def test_a_file_without_letters(site: Site, file: Path, content: bytes) -> None:
    file.write_bytes(content)

    result = site.run("restore", str(file), "--yes")

    assert result.exit_code in (1, 2)
    assert str(file) in result.stderr
    assert "Traceback" not in result.stderr


def test_no_right_to_send_and_the_next_run_sends_each_once(site: Site, file: Path) -> None:
    jobs = site.bury_many(3)
    purged(site, file)

    refused = site.run("restore", str(file), "--yes", "--connection", site.broker.connection_string_for(LISTENER.name))

    assert refused.exit_code == 3
    assert f"No Send right on queue '{QUEUE}'" in refused.stderr
    assert "3 dead letters left; the same command goes on." in refused.stderr
    assert site.run("restore", str(file), "--yes").exit_code == 0
    assert site.sent_jobs() == jobs


@pytest.mark.parametrize(
    "point, nth",
    [
        ("before sending is noted", 1),
        ("after sending is noted", 2),
        ("after the batch is sent", 1),
        ("after the batch is sent", 2),
        ("after it is noted as sent", 1),
        ("before it is noted as done", 1),
    ],
)
def test_a_run_killed_at_any_point_loses_nothing_and_the_next_sends_nothing_twice(
    site: Site, file: Path, point: str, nth: int
) -> None:
    jobs = site.bury_many(200)
    purged(site, file)
    command = ("dead-letters", "restore", str(file), "--yes")

    assert start(site, "KILL", point, nth, *command).returncode == KILLED
    assert site.run("restore", str(file), "--yes").exit_code == 0

    assert site.sent_jobs() == sorted(jobs)


def test_ctrl_c_finishes_the_batch_and_says_what_is_left(site: Site, file: Path) -> None:
    jobs = site.bury_many(200)
    purged(site, file)

    stopped = start(site, "INT", "after the batch is sent", 1, "dead-letters", "restore", str(file), "--yes")

    assert stopped.returncode == 130
    assert stopped.stderr.splitlines()[-1] == "Interrupted, 100 dead letters left; the same command goes on."
    assert site.run("restore", str(file), "--yes").exit_code == 0
    assert site.sent_jobs() == sorted(jobs)


def test_a_letter_that_stands_twice_in_the_file_is_sent_once(site: Site, file: Path) -> None:
    jobs = site.bury_many(5)
    purged(site, file)
    file.write_text("\ufeff" + file.read_text() * 2 + "\n")  # an editor's mark, and an empty line

    result = site.run("restore", str(file), "--yes")

    assert (result.exit_code, result.stderr) == (0, "5 sent again.\n")
    assert site.sent_jobs() == jobs


@pytest.mark.parametrize("command", ["restore", "purge"])
def test_exports_of_two_queues_in_one_file_are_refused(site: Site, file: Path, tmp_path: Path, command: str) -> None:
    site.bury("job-1")
    site.bury("job-2", queue=UNIQUE)
    site.run("export", str(file))
    site.run("export", str(tmp_path / "other"), "--queue", UNIQUE)
    file.write_text(file.read_text() + (tmp_path / "other").read_text())

    result = site.run(command, str(file), "--yes")

    assert result.exit_code == 2
    assert "two queues' exports are mixed" in result.stderr
    assert (site.sent(), len(site.dead())) == ([], 1)


def test_a_mended_letter_is_not_dropped_as_a_duplicate_of_the_one_that_was_wrong(site: Site, file: Path) -> None:
    site.bury("typo-1", queue=UNIQUE, message_id="m")
    site.run("export", str(file), "--queue", UNIQUE)
    site.run("resubmit", "--all", "--yes", "--queue", UNIQUE)
    file.write_text(file.read_text().replace("typo-1", "job-1"))

    assert site.run("restore", str(file), "--yes", "--queue", UNIQUE).exit_code == 0

    sent = site.sent(UNIQUE)
    assert [json.loads(bytes(message.body))["jobId"] for message in sent] == ["typo-1", "job-1"]
    assert len({message.message_id for message in sent}) == 2


def test_an_export_is_its_owners(site: Site, file: Path) -> None:
    """It holds the notes."""
    site.bury("job-1")
    site.run("export", str(file))

    assert file.stat().st_mode & 0o077 == 0
