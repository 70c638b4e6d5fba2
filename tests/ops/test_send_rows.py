"""Files whose rows hide or repeat each other, and paths that cannot be opened."""

from __future__ import annotations

import errno
import os
import shlex
import threading
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from ops.errors import OpsError
from ops.rows import BadRow, Row, format_of, opened, read
from tests.ops.test_send_files import jobs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ops.conftest import Stage


# A MessageId twice


REPEATED = "jobId,messageId\na,m-1\nb,m-2\nc,m-1\nd,\ne,\nf,M-1\n"


def test_a_message_id_twice_is_a_bad_row(stage: Stage) -> None:
    result = stage.run("send", stage.file("jobs.csv", REPEATED))

    assert result.exit_code == 1
    assert "line 4: The message id is also on line 2." in result.stderr
    assert "1 row is invalid, 5 good; nothing was sent." in result.stderr
    assert stage.bodies() == []


def test_the_first_row_with_a_message_id_is_the_one_that_is_sent(stage: Stage) -> None:
    result = stage.run("send", stage.file("jobs.csv", REPEATED), "--skip-invalid")

    assert result.exit_code == 0, result.output
    assert jobs(stage) == ["a", "b", "d", "e", "f"]


def test_a_message_id_before_from_line_counts(stage: Stage) -> None:
    result = stage.run("send", stage.file("jobs.csv", REPEATED), "--from-line", "3")

    assert result.exit_code == 1
    assert "line 4: The message id is also on line 2." in result.stderr


def test_the_message_id_of_a_bad_row_is_free() -> None:
    first, second = read(BytesIO(b"jobId,messageId\n..,m\nb,m\n"), "csv")

    assert isinstance(first, BadRow)
    assert isinstance(second, Row)


# A quote that is not closed


OPEN_AT_THE_END = 'jobId,note\na,x\nb,"open\nc,y\nd,z\n'
OPEN_UP_TO_A_QUOTE = 'jobId,note\na,x\nb,"open\nc,y\nd,"z"\ne,w\n'


@pytest.mark.parametrize("options", [[], ["--skip-invalid"], ["--dry-run"], ["--skip-invalid", "--from-line", "4"]])
@pytest.mark.parametrize("content", [OPEN_AT_THE_END, OPEN_UP_TO_A_QUOTE], ids=["to the end", "to a quote"])
def test_an_open_quote_stops_everything(stage: Stage, content: str, options: list[str]) -> None:
    result = stage.run("send", stage.file("jobs.csv", content), *options)

    assert result.exit_code == 1
    assert "lines 3 to 5: The row is no CSV: a quote is not closed" in result.stderr
    assert "nothing was sent" in result.stderr
    assert stage.bodies() == []


def test_an_open_quote_is_named_where_skip_invalid_does_not_help(stage: Stage) -> None:
    bad = "..,x\n" * 30

    result = stage.run("send", stage.file("jobs.csv", f"jobId,note\na,x\n{bad}{OPEN_AT_THE_END}"), "--skip-invalid")

    assert result.exit_code == 1
    assert "lines 35 to 37" in result.stderr
    assert "--skip-invalid does not leave them out" in result.stderr


def test_an_open_quote_before_from_line_is_passed_over(stage: Stage) -> None:
    result = stage.run("send", stage.file("jobs.csv", OPEN_UP_TO_A_QUOTE), "--from-line", "6")

    assert result.exit_code == 0, result.output
    assert jobs(stage) == ["e"]


def test_a_cell_without_end_hides_rows(stage: Stage) -> None:
    """csv gives up in the middle of the cell, and what follows would be read as rows of their own."""
    content = f'jobId,note\na,"{"x" * 140_000}\nnot-a-job,y"\nb,z\n'

    result = stage.run("send", stage.file("jobs.csv", content), "--skip-invalid")

    assert result.exit_code == 1
    assert "line 2: The row is no CSV" in result.stderr
    assert stage.bodies() == []


def test_an_error_within_its_line_can_be_left_out(stage: Stage) -> None:
    result = stage.run("send", stage.file("jobs.csv", 'jobId,note\na,"x" y\nb,z\n'), "--skip-invalid")

    assert result.exit_code == 0, result.output
    assert jobs(stage) == ["b"]


# Nothing to send


@pytest.mark.parametrize("options", [[], ["--skip-invalid"], ["--skip-invalid", "--dry-run"]])
def test_only_bad_rows_are_a_failure(stage: Stage, options: list[str]) -> None:
    result = stage.run("send", stage.file("jobs.csv", "jobId\n..\n.\n"), *options)

    assert result.exit_code == 1
    assert "2 rows are invalid, 0 good; nothing was sent." in result.stderr


def test_no_rows_are_no_failure(stage: Stage) -> None:
    result = stage.run("send", stage.file("jobs.csv", "jobId\n"))

    assert result.exit_code == 0
    assert result.stdout == "There is nothing to send.\n"


# Paths


@pytest.mark.parametrize(
    "path, words",
    [
        ("jobs.csv/x", "jobs.csv/x cannot be read: Not a directory."),
        ("loop", "loop cannot be read: Too many levels of symbolic links."),
        ("n" * 300, "cannot be read: File name too long."),
        (".", " cannot be read: Is a directory."),
    ],
)
def test_a_path_that_cannot_be_opened_is_one_sentence(stage: Stage, path: str, words: str) -> None:
    stage.file("jobs.csv", "jobId\na\n")
    (stage.folder / "loop").symlink_to("loop")

    result = stage.run("send", str(stage.folder / path))

    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_goes_wrong_later_is_not_the_paths_fault(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_bytes(b"jobId\na\n")

    with pytest.raises(PermissionError, match="the network"), opened(str(path)):
        raise PermissionError(errno.EACCES, "the network")


def test_a_named_pipe_is_read_as_stdin_is(stage: Stage) -> None:
    path = stage.folder / "pipe.csv"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"jobId\na\nb\n",), daemon=True)
    writer.start()

    result = stage.run("send", str(path))
    writer.join(10)

    assert result.exit_code == 0, result.output
    assert jobs(stage) == ["a", "b"]


@pytest.mark.parametrize("name", ["jobs.json", "my jobs; rm x.json"])
def test_the_hint_for_a_json_array_can_be_pasted(stage: Stage, name: str) -> None:
    path = stage.file(name, "[]")

    with opened(path) as file, pytest.raises(OpsError) as caught:
        format_of(path, file)

    hint = caught.value.sentence.partition("expected: ")[2]
    assert shlex.split(hint) == ["jq", "-c", ".[]", path]


def test_the_hint_for_a_json_array_on_stdin_names_no_file(stage: Stage) -> None:
    result = stage.run("send", "-", given="[]")

    assert result.stderr == "stdin is one JSON array; one object a line is expected: pipe it through jq -c '.[]'\n"
