"""`dead-letters restore`: send again what a file of `export` holds and the dead-letter queue no longer has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ops.console import progress, stderr
from ops.dead_letters.exporting import exported
from ops.dead_letters.journal import journal_path, open_journal
from ops.dead_letters.reading import dead_letter_receiver
from ops.dead_letters.resubmit_run import counted, say_add_yes, show_plan
from ops.dead_letters.resubmitting import Plan
from ops.dead_letters.sending_again import send_again, settle_doubts
from ops.dead_letters.walking import BATCH, Wanted, still_there
from ops.errors import INTERRUPTED, PROBLEMS_FOUND, OpsError, explain
from ops.interrupt import Interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ops.dead_letters.journal import Journal
    from ops.dead_letters.letter import Letter
    from ops.dead_letters.selection import Selection
    from ops.target import Target


@dataclass
class _Sent:
    """How many letters were sent now, and by a run that was stopped."""

    now: int = 0
    before: int = 0

    def __str__(self) -> str:
        before = f", {self.before:,} had been sent by an earlier run" if self.before else ""
        return f"{self.now:,} sent again{before}"


def restore(target: Target, file: Path, selection: Selection, journal: Path | None, *, yes: bool) -> None:
    """Say what would be sent and, with `yes`, send it. The file stays as it is.

    Raises:
        OpsError: the file is not from `export`, or something is left; the sentence says how much.
    """
    plan, there = _plan(target, file, selection)
    if there:
        text = f"{counted(there)} of {file} still in the queue: use dead-letters resubmit for what is there."
        stderr().print(text, style="warn", markup=False)
    if not plan.count and not plan.unfit_count:
        raise OpsError(f"{file} holds no dead letter that fits and has left queue '{target.queue}'.", PROBLEMS_FOUND)
    show_plan(plan, acts=yes)
    if plan.count and yes:
        # Apart from resubmit's, which forgets what is no dead letter any more.
        own = journal or journal_path(target, os.environ).with_suffix(".restore.journal")
        _send(target, plan.wanted, lambda: exported(file), own)
    elif plan.count:
        say_add_yes(plan)
    if plan.unfit_count:
        text = f"{counted(plan.unfit_count)} cannot be sent again: the body is no cancellation."
        raise OpsError(f"{text} Mend message.body of its line in {file}.", PROBLEMS_FOUND)


def _plan(target: Target, file: Path, selection: Selection) -> tuple[Plan, int]:
    """What is to be sent, and how many letters are still where they were."""
    meant = Wanted()
    for letter in exported(file):
        if selection.takes(letter):
            meant.add(letter)
    with dead_letter_receiver(target) as receiver:
        there = still_there(receiver, meant)
    meant.drop(there)
    plan = Plan()
    for letter in exported(file):
        if meant.includes(letter):
            plan.add(letter)
    return plan, len(there)


def _send(target: Target, wanted: Wanted, read: Callable[[], Iterator[Letter]], path: Path) -> None:
    sent, total, failure = _Sent(), len(wanted.letters), None
    with (
        open_journal(path) as journal,
        target.client() as client,
        Interrupt() as interrupt,
        progress("sent again:", total) as bar,
    ):
        try:
            settle_doubts(journal, target)
            letters = _unsent(read(), wanted, journal, sent)
            with client.get_queue_sender(target.queue) as sender:
                while (batch := list(islice(letters, BATCH))) and not interrupt.requested:
                    for size in send_again(sender, journal, batch):
                        sent.now += size
                        bar(size)
        except Exception as error:  # noqa: BLE001  # what is done has to be told first
            failure = explain(error, target, "Send")
        left = total - sent.now - sent.before
        if not left:
            journal.mark_done(wanted.letters.values())
    stderr().print(f"{sent}.", style="warn" if left else "good", markup=False)
    if failure:
        raise OpsError(f"{failure.sentence} {counted(left)} left; the same command goes on.", failure.exit_code)
    if left:
        raise OpsError(f"Interrupted, {counted(left)} left; the same command goes on.", INTERRUPTED)


def _unsent(letters: Iterator[Letter], wanted: Wanted, journal: Journal, sent: _Sent) -> Iterator[Letter]:
    for letter in letters:
        if wanted.includes(letter):
            if letter.identity in journal.sent:
                sent.before += 1
            else:
                yield letter
