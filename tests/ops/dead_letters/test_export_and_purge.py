"""`dead-letters export` and `purge`: all that is needed to send again, and only what was exported is removed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from azure.servicebus import ServiceBusClient

from ops.dead_letters.record import from_record
from ops.dead_letters.walking import LETTERS_A_CONNECTION
from tests.ops.dead_letters.conftest import QUEUE, UNIQUE, cut_the_connection

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mock import MockerFixture

    from tests.ops.dead_letters.conftest import Site


def test_a_line_holds_enough_to_send_the_message_again(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"
    site.bury(body=b'{"jobId": "job-1", "x": "\xff"}', properties={"tenant": "north", "wide": 2**40}, message_id="m")

    assert site.run("export", str(file)).exit_code == 0
    (line,) = map(json.loads, file.read_text().splitlines())
    with (
        ServiceBusClient.from_connection_string(site.broker.connection_string) as client,
        client.get_queue_sender(QUEUE) as sender,
    ):
        sender.send_messages(from_record(line["message"]))

    (sent,), (dead,) = site.sent(), site.dead()
    assert (sent.message_id, bytes(sent.body)) == (dead.message_id, bytes(dead.body))
    reasons = {"DeadLetterReason", "DeadLetterErrorDescription"}
    kept = {name: value for name, value in dead.application_properties.items() if name not in reasons}
    assert sent.application_properties == kept
    assert (line["reason"], line["sequenceNumber"]) == ("JobNotFound", 1)


def test_export_takes_filters_and_takes_nothing_out(site: Site, tmp_path: Path) -> None:
    site.bury("job-1")
    site.bury("job-2", reason="Http418")

    site.run("export", str(tmp_path / "x"), "--reason", "Http418")

    assert [json.loads(line)["jobId"] for line in (tmp_path / "x").read_text().splitlines()] == ["job-2"]
    assert len(site.dead()) == 2


def test_export_does_not_overwrite(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("precious")

    result = site.run("export", str(file))

    assert result.exit_code == 2
    assert file.read_text() == "precious"


def test_an_export_that_fails_leaves_no_file(site: Site, tmp_path: Path) -> None:
    site.broker.stop()

    assert site.run("export", str(tmp_path / "x")).exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_purge_removes_what_was_exported_and_nothing_else(site: Site, tmp_path: Path) -> None:
    file = str(tmp_path / "x")
    site.bury_many(3)
    site.run("export", file, "--job", "job-0", "--job", "job-2")
    site.bury("late")

    result = site.run("purge", file, "--yes")

    assert (result.exit_code, result.stderr) == (0, "2 removed.\n")
    assert [json.loads(bytes(letter.body))["jobId"] for letter in site.dead()] == ["job-1", "late"]
    assert {letter.state for letter in site.dead()} == {"active"}


def test_many_are_removed_over_several_connections(site: Site, tmp_path: Path) -> None:
    file = str(tmp_path / "x")
    count = 2 * LETTERS_A_CONNECTION
    site.bury_many(count)
    site.run("export", file)
    site.bury("late")

    result = site.run("purge", file, "--yes")

    assert (result.exit_code, result.stderr) == (0, f"{count} removed.\n")
    assert [json.loads(bytes(letter.body))["jobId"] for letter in site.dead()] == ["late"]


def test_purge_again_finds_them_gone(site: Site, tmp_path: Path) -> None:
    file = str(tmp_path / "x")
    site.bury_many(2)
    site.run("export", file)
    site.run("purge", file, "--yes")

    result = site.run("purge", file, "--yes", "--wait", "0")

    assert (result.exit_code, result.stderr) == (0, "0 removed, 2 already gone.\n")


def test_purge_does_not_take_another_letter_with_the_same_number(site: Site, tmp_path: Path) -> None:
    file = str(tmp_path / "x")
    site.bury("job-1")
    site.bury("job-2", queue=UNIQUE)
    site.run("export", file)

    result = site.run("purge", file, "--yes", "--wait", "0", "--queue", UNIQUE)

    assert len(site.dead(UNIQUE)) == 1
    assert result.exit_code == 0
    assert "1 already gone" in result.stderr


def test_purge_asks_and_where_nobody_can_be_asked_removes_nothing(site: Site, tmp_path: Path) -> None:
    file = str(tmp_path / "x")
    site.bury("job-1")
    site.run("export", file)

    result = site.run("purge", file, given="y\n")

    assert result.exit_code == 2
    assert "give --yes" in result.stderr
    assert len(site.dead()) == 1


def test_purge_refuses_a_file_that_is_no_export(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "x"
    site.bury("job-1")
    site.run("export", str(file))
    with file.open("a") as more:
        more.write('{"jobId": "job-1"}\n')

    result = site.run("purge", str(file), "--yes")

    assert result.exit_code == 2
    assert f"Line 2 of {file} is not as `dead-letters export` wrote it. Nothing was done." in result.stderr
    assert len(site.dead()) == 1


def test_a_purge_that_fails_says_how_many_it_removed(site: Site, tmp_path: Path, mocker: MockerFixture) -> None:
    file = str(tmp_path / "x")
    site.bury_many(5)
    site.run("export", file)
    cut_the_connection(mocker, 4)
    result = site.run("purge", file, "--yes")

    assert result.exit_code == 3
    assert result.stderr.startswith("3 removed.\n")
    assert "2 left; the same command goes on." in result.stderr
