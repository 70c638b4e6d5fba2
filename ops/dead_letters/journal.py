"""What was sent again but may still be in the dead-letter queue, on disk before and after each sending.

A run that is killed leaves letters whose copy is sent but which are not completed. The next run reads here which they
are, and completes them without sending. docs/decisions/0008-ops.md says why a file.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING

from ops.errors import REFUSED, USAGE, OpsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ops.target import Target

_LINE = re.compile(rb"(begun|sent|done) ([0-9a-f]{32})")
_BEGINNING = re.compile(rb"|(begun|sent|done) [0-9a-f]{0,32}")  # the first line may be torn too


class Journal:
    """Letters by their identity. begun: perhaps sent; sent: surely sent. A letter that is done is in neither."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writing = Lock()  # each connection has a thread
        self.begun: set[str] = set()
        self.sent: set[str] = set()
        file.seek(0)
        for line in file:
            found = _LINE.fullmatch(line.rstrip(b"\n"))
            if found:  # the last line of a killed run may be torn
                self._take(found[1].decode(), found[2].decode())
        if file.tell():
            file.write(b"\n")  # behind a torn line

    def begin(self, identities: Iterable[str]) -> None:
        """On disk before anything is sent."""
        self._write("begun", identities, safely=True)

    def mark_sent(self, identities: Iterable[str]) -> None:
        """On disk before any letter is completed."""
        self._write("sent", identities, safely=True)

    def mark_done(self, identities: Iterable[str]) -> None:
        """The letter is gone, or was certainly not sent. To forget this costs one look at the queue, no more."""
        self._write("done", identities, safely=False)

    def _write(self, word: str, identities: Iterable[str], *, safely: bool) -> None:
        named = list(identities)
        if not named:
            return
        with self._writing:
            self._file.write(b"".join(f"{word} {identity}\n".encode() for identity in named))
            self._file.flush()
            if safely:
                os.fsync(self._file.fileno())
            for identity in named:
                self._take(word, identity)

    def _take(self, word: str, identity: str) -> None:
        self.begun.discard(identity)
        self.sent.discard(identity)
        if word != "done":
            (self.begun if word == "begun" else self.sent).add(identity)


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """The journal at a path, for this process alone. Emptied at the end where nothing is open.

    Raises:
        OpsError: another process has it, or the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not (path.is_file() and _is_journal(path)):
            raise OpsError(f"{path} is no journal, and would be emptied. Name another place with --journal.", USAGE)
        file = path.open("a+b")
    except OSError as error:
        text = f"The journal {path} cannot be written ({error.strerror}). Name another place with --journal."
        raise OpsError(text, REFUSED) from error
    with file:
        _lock(file, path)
        journal = Journal(file)
        yield journal
        if not (journal.begun or journal.sent):
            file.flush()
            file.truncate(0)


def _is_journal(path: Path) -> bool:
    with path.open("rb") as file:
        return bool(_BEGINNING.fullmatch(file.readline(100).lstrip(b"\n").rstrip(b"\n")))


def journal_path(target: Target, environ: Mapping[str, str]) -> Path:
    """Where the journal of a queue is: one file for each queue, in the user's folder for state."""
    state = environ.get("XDG_STATE_HOME") or environ.get("LOCALAPPDATA")
    try:
        folder = Path(state) if state else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise OpsError("There is no home folder. Name a place for the journal with --journal.", USAGE) from error
    name = re.sub(r"[^\w.-]", "_", f"{target.host}_{target.queue}".lower())
    return folder / "cancel-job-ops" / f"{name}.journal"


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # no such lock on Windows; two runs at once then only risk a copy too many
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        text = f"Another resubmit is at work on this queue ({path} is in use). Wait for it to end."
        raise OpsError(text, REFUSED) from None
