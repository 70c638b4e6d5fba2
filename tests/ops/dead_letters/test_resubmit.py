"""`dead-letters resubmit`: what is sent, what it carries, what stays, and that nothing is sent twice."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import proton
import pytest

from ops.dead_letters.journal import journal_path
from ops.dead_letters.mending import with_body
from ops.dead_letters.walking import LETTERS_A_CONNECTION
from ops.target import Target
from tests.ops.dead_letters.conftest import QUEUE, UNIQUE, cut_the_connection

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mock import MockerFixture

    from ops.dead_letters.letter import Letter
    from tests.ops.dead_letters.conftest import Site

DEAD = f"{QUEUE}/$deadletterqueue"


def test_without_yes_nothing_is_sent(site: Site) -> None:
    site.bury_many(12)

    result = site.run("resubmit", "--all")

    assert result.exit_code == 0
    assert "… and 2 more" in result.stdout
    assert "Nothing was sent. To send 12 dead letters again, add --yes." in result.stderr
    assert (len(site.dead()), site.sent()) == (12, [])


@pytest.mark.parametrize(
    "options, expected",
    [
        (["1", "message-job-2"], ["job-0", "job-2"]),
        (["--reason", "Http418"], ["job-3"]),
        (["--job", "job-1"], ["job-1"]),
        (["--newer-than", "1h"], ["job-0", "job-1", "job-2", "job-3"]),
        (["--all"], ["job-0", "job-1", "job-2", "job-3"]),
    ],
    ids=" ".join,
)
def test_what_is_chosen_is_sent_and_the_rest_stays_free(site: Site, options: list[str], expected: list[str]) -> None:
    site.bury_many(3)
    site.bury("job-3", reason="Http418")

    result = site.run("resubmit", *options, "--yes")

    assert result.exit_code == 0, result.output
    assert site.sent_jobs() == expected
    left = {json.loads(bytes(letter.body))["jobId"]: letter.state for letter in site.dead()}
    assert left == {f"job-{n}": "active" for n in range(4) if f"job-{n}" not in expected}


def test_the_copy_starts_afresh_and_knows_where_it_came_from(site: Site) -> None:
    past = {
        "CancelJobAttempt": 17,
        "CancelJobFirstAttemptTime": "2026-01-02T03:04:06+00:00",
        "CancelJobFirstEnqueuedTime": "2026-01-02T03:04:05.000+00:00",
        "CancelJobMessageId": "order-1",
    }
    site.bury("job-1", message_id="order-1~copy", properties={**past, "tenant": "north"})

    site.run("resubmit", "--all", "--yes")

    (copy,) = site.sent()
    carried = dict(copy.application_properties)
    assert carried.pop("CancelJobResubmittedAt")
    assert carried == {
        "CancelJobFirstEnqueuedTime": "2026-01-02T03:04:05.000+00:00",
        "CancelJobMessageId": "order-1",
        "CancelJobResubmittedAs": copy.message_id,
        "CancelJobResubmittedFrom": "order-1~copy",
        "CancelJobResubmittedTimes": 1,
        "tenant": "north",
    }
    assert str(copy.message_id).startswith("order-1~")
    assert len(str(copy.message_id)) == len("order-1~") + 32


def test_a_copy_that_dies_too_can_be_sent_again_and_counts(site: Site) -> None:
    site.bury("job-1", properties={"CancelJobResubmittedTimes": 2, "CancelJobResubmittedAs": "x~" + "0" * 32})

    site.run("resubmit", "--all", "--yes")

    assert site.sent()[0].application_properties["CancelJobResubmittedTimes"] == 3


def test_everything_else_survives_with_its_type(site: Site) -> None:
    described = proton.Described(proton.symbol("com.microsoft:timespan"), 5)
    given: dict[str, Any] = {
        "text": "ümlaut",
        "int": proton.int32(7),
        "long": 2**40,
        "double": 1.5,
        "yes": True,
        "id": uuid.UUID(int=5),
        "binary": b"\xff\x00",
        "span": described,
    }
    body = b'{"jobId": "job-1"}'
    message = proton.Message(body, id="m", properties=given, correlation_id="c", subject="s", user_id=b"user")
    message.inferred, message.priority, message.durable = True, 7, True
    message.annotations = {proton.symbol("x-opt-partition-key"): "key"}
    site.bury(message=message)

    site.run("resubmit", "--all", "--yes")

    (entry,) = site.broker.queue(QUEUE).entries.values()
    copy = entry.message
    assert (copy.correlation_id, copy.subject, copy.user_id, copy.priority, copy.durable, bytes(copy.body)) == (
        "c", "s", b"user", 7, True, body
    )  # fmt: skip
    carried = {name: copy.properties[name] for name in given}
    assert carried == given
    assert isinstance(carried["int"], proton.int32)
    assert copy.annotations[proton.symbol("x-opt-partition-key")] == "key"


def test_the_senders_time_to_live_does_not_end_the_copy(site: Site) -> None:
    message = proton.Message(b'{"jobId": "job-1"}', id="m", ttl=0.001, expiry_time=1.0)
    message.inferred = True
    site.bury(message=message, reason="TTLExpiredException")

    site.run("resubmit", "--all", "--yes")
    site.broker.clock.advance(3600)

    assert site.sent_jobs() == ["job-1"]


def test_a_value_body_stays_one(site: Site) -> None:
    site.bury(message=proton.Message('{"jobId": "job-1"}', id="m"))

    assert site.run("resubmit", "--all", "--yes").exit_code == 0

    (entry,) = site.broker.queue(QUEUE).entries.values()
    assert entry.message.body == '{"jobId": "job-1"}'


def test_a_body_that_would_only_die_again_stays_and_is_told(site: Site) -> None:
    site.bury("job-1")
    site.bury(body=b"not json", reason="InvalidCancellation")

    result = site.run("resubmit", "--all", "--yes")

    assert result.exit_code == 1
    assert "python -m ops dead-letters resubmit 2 --edit" in result.stderr
    assert site.sent_jobs() == ["job-1"]
    assert [letter.sequence_number for letter in site.dead()] == [2]


def test_on_several_connections_what_somebody_else_has_locked_is_left_and_told_once(site: Site) -> None:
    count = 2 * LETTERS_A_CONNECTION
    site.bury_many(count)
    with site.broker.lock:
        dead = site.broker.queue(DEAD)
        dead.lock(dead.entries[7])

    result = site.run("resubmit", "--all", "--yes", "--wait", "0.1")

    assert result.exit_code == 1
    assert result.stderr.count("locked by somebody else, perhaps") == 1
    assert "1 dead letter locked by somebody else. Try again" in result.stderr
    assert len(site.sent_jobs()) == len(set(site.sent_jobs())) == count - 1
    assert [letter.sequence_number for letter in site.dead()] == [7]


def test_where_one_connection_fails_all_stop_and_what_is_left_is_told(site: Site, mocker: MockerFixture) -> None:
    count = 2 * LETTERS_A_CONNECTION
    jobs = site.bury_many(count)
    cut_the_connection(mocker, 150)
    result = site.run("resubmit", "--all", "--yes", "--wait", "0")
    mocker.stopall()

    assert result.exit_code == 3
    assert f"{len(site.dead())} dead letters left; the same command goes on." in result.stderr
    assert site.run("resubmit", "--all", "--yes").exit_code == 0
    assert site.sent_jobs() == sorted(jobs)
    assert site.dead() == []


def test_what_somebody_else_has_locked_is_left_and_told(site: Site) -> None:
    site.bury_many(2)
    with site.broker.lock:
        dead = site.broker.queue(DEAD)
        dead.lock(dead.entries[1])

    result = site.run("resubmit", "--all", "--yes", "--wait", "0")

    assert result.exit_code == 1
    assert "1 dead letter locked by somebody else." in result.stderr
    assert site.sent_jobs() == ["job-1"]


def test_a_deferred_letter_is_sent_too(site: Site) -> None:
    site.bury("job-1")
    with site.broker.lock:
        dead = site.broker.queue(DEAD)
        dead.defer(dead.lock(dead.entries[1]).tag)

    assert site.run("resubmit", "--all", "--yes").exit_code == 0
    assert (site.sent_jobs(), site.dead()) == (["job-1"], [])


def test_letters_too_large_for_one_batch_are_all_sent(site: Site) -> None:
    for number in range(3):
        body = {"jobId": f"job-{number}", "note": "x" * 150_000}
        site.bury(body=json.dumps(body).encode(), message_id=f"m-{number}")

    assert site.run("resubmit", "--all", "--yes").exit_code == 0
    assert site.sent_jobs() == ["job-0", "job-1", "job-2"]


def test_under_duplicate_detection_the_copy_is_taken(site: Site) -> None:
    site.bury("job-1", queue=UNIQUE)

    assert site.run("resubmit", "--all", "--yes", "--queue", UNIQUE).exit_code == 0
    assert site.sent_jobs(UNIQUE) == ["job-1"]


def test_only_one_run_at_a_time(site: Site) -> None:
    fcntl = pytest.importorskip("fcntl")
    site.bury("job-1")
    target = Target.from_options(None, None, None, site.settings)
    path = journal_path(target, site.settings)
    path.parent.mkdir(parents=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        result = site.run("resubmit", "--all", "--yes")

    assert result.exit_code == 3
    assert "Another resubmit is at work on this queue" in result.stderr
    assert site.sent() == []


def test_a_journal_that_is_torn_is_read_as_far_as_it_is_whole(site: Site, tmp_path: Path) -> None:
    site.bury("job-1")
    journal = tmp_path / "journal"
    journal.write_bytes(b"sent 0123\nbegun " + b"a" * 32 + b"\nsen")

    assert site.run("resubmit", "--all", "--yes", "--journal", str(journal)).exit_code == 0
    assert site.sent_jobs() == ["job-1"]
    assert journal.read_bytes() == b""


def test_what_was_asked_for_and_is_not_there_is_named(site: Site) -> None:
    site.bury_many(2)

    result = site.run("resubmit", "1", "99999", "id:nobody", "--reason", "JobNotFound", "--reason", "Exausted", "--yes")

    assert result.exit_code == 1
    assert "Nothing fits id '99999', id 'nobody', reason 'exausted'." in result.stderr
    assert site.sent_jobs() == ["job-0"]


def test_a_letter_that_comes_while_the_editor_is_open_is_not_mended_too(site: Site, mocker: MockerFixture) -> None:
    site.bury(body=b'{"job_id": "customer-a"}', reason="InvalidCancellation")

    def editing(letter: Letter, _environ: object) -> Letter:
        site.bury(body=b'{"job_id": "customer-b"}', reason="InvalidCancellation")
        return with_body(letter, '{"jobId": "customer-a"}')

    mocker.patch("ops.dead_letters.resubmit_run.edited", editing)
    result = site.run("resubmit", "--reason", "InvalidCancellation", "--edit", "--yes")

    assert result.exit_code == 0, result.output
    assert site.sent_jobs() == ["customer-a"]
    assert [bytes(letter.body) for letter in site.dead()] == [b'{"job_id": "customer-b"}']


def test_only_one_letter_is_mended_at_a_time(site: Site) -> None:
    site.bury_many(3)

    result = site.run("resubmit", "--all", "--set-job-id", "job-9", "--yes")

    assert (result.exit_code, site.sent()) == (2, [])
    assert "--edit and --set-job-id mend one letter: give its number." in result.stderr


def test_a_letter_that_was_sent_as_it_was_is_not_taken_out_as_if_it_had_been_mended(site: Site, tmp_path: Path) -> None:
    site.bury("wrong")
    journal = tmp_path / "x.journal"
    identity = json.loads((site.run("export", str(tmp_path / "x")), (tmp_path / "x").read_text())[1])["identity"]
    journal.write_text(f"sent {identity}\n")

    result = site.run("resubmit", "1", "--set-job-id", "right", "--yes", "--journal", str(journal))

    assert result.exit_code == 3
    assert "An earlier run has sent this letter again as it was." in result.stderr
    assert (site.sent(), len(site.dead())) == ([], 1)


@pytest.mark.parametrize("size", [3000, 3011, 3022, 3033])
def test_a_batch_that_is_full_for_the_client_is_not_too_large_for_the_broker(site: Site, size: int) -> None:
    for number in range(100):
        body = json.dumps({"jobId": f"job-{number:02}", "note": "x" * size})[: -(len(f'"job-{number:02}"') + 30)] + '"}'
        site.bury(body=body.encode(), message_id=f"m-{number:02}")

    result = site.run("resubmit", "--all", "--yes")

    assert result.exit_code == 0, result.output
    assert len(site.sent()) == 100


@pytest.mark.parametrize("content", [b"precious\n", b"{}", b"begun but what\n", bytes(200)])
def test_a_file_that_is_no_journal_is_not_emptied(site: Site, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "keep"
    file.write_bytes(content)
    site.bury("job-1")

    result = site.run("resubmit", "--all", "--yes", "--journal", str(file))

    assert (result.exit_code, file.read_bytes()) == (2, content)
    assert "is no journal, and would be emptied." in result.stderr
    assert site.sent() == []


def test_a_device_is_no_journal(site: Site) -> None:
    site.bury("job-1")

    assert site.run("resubmit", "--all", "--yes", "--journal", "/dev/full").exit_code == 2
    assert site.sent() == []


def test_the_journal_forgets_what_is_no_dead_letter_any_more(site: Site, tmp_path: Path) -> None:
    journal = tmp_path / "x.journal"
    journal.write_text(f"sent {'a' * 32}\n")
    site.bury("job-1")

    assert site.run("resubmit", "--all", "--yes", "--journal", str(journal)).exit_code == 0
    assert journal.read_bytes() == b""
