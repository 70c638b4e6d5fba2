"""`dead-letters resubmit --set-job-id` and `--edit`: one letter, and only a body that the function accepts."""

from __future__ import annotations

import json
import sys
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ops.dead_letters.conftest import Site


def test_set_job_id_mends_the_body_and_keeps_the_rest_of_it(site: Site) -> None:
    site.bury(body=b'{"jobid": "typo", "note": "Customer hung up"}')

    result = site.run("resubmit", "1", "--set-job-id", "job-7", "--yes")

    assert result.exit_code == 0, result.output
    assert json.loads(bytes(site.sent()[0].body)) == {"jobid": "typo", "note": "Customer hung up", "jobId": "job-7"}


def test_set_job_id_reaches_into_a_cloud_event(site: Site) -> None:
    event = {"specversion": "1.0", "id": "e", "data": {"jobId": " ", "note": "n"}}
    encoded = {"specversion": "1.0", "data_base64": b64encode(b'{"note": "n"}').decode()}
    site.bury(body=json.dumps(event).encode())
    site.bury(body=json.dumps(encoded).encode())

    for number in ("1", "2"):
        assert site.run("resubmit", number, "--set-job-id", "job-7", "--yes").exit_code == 0

    first, second = (json.loads(bytes(message.body)) for message in site.sent())
    assert first == {"specversion": "1.0", "id": "e", "data": {"jobId": "job-7", "note": "n"}}
    assert json.loads(b64decode(second["data_base64"])) == {"jobId": "job-7", "note": "n"}


@pytest.mark.parametrize("new", ["", ".", "a\x01b"], ids=repr)
def test_a_job_id_that_the_function_would_refuse_is_not_sent(site: Site, new: str) -> None:
    site.bury("job-1")

    result = site.run("resubmit", "1", "--set-job-id", new, "--yes")

    assert result.exit_code == 1
    assert "Nothing was sent, the new body is no cancellation" in result.stderr
    assert (len(site.dead()), site.sent()) == (1, [])


def test_a_mended_body_is_shown_before_it_is_sent(site: Site) -> None:
    site.bury("job-1")

    result = site.run("resubmit", "1", "--set-job-id", "job-7")

    assert '"jobId": "job-7"' in result.stdout
    assert site.sent() == []


def test_mending_is_for_one_letter(site: Site) -> None:
    site.bury("job-1", message_id="same")
    site.bury("job-2", message_id="same")

    result = site.run("resubmit", "same", "--set-job-id", "job-7", "--yes")

    assert result.exit_code == 2
    assert site.sent() == []


def editor(folder: Path, code: str) -> str:
    script = folder / "editor.py"
    script.write_text(f"import sys, pathlib\nfile = pathlib.Path(sys.argv[1])\n{code}\n")
    return f"{sys.executable} {script}"


def test_edit_sends_what_the_editor_leaves(site: Site, tmp_path: Path) -> None:
    site.bury(body=b'{"jobId": "job-1"')
    command = editor(tmp_path, "file.write_text(file.read_text() + '}')")

    result = site.run("resubmit", "1", "--edit", "--yes", EDITOR=command, VISUAL=None)

    assert result.exit_code == 0, result.output
    assert site.sent_jobs() == ["job-1"]


@pytest.mark.parametrize(
    "code, words",
    [
        ("file.write_text('{}')", "missing required field `jobId`"),
        ("file.write_bytes(bytes([255]))", "not UTF-8"),
        ("sys.exit(3)", "ended with code 3"),
    ],
)
def test_an_edit_that_is_no_good_sends_nothing(site: Site, tmp_path: Path, code: str, words: str) -> None:
    site.bury("job-1")

    result = site.run("resubmit", "1", "--edit", "--yes", EDITOR=editor(tmp_path, code), VISUAL=None)

    assert result.exit_code in (1, 3)
    assert words in result.stderr
    assert (len(site.dead()), site.sent()) == (1, [])


@pytest.mark.parametrize(
    "body, properties",
    [
        (b'{"specversion": "1.0", "jobId": "wrong"}', {"ce-specversion": "1.0"}),
        (b'{"specversion": "1.0", "data": "text with a note"}', {}),
        (b'{"specversion": "1.0", "data": null}', {}),
        (b'{"specversion": "1.0", "data_base64": "AAAA"}', {}),
    ],
    ids=["read in another place", "text as data", "no data", "no JSON as data"],
)
def test_an_event_in_which_a_job_id_has_no_place_is_left_to_the_editor(
    site: Site, body: bytes, properties: dict[str, str]
) -> None:
    site.bury(body=body, properties=properties)

    result = site.run("resubmit", "1", "--set-job-id", "job-7", "--yes")

    assert result.exit_code in (1, 2)
    assert "Use --edit." in result.stderr
    assert (site.sent(), len(site.dead())) == ([], 1)


@pytest.mark.parametrize("command", ["'", " "])
def test_an_editor_that_is_no_command(site: Site, command: str) -> None:
    site.bury("job-1")

    result = site.run("resubmit", "1", "--edit", "--yes", EDITOR=command, VISUAL=None, PATH="")

    assert "Traceback" not in result.stderr
    assert result.exit_code in (2, 3)
    assert site.sent() == []
