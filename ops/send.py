"""`send`: one cancellation by options, or many from a file; nothing goes out before everything is checked."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Annotated

import typer

from ops.console import plain, progress, stderr, stdout
from ops.errors import PROBLEMS_FOUND, USAGE, OpsError
from ops.lengths import schedule
from ops.rows import BadRow, Row, body_of, check, columns_left_out, format_of, opened, read
from ops.target import target_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from datetime import datetime

    from ops.rows import Format
    from ops.target import Target

_SHOWN = 20  # bad rows; who has more has one cause


class FileFormat(StrEnum):
    """What --format takes."""

    JSONL = "jsonl"
    CSV = "csv"


def send(
    context: typer.Context,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="JSON lines or CSV with a header; - reads stdin.")
    ] = None,
    job_id: Annotated[str | None, typer.Option(metavar="ID", help="Send one message: the job to cancel.")] = None,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="With --job-id: for the job's notes.")] = None,
    disposition_code: Annotated[
        str | None, typer.Option(metavar="CODE", help="With --job-id: the job's outcome, else Cancelled.")
    ] = None,
    message_id: Annotated[
        str | None, typer.Option(metavar="ID", help="With --job-id: the MessageId, else a random one.")
    ] = None,
    schedule_in: Annotated[str | None, typer.Option(metavar="TIME", help="Enqueue later: 90s, 10m, 2h30m, 1d.")] = None,
    schedule_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Enqueue at a time, ISO 8601 with an offset.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, send nothing.")] = False,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Send the good rows of FILE only.")] = False,
    from_line: Annotated[int, typer.Option(min=1, metavar="N", help="Begin at this line of FILE.")] = 1,
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="Of FILE; else by its name or first character.")
    ] = None,
) -> None:
    """Send cancellations: one by options, or many from a file.

    A file is read twice: first every row is checked as the function will
    check it, then they are sent. Bad rows are named with their lines, and
    nothing is sent, unless --skip-invalid is given. After Ctrl-C it says how
    to go on.

    JSON lines are sent as they stand, one message a line. CSV needs the
    column jobId; note, dispositionCode and messageId are known too, others
    are left out.

    Examples:
    [bold]
        python -m ops send --job-id 8780b28c --note "Customer hung up"
        python -m ops send jobs.csv --dry-run
        python -m ops send jobs.csv --skip-invalid --schedule-in 10m
        jq -c .cancellation export.json | python -m ops send -
    [/bold]
    """
    single = {"jobId": job_id, "note": note, "dispositionCode": disposition_code}
    if (file is None) == (job_id is None):
        raise OpsError("Give either --job-id or a FILE (- for stdin); send --help has examples.", USAGE)
    if file is not None and any((note, disposition_code, message_id)):
        raise OpsError("--note, --disposition-code and --message-id go with --job-id; a FILE has its own.", USAGE)
    if file is None and (skip_invalid or from_line > 1 or file_format):
        raise OpsError("--skip-invalid, --from-line and --format go with a FILE.", USAGE)
    due = schedule(schedule_in, schedule_at)
    if file is None:
        _send_one(context, check(1, body_of(single), message_id), due, dry_run=dry_run)
        return
    with opened(file) as source:
        kind: Format = file_format.value if file_format else format_of(file, source)
        left_out = columns_left_out(source) if kind == "csv" else []
        if left_out:
            stderr().print(f"Columns that are not sent: {plain(', '.join(left_out))}.", style="warn", markup=False)
        checked = _check_all(source, kind, from_line)
        checked.report()
        if checked.bad and not (skip_invalid and checked.good and not checked.hiding):
            raise OpsError(checked.refusal(), PROBLEMS_FOUND)
        if not checked.good:
            stdout().print("There is nothing to send.", style="warn")
        elif dry_run:
            stdout().print(f"{_messages(checked.good)} can be sent{_later(due)}; nothing was sent.", style="good")
        else:
            with closing(_good_rows(source, kind, from_line)) as rows:
                _send_file(target_of(context), rows, checked, due)


@dataclass
class _Checked:
    """How many rows of a file are good and bad, and what is wrong with the first bad ones.

    hiding: the first bad one that others may be hidden in.
    """

    good: int = 0
    bad: int = 0
    first: list[BadRow] = field(default_factory=list)
    hiding: BadRow | None = None

    def add(self, row: Row | BadRow) -> None:
        """Count one."""
        if isinstance(row, Row):
            self.good += 1
            return
        self.bad += 1
        if self.bad <= _SHOWN:
            self.first.append(row)
        if row.hides_rows and not self.hiding:
            self.hiding = row

    def report(self) -> None:
        """Name the bad rows, on stderr."""
        out = stderr()
        for row in self.first:
            out.print(f"{row.place}: {plain(row.problem)}", markup=False)
        if self.hiding and self.hiding not in self.first:
            out.print(f"{self.hiding.place}: {plain(self.hiding.problem)}", markup=False)
        if self.bad > len(self.first):
            out.print(f"and {self.bad - len(self.first):,} more.", markup=False)

    def refusal(self) -> str:
        """Why nothing is sent, and what to do."""
        step = "Mend the file."
        if self.hiding:
            step = (
                f"Mend {self.hiding.place} first: rows may be hidden there, so --skip-invalid does not leave them out."
            )
        elif self.good:
            step = "Mend the file, or send the good ones with --skip-invalid."
        return f"{_rows(self.bad)} invalid, {self.good:,} good; nothing was sent. {step}"


def _check_all(source: IO[bytes], kind: Format, from_line: int) -> _Checked:
    checked = _Checked()
    with progress("rows checked:") as bar:
        for row in read(source, kind, from_line):
            bar(1)
            checked.add(row)
    return checked


def _good_rows(source: IO[bytes], kind: Format, from_line: int) -> Generator[Row, None, None]:
    return (row for row in read(source, kind, from_line) if isinstance(row, Row))


def _send_one(context: typer.Context, row: Row | BadRow, due: datetime | None, *, dry_run: bool) -> None:
    if isinstance(row, BadRow):
        raise OpsError(f"{row.problem} Nothing was sent.", USAGE)
    if dry_run:
        stdout().print(f"The message is valid; nothing was sent{_later(due)}.", style="good")
        return
    from ops.sending import message_of

    target = target_of(context)
    message = message_of(row, due)
    with target.client() as client, client.get_queue_sender(target.queue) as sender:
        sender.send_messages(message)
    stdout().print(f"Sent message {message.message_id} to {_queue(target)}{_later(due)}.", markup=False)


def _send_file(target: Target, rows: Iterator[Row], checked: _Checked, due: datetime | None) -> None:
    from ops.sending import send_all

    sent = send_all(target, rows, checked.good, due)
    left = f" {_rows(checked.bad)} invalid and left out." if checked.bad else ""
    stdout().print(f"Sent {_messages(sent)} to {_queue(target)}{_later(due)}.{left}", style="good", markup=False)


def _queue(target: Target) -> str:
    return f"queue '{target.queue}' at {target.host}"


def _messages(count: int) -> str:
    return f"{count:,} message{'s' * (count != 1)}"


def _rows(count: int) -> str:
    return f"{count:,} row{'s are' if count != 1 else ' is'}"


def _later(due: datetime | None) -> str:
    return f", to be enqueued at {due:%Y-%m-%d %H:%M:%S} UTC" if due else ""
