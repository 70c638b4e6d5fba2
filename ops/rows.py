"""Cancellations in a file: JSON lines or CSV, read row by row and checked as the function will check them.

Knows files and the message contract, nothing of queues. Memory stays flat however long the file is, but for the message
ids of a CSV: to find one that is there twice, a hash and a line are kept of each, some 115 MB for a million rows.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from ops.errors import USAGE, OpsError

if TYPE_CHECKING:
    from _csv import Reader as _Reader
    from collections.abc import Iterator

Format = Literal["jsonl", "csv"]

# Columns by their name without case, blanks, dashes and underscores; all but the last are fields of the message.
_COLUMNS = {
    "jobid": "jobId",
    "note": "note",
    "dispositioncode": "dispositionCode",
    "messageid": "messageId",
}
_LARGEST_BODY = 240 * 1024  # bytes; a queue takes 256 KiB with the headers (Standard tier)
_LONGEST_MESSAGE_ID = 128  # characters, the service's limit
_OPEN_AT_THE_END = "unexpected end of data"  # as csv calls a quote that nothing closes
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Row:
    """A message to send. line: where it starts in the file, from 1."""

    line: int
    body: bytes
    message_id: str | None = None


@dataclass(frozen=True)
class BadRow:
    """A row that the function would dead-letter; the problem quotes no value."""

    line: int
    problem: str
    last_line: int = 0  # where it ends, when that is another line
    hides_rows: bool = False  # others may have been read as a part of it: leaving it out would lose them unseen

    @property
    def place(self) -> str:
        """Such as `line 2`, or `lines 2 to 4`."""
        return f"lines {self.line} to {self.last_line}" if self.last_line > self.line else f"line {self.line}"


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """The file, or for `-` what stdin has, in a form that can be read twice. A pipe with a name is read as stdin is.

    Raises:
        OpsError: it cannot be read, or is in an encoding that rows cannot be told apart in.
    """
    with ExitStack() as stack:
        try:
            file: IO[bytes] = sys.stdin.buffer if path == "-" else stack.enter_context(Path(path).open("rb"))
            if path == "-" or not file.seekable():
                copy = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(file, copy)
                file = copy
            _refuse_utf_16(file, _shown(path))
        except OSError as error:
            why = error.strerror or str(error)
            raise OpsError(f"{_shown(path)} cannot be read: {why}. Check the path.", USAGE) from error
        yield file


def format_of(path: str, file: IO[bytes]) -> Format:
    """By the file's name, else by its first character.

    Raises:
        OpsError: it is one JSON array.
    """
    file.seek(0)
    first = file.read(4096).removeprefix(_BYTE_ORDER_MARK).lstrip()[:1]
    file.seek(0)
    suffix = Path(path).suffix.lower()
    if first == b"[" and suffix not in (".csv", ".tsv"):
        way = "pipe it through jq -c '.[]'" if path == "-" else f"jq -c '.[]' {shlex.quote(path)}"
        raise OpsError(f"{_shown(path)} is one JSON array; one object a line is expected: {way}", USAGE)
    if suffix in (".csv", ".tsv"):
        return "csv"
    return "jsonl" if suffix in (".jsonl", ".ndjson", ".json") or first == b"{" else "csv"


def read(file: IO[bytes], kind: Format, from_line: int = 1) -> Iterator[Row | BadRow]:
    """Every row that starts at this line or later; empty lines are passed over.

    A row with the message id of a good one before it is bad, wherever that is: a queue that detects duplicates would
    drop it without a word.

    Raises:
        OpsError: a CSV without a usable header.
    """
    file.seek(0)
    return _json_lines(file, from_line) if kind == "jsonl" else _csv_rows(file, from_line)


def columns_left_out(file: IO[bytes]) -> list[str]:
    """The columns of a CSV that are no field of the message, as they are spelled there.

    Raises:
        OpsError: its header is not usable.
    """
    file.seek(0)
    with _csv_reader(file) as reader:
        header = _header(reader)
        return [spelled.strip() for spelled, name in zip(header, _columns(header), strict=True) if not name]


def check(line: int, body: bytes, message_id: str | None = None) -> Row | BadRow:
    """Judge one message as the function would, and as the queue would."""
    from shared.cancellation import InvalidCancellationError, decode_cancellation

    if len(body) > _LARGEST_BODY:
        return BadRow(line, f"The body is longer than the {_LARGEST_BODY:,} bytes that fit into a message.")
    if message_id and len(message_id) > _LONGEST_MESSAGE_ID:
        return BadRow(line, f"The message id is longer than {_LONGEST_MESSAGE_ID} characters.")
    try:
        decode_cancellation(body)
    except InvalidCancellationError as error:
        return BadRow(line, str(error))
    return Row(line, body, message_id)


def body_of(fields: dict[str, str | None]) -> bytes:
    """The message's body; fields without a value are left out."""
    given = {name: value for name, value in fields.items() if value}
    return json.dumps(given, ensure_ascii=False, separators=(",", ":")).encode()


