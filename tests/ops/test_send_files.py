"""Sending a file: checked whole before anything goes out, and exact about what is sent when it ends early."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ops.conftest import QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from proton import Message

    from tests.ops.conftest import Stage

ROOT = Path(__file__).resolve().parents[2]


def json_lines(count: int) -> str:
    return "".join(json.dumps({"jobId": f"job-{number}"}) + "\n" for number in range(1, count + 1))


def jobs(stage: Stage) -> list[str]:
    return [json.loads(body)["jobId"] for body in stage.bodies()]


def test_json_lines_are_sent_as_they_stand(stage: Stage) -> None:
    path = stage.file("jobs.jsonl", '\ufeff{"jobId": "a",  "extra": 1}\r\n\n{"jobId":"b"}')

    result = stage.run("send", path)

    assert result.exit_code == 0, result.output
    assert result.stdout == f"Sent 2 messages to queue '{QUEUE}' at localhost:{stage.broker.port}.\n"
    assert stage.bodies() == ['{"jobId": "a",  "extra": 1}', '{"jobId":"b"}']


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_in_the_ways_that_spreadsheets_write_it(stage: Stage, delimiter: str) -> None:
    rows = [
        ["Job ID", "Note", "disposition_code", "MessageId"],
        ["a", '"x, y; ""z"""', "", "m-1"],
        ["b", "", "Gone", ""],
    ]
    path = stage.file("jobs.csv", "\ufeff" + "".join(delimiter.join(row) + "\r\n" for row in rows))

    result = stage.run("send", path)

    assert result.exit_code == 0, result.output
    assert [json.loads(body) for body in stage.bodies()] == [
        {"jobId": "a", "note": 'x, y; "z"'},
        {"jobId": "b", "dispositionCode": "Gone"},
    ]
    assert stage.broker.messages(QUEUE)[0].message_id == "m-1"


def test_columns_that_mean_nothing_are_named(stage: Stage) -> None:
    result = stage.run("send", stage.file("jobs.csv", "jobId,Dispositon\na,Gone\n"))

    assert result.exit_code == 0
    assert "Columns that are not sent: Dispositon." in result.stderr


def test_stdin(stage: Stage) -> None:
    result = stage.run("send", "-", given=json_lines(3))

    assert result.exit_code == 0, result.output
    assert jobs(stage) == ["job-1", "job-2", "job-3"]


def test_a_dry_run_needs_no_queue(stage: Stage) -> None:
    result = stage.run("send", "-", "--dry-run", given=json_lines(3), ServiceBusConnection=None)

    assert result.exit_code == 0, result.output
    assert result.stdout == "3 messages can be sent; nothing was sent.\n"
    assert stage.bodies() == []


BAD = '{"jobId": "a"}\n{"note": "no id"}\nnot json\n\n{"jobId": "b"}\n{"jobId": 5}\n'


@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=" ".join)
def test_bad_rows_are_named_with_their_lines_and_nothing_is_sent(stage: Stage, options: list[str]) -> None:
    result = stage.run("send", stage.file("jobs.jsonl", BAD), *options)

    assert result.exit_code == 1
    reported = [line.partition(":")[0] for line in result.stderr.splitlines() if line.startswith("line ")]
    assert reported == ["line 2", "line 3", "line 6"]
    assert "3 rows are invalid, 2 good; nothing was sent." in result.stderr
    assert stage.bodies() == []


def test_skip_invalid_sends_the_good_ones(stage: Stage) -> None:
    result = stage.run("send", stage.file("jobs.jsonl", BAD), "--skip-invalid")

    assert result.exit_code == 0, result.output
    assert jobs(stage) == ["a", "b"]
    assert "3 rows are invalid and left out." in result.stdout


def test_the_line_of_a_csv_row_counts_the_line_breaks_in_cells(stage: Stage) -> None:
    result = stage.run("send", stage.file("jobs.csv", 'jobId,note\na,"one\ntwo"\n..,x\nb,x,y\n'))

    assert result.exit_code == 1
    assert "line 4: The body is not valid" in result.stderr
    assert "line 5: The row has 3 cells, the header 2" in result.stderr


