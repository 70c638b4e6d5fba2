"""What the terminal shows: colour and progress where a person looks, plain lines where a program reads.

Results go to stdout, everything else to stderr. Rich obeys NO_COLOR and COLUMNS by itself.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.theme import Theme

from ops.errors import USAGE, OpsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

# Names, not colours, so that every command means the same by the same look; readable on dark and on light.
_THEME = Theme(
    {
        "good": "green",
        "bad": "bold red",
        "warn": "dark_orange3",
        "name": "bold",
        "faint": "dim",
        "reason": "bold magenta",
    }
)
# What could steer a terminal (escape sequences, reversed text): ids and descriptions come from strangers.
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_PLAIN_WIDTH = 10_000  # characters; a pipe has no edge, and a wrapped line cannot be searched


def stdout() -> Console:
    """Results. Where stdout is no terminal: no colour, and lines are never wrapped."""
    return _console(stderr=False)


def stderr() -> Console:
    """Progress, questions and errors."""
    return _console(stderr=True)


def is_screen(console: Console) -> bool:
    """Whether a person sees it as it is written: asks for the layout; `is_terminal` is about colour (FORCE_COLOR)."""
    return console.file.isatty()


def is_interactive() -> bool:
    """Whether a person can be asked: both ends are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def table(*columns: str, title: str | None = None, right: tuple[str, ...] = ()) -> Table:
    """A table in the house style: no frame, one line under the heads. right: columns to align there."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def plain(text: str) -> str:
    """Somebody else's text on one line, with nothing in it that a terminal obeys."""
    return harmless(" ".join(text.split()))


def harmless(line: str) -> str:
    """The line as it stands, but for what a terminal obeys."""
    return _STEERING.sub("·", line)


class Progress:
    """How far long work is; call it with how many more are done.

    out: where results go meanwhile, so that they and the moving line do not write into each other.
    """

    def __init__(self, out: Console, advance: Callable[[int], None] = lambda _more: None) -> None:
        self.out = out
        self._advance = advance

    def __call__(self, more: int) -> None:
        self._advance(more)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Progress]:
    """Show on stderr how far long work is, until it ends.

    Nothing is shown where stderr is no terminal, or where stdout is a pipe: what stands behind it may write to the same
    screen, and the moving line would stand in between. total: None when nobody knows.
    """
    console = stderr()
    if not is_screen(console) or _is_pipe(sys.stdout):
        yield Progress(stdout())
        return
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    count = MofNCompleteColumn() if total else TextColumn("{task.completed:,}")
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *([BarColumn()] if total else []), count)
    out = stdout()
    same_screen = is_screen(out)
    # Rich would lead all that is written to stdout through the bar to stderr: a pipe would get nothing.
    bar = Bar(*columns, TimeElapsedColumn(), console=console, transient=True, redirect_stdout=same_screen)
    with bar:
        task = bar.add_task(what, total=total)
        yield Progress(console if same_screen else out, lambda more: bar.advance(task, more))


def confirm(question: str, option: str = "--yes") -> bool:
    """Ask for a yes; anything else is a no.

    Raises:
        OpsError: nobody can be asked; the sentence names the option that answers instead.
    """
    if not is_interactive():
        raise OpsError(f"{question} Nobody can be asked here: give {option} to go on.", USAGE)
    stderr().print(f"{question} [y/N] ", end="", style="name", markup=False, highlight=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _is_pipe(file: TextIO) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
    except (OSError, ValueError):  # not a file of the system's
        return False


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would exit with 1; `ops.__main__` ends every command in the same way."""
        self.quiet = True
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    console = _Console(file=sys.stderr if stderr else sys.stdout, theme=_THEME, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console