def _json_lines(file: IO[bytes], from_line: int) -> Iterator[Row | BadRow]:
    line = 0
    while text := file.readline(_LARGEST_BODY + 2):
        line += 1
        whole = text
        while not whole.endswith(b"\n") and (whole := file.readline(_LARGEST_BODY)):
            pass  # the rest of a line that is too long anyway
        body = text.removeprefix(_BYTE_ORDER_MARK).strip()
        if body and line >= from_line:
            yield check(line, body)


def _csv_rows(file: IO[bytes], from_line: int) -> Iterator[Row | BadRow]:
    lines: dict[int, int] = {}  # of each message id, by its hash: 8 bytes, so two ids meet in no file that anyone has
    with _csv_reader(file) as reader:
        names = _columns(_header(reader))
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                if reader.line_num >= from_line:
                    yield _no_csv(line, reader.line_num, error)
                continue
            if cells is None:
                return
            if not any(cells):
                continue
            row = _csv_row(line, names, cells)
            if isinstance(row, Row) and row.message_id:
                first = lines.setdefault(hash(row.message_id), line)
                row = row if first == line else BadRow(line, f"The message id is also on line {first}.")
            if line >= from_line:
                yield row


def _no_csv(line: int, last_line: int, error: csv.Error) -> BadRow:
    said = str(error)
    at_end, too_long = said == _OPEN_AT_THE_END, "field limit" in said
    what = "a quote is not closed" if at_end else said
    if last_line > line and not at_end:
        what = f"a quote is not closed where it should be ({said})"
    # After a cell that is too long its rest is read as rows, and nobody can tell which are.
    return BadRow(line, f"The row is no CSV: {what}.", last_line, hides_rows=last_line > line or too_long)


def _header(reader: _Reader) -> list[str]:
    try:
        return next(reader, [])
    except csv.Error as error:
        what = "a quote is not closed" if str(error) == _OPEN_AT_THE_END or reader.line_num > 1 else error
        raise OpsError(f"The CSV's first line cannot be read: {what}.", USAGE) from error


@contextmanager
def _csv_reader(file: IO[bytes]) -> Iterator[_Reader]:
    # Bytes that are no UTF-8 come through as lone surrogates, which no encoding takes: so they are found in their row.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        head = text.readline()
        text.seek(0)
        yield csv.reader(text, delimiter=max(",;\t", key=head.count), strict=True)
    finally:
        text.detach()  # the file is somebody else's to close


def _csv_row(line: int, names: list[str | None], cells: list[str]) -> Row | BadRow:
    if len(cells) > len(names):
        return BadRow(line, f"The row has {len(cells)} cells, the header {len(names)}; quote cells that hold commas.")
    fields = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if name}
    message_id = fields.pop("messageId", "") or None
    try:
        return check(line, body_of(dict(fields)), message_id)
    except UnicodeEncodeError:
        return BadRow(line, "The row is not UTF-8. Save the file as UTF-8 (in Excel: CSV UTF-8).")


def _columns(header: list[str]) -> list[str | None]:
    """The message's field of each column, None for a column that means nothing here."""
    plain = ["".join(part for part in name.lower() if part not in " -_") for name in header]
    names = [_COLUMNS.get(name) for name in plain]
    if "jobId" not in names:
        # Without a header that is the first row, whose note is nobody's business: so it is not repeated.
        if not header:
            raise OpsError("The CSV's first line is empty; it must name the columns.", USAGE)
        raise OpsError(
            f"The CSV has no column jobId ({len(header)} found); its first line must name the columns.", USAGE
        )
    doubled = next((name for name in names if name and names.count(name) > 1), None)
    if doubled:
        raise OpsError(f"The CSV has the column {doubled} twice.", USAGE)
    return names


def _shown(path: str) -> str:
    return "stdin" if path == "-" else path


def _refuse_utf_16(file: IO[bytes], path: str) -> None:
    file.seek(0)
    if file.read(2) in _UTF_16:
        raise OpsError(f"{path} is UTF-16. Save it as UTF-8 (in PowerShell: Out-File -Encoding utf8).", USAGE)
    file.seek(0)