def test_only_the_first_bad_rows_are_named(stage: Stage) -> None:
    result = stage.run("send", stage.file("jobs.jsonl", "x\n" * 100))

    assert result.stderr.count("line ") == 20
    assert "and 80 more." in result.stderr


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("jobs.csv", b"id,note\na,b\n", "no column jobId (2 found); its first line must name the columns."),
        ("jobs.csv", b"a,secret note\nb,x\n", "no column jobId (2 found)"),
        ("jobs.csv", b"", "The CSV's first line is empty; it must name the columns."),
        ("jobs.csv", b'jobId,"note\na,b\n', "The CSV's first line cannot be read: a quote is not closed."),
        ("jobs.csv", b"jobId,job id\na,b\n", "the column jobId twice"),
        ("jobs.csv", "jobId\na\n".encode("utf-16"), "is UTF-16"),
        ("jobs.json", b'[{"jobId": "a"}]', "one JSON array; one object a line is expected: jq -c '.[]'"),
    ],
)
def test_a_file_that_cannot_be_told_into_rows(stage: Stage, name: str, content: bytes, words: str) -> None:
    result = stage.run("send", stage.file(name, content))

    assert result.exit_code == 2
    assert words in result.stderr
    assert "secret" not in result.output


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("jobs.csv", "jobId,note\na,Größe\n".encode("latin-1"), "line 2: The row is not UTF-8."),
        ("jobs.jsonl", '{"jobId": "ä"}'.encode("latin-1"), "line 1: The body is not"),
        ("jobs.jsonl", json.dumps({"jobId": "a", "note": "x" * 300_000}).encode(), "line 1: The body is longer than"),
        ("jobs.csv", b'jobId,note\na,"x\n', "line 2: The row is no CSV: a quote is not closed."),
        ("jobs.csv", b'jobId,note\na,"x" y\n', "line 2: The row is no CSV: ',' expected after '\"'."),
    ],
)
def test_a_row_that_no_queue_could_take(stage: Stage, name: str, content: bytes, words: str) -> None:
    result = stage.run("send", stage.file(name, content))

    assert result.exit_code == 1
    assert words in result.stderr


def test_a_line_that_is_too_long_does_not_move_the_lines_after_it(stage: Stage) -> None:
    result = stage.run("send", stage.file("jobs.jsonl", "x" * 700_000 + '\n{"jobId": "a"}\nbad\n'))

    assert [line.partition(":")[0] for line in result.stderr.splitlines()[:2]] == ["line 1", "line 3"]


def test_rows_of_every_size_find_room_in_batches(stage: Stage) -> None:
    sizes = [10, 100_000, 200_000, 10, 230_000, 50]
    rows = [json.dumps({"jobId": f"job-{number}", "note": "x" * size}) for number, size in enumerate(sizes)]

    result = stage.run("send", "-", given="\n".join(rows))

    assert result.exit_code == 0, result.output
    assert jobs(stage) == [f"job-{number}" for number in range(len(sizes))]


# Interrupted, and going on


def test_from_line_begins_there(stage: Stage) -> None:
    result = stage.run("send", stage.file("jobs.csv", "jobId\n..\nb\nc\n"), "--from-line", "3")

    assert result.exit_code == 0, result.output
    assert jobs(stage) == ["b", "c"]


def at_message(stage: Stage, monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], None]) -> None:
    """Do something at the moment when the queue takes its n-th message."""
    queue = stage.broker.queue(QUEUE)
    take, taken = queue.send, itertools.count(1)

    def counted(message: Message) -> int:
        if next(taken) == number:
            act()
        return take(message)

    monkeypatch.setattr(queue, "send", counted)


@pytest.mark.parametrize("name", ["jobs.jsonl", "jobs.csv"])
def test_ctrl_c_says_how_many_were_sent_and_how_to_go_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    content = json_lines(1000) if name == "jobs.jsonl" else "jobId\n" + "".join(f"job-{n}\n" for n in range(1, 1001))
    path = stage.file(name, content)
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "ops", "send", path],
        cwd=ROOT,
        env=stage.process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    at_message(stage, monkeypatch, 300, lambda: process.send_signal(signal.SIGINT))
    _, said = process.communicate(timeout=60)

    line = 500 if name == "jobs.jsonl" else 501  # the second batch was on its way, and is finished
    assert process.returncode == 130
    assert said.splitlines()[-1] == (
        f"Interrupted. 500 of 1,000 messages are sent, up to line {line}. Go on with --from-line {line + 1}."
    )
    assert len(stage.bodies()) == 500
    assert stage.run("send", path, "--from-line", str(line + 1)).exit_code == 0
    assert jobs(stage) == [f"job-{number}" for number in range(1, 1001)]


def test_a_queue_that_fills_up_says_how_to_go_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    at_message(stage, monkeypatch, 300, stage.broker.refuse_sends)

    result = stage.run("send", stage.file("jobs.csv", "jobId\n" + "a\n" * 1000))

    assert result.exit_code == 3
    assert "is full" in result.stderr
    assert "500 of 1,000 messages are sent, up to line 501. Go on with --from-line 502." in result.stderr
    assert len(stage.bodies()) == 500
