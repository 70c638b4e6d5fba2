"""What `dead-letters purge` asks and says around the removing itself (exporting.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.console import confirm, progress, stderr
from ops.dead_letters.exporting import exported, purge
from ops.dead_letters.walking import Wanted
from ops.errors import INTERRUPTED, PROBLEMS_FOUND, OpsError, explain
from ops.interrupt import Interrupt

if TYPE_CHECKING:
    from pathlib import Path

    from ops.target import Target


def purge_file(target: Target, file: Path, wait: float, *, yes: bool) -> None:
    """Remove what the file holds, once the person agrees. wait: seconds.

    Raises:
        OpsError: the file is not from `export`, nobody agreed, or something is left; the sentence says how much.
    """
    wanted = Wanted()
    for letter in exported(file):
        wanted.add(letter)
    total, failure = len(wanted.letters), None
    removed: list[int] = []  # appended to by several threads
    question = f"Remove the {total:,} dead letters of {file} from queue '{target.queue}' at {target.host}?"
    if not (yes or confirm(question)):
        raise OpsError("Nothing was removed.", PROBLEMS_FOUND)
    with Interrupt() as interrupt, progress("removed:", total) as bar:

        def tell(more: int) -> None:
            removed.append(more)
            bar(more)

        try:
            purge(target, wanted, wait, interrupt, tell)
        except Exception as error:  # noqa: BLE001  # what is done has to be told first
            failure = explain(error, target)
    count, left = sum(removed), len(wanted.letters)
    gone = total - count - left
    text = f"{count:,} removed" + (f", {gone:,} already gone" if gone else "") + "."
    stderr().print(text, style="warn" if left else "good", markup=False)
    if failure:
        raise OpsError(f"{failure.sentence} {left:,} left; the same command goes on.", failure.exit_code)
    if interrupt.requested:
        raise OpsError(f"Interrupted, {left:,} left; the same command goes on.", INTERRUPTED)
    if left:
        raise OpsError(f"{left:,} are locked by somebody else. Try again when the locks have ended.", PROBLEMS_FOUND)
