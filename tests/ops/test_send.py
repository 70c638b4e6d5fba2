"""Sending one message by options, and what is said when nothing can be sent."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ops.lengths import schedule
from tests.ops.conftest import LISTENER, QUEUE, SESSIONS

if TYPE_CHECKING:
    from tests.ops.conftest import Stage


def json_lines(count: int) -> str:
    return "".join(json.dumps({"jobId": f"job-{number}"}) + "\n" for number in range(1, count + 1))


# One message


def test_one_message_by_options(stage: Stage) -> None:
    result = stage.run(
        "send", "--job-id", "job-1", "--note", "Größe", "--disposition-code", "Gone", "--message-id", "m"
    )

    assert result.exit_code == 0, result.output
    assert result.stdout == f"Sent message m to queue '{QUEUE}' at localhost:{stage.broker.port}.\n"
    (message,) = stage.broker.messages(QUEUE)
    assert message.message_id == "m"
    assert json.loads(bytes(message.body)) == {"jobId": "job-1", "note": "Größe", "dispositionCode": "Gone"}


def test_a_message_gets_an_id_of_its_own(stage: Stage) -> None:
    stage.run("send", "--job-id", "job-1")
    stage.run("send", "--job-id", "job-1")

    first, second = stage.broker.messages(QUEUE)
    assert first.message_id != second.message_id


@pytest.mark.parametrize("text, seconds", [("90", 90), ("10m", 600), ("2h30m", 9000), ("1d", 86_400)])
def test_schedule_in(stage: Stage, text: str, seconds: int) -> None:
    before = datetime.now(UTC)

    result = stage.run("send", "--job-id", "job-1", "--schedule-in", text)

    assert result.exit_code == 0, result.output
    (message,) = stage.broker.messages(QUEUE)
    assert message.state == "scheduled"
    assert message.visible_from is not None
    assert abs(message.visible_from - before - timedelta(seconds=seconds)) < timedelta(seconds=30)


def test_schedule_at_with_an_offset(stage: Stage) -> None:
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)

    result = stage.run("send", "--job-id", "job-1", "--schedule-at", due.isoformat())

    assert result.exit_code == 0, result.output
    assert f"to be enqueued at {due:%Y-%m-%d %H:%M:%S} UTC" in result.stdout
    assert stage.broker.messages(QUEUE)[0].visible_from == due


def test_schedule_at_within_a_year() -> None:
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(days=365)

    assert schedule(None, due.isoformat()) == due


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "Give either --job-id or a FILE"),
        (["--job-id", "a", "file.csv"], "Give either --job-id or a FILE"),
        (["file.csv", "--note", "x"], "go with --job-id"),
        (["--job-id", "a", "--skip-invalid"], "go with a FILE"),
        (["--job-id", ".."], "`jobId` is blank, '.' or '..'"),
        (["--job-id", "a", "--message-id", "m" * 129], "longer than 128 characters"),
        (["--job-id", "a", "--schedule-in", "soon"], "--schedule-in is no length of time: 'soon'"),
        (["--job-id", "a", "--schedule-in", "9999d"], "longer than a year"),
        (["--job-id", "a", "--schedule-at", "2030-01-01T00:00:00"], "no time with an offset"),
        (["--job-id", "a", "--schedule-at", "2020-01-01T00:00:00Z"], "is past"),
        (["--job-id", "a", "--schedule-at", "0001-01-01T00:00:00+12:00"], "is past"),
        (["--job-id", "a", "--schedule-at", "9999-12-31T23:59:59-12:00"], "more than a year ahead"),
        (["--job-id", "a", "--schedule-in", ""], "--schedule-in is no length of time: ''"),
        (["--job-id", "a", "--schedule-at", ""], "--schedule-at is no time with an offset: ''"),
        (["--job-id", "a", "--schedule-at", "", "--schedule-in", "1h"], "exclude each other"),
        (["--job-id", "a", "--schedule-at", "2030-01-01T00:00:00Z", "--schedule-in", "1h"], "exclude each other"),
        (["absent.csv"], "absent.csv cannot be read"),
    ],
)
def test_wrong_usage_is_one_sentence(stage: Stage, options: list[str], words: str) -> None:
    result = stage.run("send", *options)

    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert stage.bodies() == []


# Refusals


def test_no_right_to_send(stage: Stage) -> None:
    result = stage.run("send", "-", given=json_lines(1), ServiceBusConnection=stage.key_of(LISTENER))

    assert result.exit_code == 3
    assert result.stderr.startswith(f"No Send right on queue '{QUEUE}'")


def test_a_missing_queue(stage: Stage) -> None:
    result = stage.run("send", "--job-id", "a", "--queue", "nope")

    assert result.exit_code == 3
    assert result.stderr.startswith("There is no queue 'nope'")


def test_a_bad_connection_string(stage: Stage) -> None:
    result = stage.run("send", "--job-id", "a", "--connection", "SAS_KEY_VALUE")

    assert result.exit_code == 2
    assert "Copy it from" in result.stderr
    assert "SAS_KEY" not in result.stderr


def test_nothing_listens(stage: Stage) -> None:
    port = stage.broker.port
    stage.broker.stop()

    with socket.socket() as kept:  # bound and not listening: no other test's broker can take the port
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", port))
        result = stage.run("send", "-", given=json_lines(1))

    assert result.exit_code == 3
    assert "Nothing listens at localhost:" in result.stderr


def test_a_full_queue_took_nothing(stage: Stage) -> None:
    stage.broker.refuse_sends()

    result = stage.run("send", "-", given=json_lines(5))

    assert result.exit_code == 3
    assert "is full" in result.stderr
    assert "Nothing is known to be sent" in result.stderr


@pytest.mark.parametrize("arguments", [["--job-id", "a"], ["-"]], ids=["one", "many"])
def test_a_queue_with_sessions(stage: Stage, arguments: list[str]) -> None:
    result = stage.run("send", *arguments, "--queue", SESSIONS, given=None if len(arguments) > 1 else json_lines(5))

    assert result.exit_code == 3
    assert result.stderr.startswith("Queue 'sessions' requires sessions, which the function cannot consume.")
    assert stage.bodies(SESSIONS) == []
