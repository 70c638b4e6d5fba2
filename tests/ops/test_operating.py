"""docs/operating.md: every command has its place there, and every command line in it is one that the parser takes."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from ops.__main__ import app
from tests.ops.test_watch import fill
from tools import screens, terminal
from tools.terminal import screen

if TYPE_CHECKING:
    from tests.ops.conftest import Stage

ROOT = Path(__file__).resolve().parents[2]
TEXT = screens.PAGE.read_text(encoding="utf-8")
# A command ends at a pipe, a redirection or a backtick; quotes hold it together.
COMMAND_LINES = sorted(set(re.findall(r"python -m ops( (?:\"[^\"]*\"|'[^']*'|[^\n`|;>()'\"])*)", TEXT)))


def commands() -> list[str]:
    """Every command and sub-command, as it is called."""
    found = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        found += [f"{name} {below}" for below in getattr(command, "commands", {})] or [name]
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_has_a_screen(command: str) -> None:
    assert f"$ python -m ops {command}" in TEXT


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_line_is_one(line: str) -> None:
    result = CliRunner().invoke(app, [*shlex.split(line), "--help"])

    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_every_screen_is_recorded_and_none_is_empty() -> None:
    names = re.findall(r"<!-- screen: ([\w-]+) -->\n```text\n\$ .+\n[^`]", TEXT)

    assert len(names) == len(set(names)) == TEXT.count("<!-- screen: ") == TEXT.count("<!-- /screen -->")


def test_a_screen_is_filled_between_its_markers() -> None:
    page = "a\n<!-- screen: x -->\nold\n<!-- /screen -->\nb\n"

    assert screens.fill(page, {"x": "new\n"}) == "a\n<!-- screen: x -->\n```text\nnew\n```\n<!-- /screen -->\nb\n"


def test_the_page_names_no_place_of_the_machine_that_made_it() -> None:
    assert not re.search(r"/(?:tmp|home|root|work|Users|var)/", TEXT)


def test_the_picture_is_small_and_fetches_nothing() -> None:
    picture = screens.PICTURE.read_text(encoding="utf-8")

    assert len(picture.encode()) < 40_000
    assert set(re.findall(r"https?://[^\s\"']+", picture)) <= {
        "http://www.w3.org/2000/svg",
        "https://www.textualize.io",
    }


@pytest.mark.parametrize(
    "written, seen",
    [
        ("a\r\nb\r\n", "a\nb"),
        ("working\r\x1b[2Kdone\n", "done"),
        ("one\r\ntwo\x1b[1A\rO", "One\ntwo"),
        ("\x1b[1;31mred\x1b[0m", "red"),
    ],
    ids=["lines", "a line that changes", "cursor up", "colour"],
)
def test_the_screen_is_what_is_left_to_see(written: str, seen: str) -> None:
    assert screen(written) == seen


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["lines", "json"])
def test_what_stands_behind_a_pipe_has_the_screen_to_itself(stage: Stage, options: list[str]) -> None:
    fill(stage, dead=1)
    command = f"{sys.executable} -m ops dead-letters list {' '.join(options)} | cat"
    written = on_a_terminal(command, stage)

    assert written.count("JobNotFound") >= 1
    assert "dead letters read" not in written
    assert "\x1b[?25l" not in written, "the cursor is hidden, as for a moving line"


def test_a_file_gets_the_letters_while_the_terminal_shows_progress(stage: Stage) -> None:
    fill(stage, dead=1)
    written = on_a_terminal(f"{sys.executable} -m ops dead-letters list --json > letters.jsonl", stage)

    assert "dead letters read" in written
    assert '"reason": "JobNotFound"' in (stage.folder / "letters.jsonl").read_text(encoding="utf-8")


def on_a_terminal(command: str, stage: Stage) -> str:
    """All that a bash command writes to its terminal."""
    environment = {**stage.process_environment(), "PYTHONPATH": str(ROOT)}
    written, code = terminal.run(command, stage.folder, environment)
    assert code == 0
    return written
