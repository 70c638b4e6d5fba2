"""`dead-letters list`: the reasons and how often each, and a row for every letter, as they are read.

A queue that fits on some screens is shown reason by reason. A longer one is shown row by row as it is read, so that
memory stays flat and the first rows are there at once; the reasons follow at the end.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.text import Text

from ops.console import plain, progress, stderr, stdout, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from azure.servicebus import ServiceBusReceiver
    from rich.console import Console

    from ops.console import Progress
    from ops.dead_letters.letter import Letter
    from ops.dead_letters.selection import Selection

GROUPED_UP_TO = 250  # letters; more are shown as they are read
_MOST_REASONS = 500  # counted each by itself; another program may give every letter a reason of its own
# How shared/policy.py begins the description of a message that ran out of time.
_GIVEN_UP = re.compile(
    r"^Given up after \d+ attempts? since [-\d: ]+ UTC\. Mend the cause and send the message again\. "
)
_OTHERS = "(all other reasons)"


@dataclass
class Group:
    """The letters of one reason, without the letters."""

    count: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, letter: Letter) -> None:
        self.count += 1
        if letter.enqueued:
            self.oldest = min(self.oldest or letter.enqueued, letter.enqueued)
            self.newest = max(self.newest or letter.enqueued, letter.enqueued)


class Groups:
    """How many letters each reason has."""

    def __init__(self) -> None:
        self.of: dict[str, Group] = {}

    def add(self, letter: Letter) -> None:
        reason = letter.reason if letter.reason in self.of or len(self.of) < _MOST_REASONS else _OTHERS
        self.of.setdefault(reason, Group()).add(letter)

    @property
    def total(self) -> int:
        return sum(group.count for group in self.of.values())

    def show(self, console: Console) -> None:
        """The table of reasons, the most frequent first."""
        made = table("reason", "dead letters", "oldest (UTC)", "newest (UTC)", right=("dead letters",))
        for reason, group in sorted(self.of.items(), key=lambda item: -item[1].count):
            made.add_row(Text(plain(reason), "reason"), f"{group.count:,}", when(group.oldest), when(group.newest))
        console.print(made)


def list_letters(receiver: ServiceBusReceiver, selection: Selection, limit: int | None, queue: str) -> int:
    """Print them for a person; returns how many there were. limit: stop after so many."""
    from ops.dead_letters.reading import select

    groups = Groups()
    with progress("dead letters read:") as bar, closing(select(receiver, selection, bar)) as selected:
        letters = _counted(islice(selected, limit), groups)
        if bar.out.is_terminal:
            first = list(islice(letters, GROUPED_UP_TO + 1))
            if len(first) <= GROUPED_UP_TO:
                _show_grouped(bar.out, first, groups)
            else:
                _show_rows(bar, first)
                _show_rows(bar, letters)
        else:
            for letter in letters:
                sys.stdout.write(_line(letter))
    _show_end(groups, limit, queue, filtered=not selection.is_everything)
    return groups.total


def list_as_json(receiver: ServiceBusReceiver, selection: Selection, limit: int | None) -> int:
    """Print one JSON object a line; returns how many there were."""
    from ops.dead_letters.reading import select

    count = 0
    with progress("dead letters read:") as bar, closing(select(receiver, selection, bar)) as selected:
        for letter in islice(selected, limit):
            sys.stdout.write(json.dumps(summary(letter), ensure_ascii=False) + "\n")
            count += 1
            if count == 1:
                sys.stdout.flush()
    sys.stdout.flush()
    return count


def summary(letter: Letter) -> dict[str, Any]:
    """What `--json` says of a letter; times in ISO 8601, UTC."""
    return {
        "sequenceNumber": letter.sequence_number,
        "messageId": letter.message_id,
        "firstMessageId": letter.first_id,
        "jobId": letter.job_id,
        "reason": letter.reason,
        "description": letter.description,
        "attempts": letter.attempts,
        "enqueued": letter.enqueued.isoformat() if letter.enqueued else None,
        "firstEnqueued": letter.first_enqueued.isoformat() if letter.first_enqueued else None,
        "resubmitted": letter.resubmitted_times,
    }


def when(moment: datetime | None) -> str:
    """A time to the minute, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "?"


def rows(letters: Iterable[Letter], width: int, *, with_reason: bool) -> Text:
    """Two lines a letter: its number, time, job and attempts; below, why. Nothing is wrapped, a long why is cut."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for letter in letters:
        tried = f"{letter.attempts} attempt{'s' * (letter.attempts != 1)}"
        room = max(8, width - 28 - len(tried) - 2)
        job = plain(letter.job_id) if letter.job_id else "(no job id)"
        text.append(f"{letter.sequence_number:>8}", "name").append(f"  {when(letter.enqueued)}  ", "faint")
        text.append(_cut(job, room).ljust(min(room, 36))).append(f"  {tried}\n", "faint")
        why = [(f"{plain(letter.reason)}  ", "reason")] if with_reason else []
        left = max(8, width - 10 - sum(len(part) for part, _ in why))
        text.append(" " * 10)
        for part, style in why:
            text.append(part, style)
        text.append(_cut(_gist(letter), left)).append("\n")
    return text


def _gist(letter: Letter) -> str:
    """The description without what the row above says already: the attempts and the job."""
    text = _GIVEN_UP.sub("", plain(letter.description))
    named = f"Job '{plain(letter.job_id or '')}'"
    text = text.removeprefix(f"{named} is not cancelled yet: ").removeprefix(f"{named}: ")
    return text.replace(f"{named} is", "The job is", 1).removeprefix("The service said: ")


def _counted(letters: Iterator[Letter], groups: Groups) -> Iterator[Letter]:
    for letter in letters:
        groups.add(letter)
        yield letter


def _show_grouped(out: Console, letters: list[Letter], groups: Groups) -> None:
    for reason, group in sorted(groups.of.items(), key=lambda item: -item[1].count):
        heading = Text.assemble((plain(reason), "reason"), f"  {group.count:,} dead letter{'s' * (group.count != 1)}")
        out.print(heading)
        of_reason = [letter for letter in letters if letter.reason == reason]
        out.print(rows(of_reason, out.width, with_reason=False))


def _show_rows(bar: Progress, letters: Iterable[Letter]) -> None:
    remaining = iter(letters)
    while page := list(islice(remaining, 25)):
        bar.out.print(rows(page, bar.out.width, with_reason=True), end="")


def _line(letter: Letter) -> str:
    """For a pipe: one line, nothing cut."""
    job = plain(letter.job_id) if letter.job_id else "-"
    why = f"{plain(letter.reason):<24}  {plain(letter.description)}"
    return f"{letter.sequence_number:>8}  {when(letter.enqueued)}  {job:<36}  {letter.attempts:>3}  {why}\n"


def _show_end(groups: Groups, limit: int | None, queue: str, *, filtered: bool) -> None:
    sys.stdout.flush()
    out, total = stdout(), groups.total
    console = out if out.is_terminal else stderr()  # a pipe gets the rows only
    if total and (total > GROUPED_UP_TO or not out.is_terminal):
        groups.show(console)
    if not total:
        fit = " that fits" if filtered else ""
        console.print(f"No dead letter{fit} in queue '{queue}'.", style="good", markup=False)
        return
    more = " (stopped at --limit; more may follow)" if total == limit else ""
    console.print(f"{total:,} dead letter{'s' * (total != 1)} in queue '{queue}'{more}.", style="name", markup=False)
    console.print("Look at one: python -m ops dead-letters show NUMBER", style="faint", markup=False)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"
