"""`dead-letters export` and `purge`: a file with everything, and then, only then, out of the queue."""

from __future__ import annotations

import json
import os
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from ops.dead_letters.letter import body_hash, exported_letter
from ops.dead_letters.listing import summary
from ops.dead_letters.reading import select
from ops.dead_letters.walking import complete, walk
from ops.errors import USAGE, OpsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from azure.servicebus import ServiceBusClient, ServiceBusReceiver

    from ops.dead_letters.letter import Letter
    from ops.dead_letters.selection import Selection
    from ops.dead_letters.walking import Handle, Taken, Wanted
    from ops.interrupt import Interrupt
    from ops.target import Target


def to_line(letter: Letter) -> str:
    """A letter as a line of JSON: what `list --json` says, its identity, and the message itself (record.py)."""
    more = {"identity": letter.identity, "bodyHash": body_hash(letter.body), "message": letter.record}
    return json.dumps(summary(letter) | more, ensure_ascii=False)


def export(receiver: ServiceBusReceiver, selection: Selection, path: Path, read: Callable[[int], None]) -> int:
    """Write the letters to a new file, which is there only once it is whole; returns how many.

    Raises:
        OpsError: the file exists.
    """
    part = path.with_name(path.name + ".part")
    for taken in (path, part):
        if taken.exists():
            raise OpsError(f"{taken} exists and may be all that is left of other letters. Name a new file.", USAGE)
    count = 0
    try:
        # Only for its owner: it holds the notes.
        with (
            open(part, "x", encoding="utf-8", opener=_for_its_owner) as file,
            closing(select(receiver, selection, read)) as letters,
        ):
            for letter in letters:
                file.write(to_line(letter) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _for_its_owner(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def exported(path: Path) -> Iterator[Letter]:
    """The letters that a file holds, in its order, each once.

    Raises:
        OpsError: the file cannot be read, or a line is none of `export`; the sentence gives its number.
    """
    if not path.is_file():
        raise OpsError(f"{path} is no file that can be read more than once.", USAGE)
    seen: dict[int, str] = {}
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    letter = exported_letter(json.loads(line))
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    text = f"Line {number} of {path} is not as `dead-letters export` wrote it. Nothing was done."
                    raise OpsError(text, USAGE) from error
                known = seen.get(letter.sequence_number)
                if known not in (None, letter.identity):
                    text = f"Line {number} of {path} has the number of another letter: two queues' exports are mixed."
                    raise OpsError(f"{text} Nothing was done; take them one by one.", USAGE)
                if known is None:
                    seen[letter.sequence_number] = letter.identity
                    yield letter
    except (OSError, UnicodeDecodeError) as error:
        raise OpsError(f"{path} cannot be read: {getattr(error, 'strerror', 'it is not UTF-8')}.", USAGE) from error


def purge(target: Target, wanted: Wanted, wait: float, interrupt: Interrupt, tell: Callable[[int], None]) -> None:
    """Remove the letters, and no other. What stays in `wanted` could not be had. tell: told how many more are gone."""

    def handling(_client: ServiceBusClient, receiver: ServiceBusReceiver) -> AbstractContextManager[Handle]:
        def remove(taken: list[Taken]) -> Iterator[int]:
            for letter in complete(receiver, taken, tell):
                yield letter.sequence_number

        return nullcontext(remove)

    walk(target, wanted, handling, wait, interrupt)
