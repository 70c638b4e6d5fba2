"""`dead-letters export` and `purge`: a file with everything, and then, only then, out of the queue."""

from __future__ import annotations

import json
import os
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from ops.dead_letters.letter import exported_letter
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
    return json.dumps({**summary(letter), "identity": letter.identity, "message": letter.record}, ensure_ascii=False)


def export(receiver: ServiceBusReceiver, selection: Selection, path: Path, read: Callable[[int], None]) -> int:
    """Write the letters to a new file, which is there only once it is whole; returns how many.

    Raises:
        OpsError: the file exists.
    """
    if path.exists():
        raise OpsError(f"{path} exists and may be all that is left of other letters. Name a new file.", USAGE)
    count = 0
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file, closing(select(receiver, selection, read)) as letters:
            for letter in letters:
                file.write(to_line(letter) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def exported(path: Path) -> Iterator[Letter]:
    """The letters that a file holds, in its order.

    Raises:
        OpsError: the file cannot be read, or a line is none of `export`; the sentence gives its number.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield exported_letter(json.loads(line))
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    text = f"Line {number} of {path} is not as `dead-letters export` wrote it. Nothing was done."
                    raise OpsError(text, USAGE) from error
    except (OSError, UnicodeDecodeError) as error:
        raise OpsError(f"{path} cannot be read: {getattr(error, 'strerror', 'it is not UTF-8')}.", USAGE) from error


def purge(target: Target, wanted: Wanted, wait: float, interrupt: Interrupt, tell: Callable[[int], None]) -> int:
    """Remove the letters, and no other; returns how many. What stays in `wanted` could not be had."""
    removed: list[int] = []

    def handling(_client: ServiceBusClient, receiver: ServiceBusReceiver) -> AbstractContextManager[Handle]:
        def remove(taken: list[Taken]) -> Iterator[int]:
            for letter in complete(receiver, taken, tell):
                removed.append(letter.sequence_number)
                yield letter.sequence_number

        return nullcontext(remove)

    walk(target, wanted, handling, wait, interrupt)
    return len(removed)
