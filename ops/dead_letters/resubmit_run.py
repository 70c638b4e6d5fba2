"""What `dead-letters resubmit` shows and asks around the sending itself (resubmitting.py)."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from rich.text import Text

from ops.console import plain, progress, stderr, stdout, table
from ops.dead_letters.journal import journal_path, open_journal
from ops.dead_letters.listing import rows
from ops.dead_letters.mending import edited, with_body, with_job_id
from ops.dead_letters.reading import dead_letter_receiver, select
from ops.dead_letters.resubmitting import Plan, Resubmitter, make_plan
from ops.dead_letters.sending_again import settle_doubts
from ops.dead_letters.showing import only_one, pretty
from ops.errors import INTERRUPTED, PROBLEMS_FOUND, USAGE, OpsError, explain
from ops.interrupt import Interrupt

if TYPE_CHECKING:
    from pathlib import Path

    from azure.servicebus import ServiceBusReceiver

    from ops.dead_letters.letter import Letter
    from ops.dead_letters.resubmitting import Mend
    from ops.dead_letters.selection import Selection
    from ops.target import Target


@dataclass(frozen=True)
class How:
    """The options of the command. wait: seconds."""

    yes: bool
    set_job_id: str | None
    edit: bool
    wait: float
    journal: Path | None


def resubmit(target: Target, selection: Selection, how: How) -> None:
    """Say what would be sent again and, with `how.yes`, do it.

    Raises:
        OpsError: something is left in the queue, or the run was interrupted; the sentence says how much.
    """
    mend: Mend = _unchanged
    with dead_letter_receiver(target) as receiver:
        if _mends(how):
            mended = _mended(receiver, selection, how, target)
            # This letter and no other: one that fits too may have come while the editor was open.
            plan, mend = Plan.of(mended), _bodily(mended)
        else:
            with progress("dead letters read:") as bar:
                plan = make_plan(receiver, selection, bar)
    if not plan.count and not plan.unfit_count:
        raise OpsError(
            f"No dead letter that fits in queue '{target.queue}'. See: python -m ops dead-letters list", PROBLEMS_FOUND
        )
    show_plan(plan, acts=how.yes)
    if plan.count and how.yes:
        _send(target, plan, mend, how)
    elif plan.count:
        if _mends(how):
            stdout().print("The body would be:", style="name")
            stdout().print(pretty(plan.shown[0].body), markup=False)
        say_add_yes(plan)
    if plan.missing:
        stderr().print(f"Nothing fits {plan.missing}.", style="warn", markup=False)
    if plan.unfit_count:
        raise OpsError(
            f"{counted(plan.unfit_count)} cannot be sent again: the body is no cancellation. Mend one at a time: "
            f"python -m ops dead-letters resubmit {plan.unfit[0].sequence_number} --edit",
            PROBLEMS_FOUND,
        )
    if plan.missing:
        raise OpsError("Look at what there is: python -m ops dead-letters list", PROBLEMS_FOUND)


def _send(target: Target, plan: Plan, mend: Mend, how: How) -> None:
    wanted, total = plan.wanted, plan.count
    failure: OpsError | None = None
    path = how.journal or journal_path(target, os.environ)
    with open_journal(path) as journal, Interrupt() as interrupt, progress("sent again:", total) as bar:
        if _mends(how):
            settle_doubts(journal, target)
            if journal.sent & set(wanted.letters.values()):
                raise OpsError(
                    "An earlier run has sent this letter again as it was. Take it out without --edit and --set-job-id, "
                    "and send the right cancellation: python -m ops send --job-id ID"
                )
        run = Resubmitter(target, journal, mend, bar)
        try:
            run.run(wanted, how.wait, interrupt)
        except Exception as error:  # noqa: BLE001  # what is done has to be told first
            failure = explain(error, target, "Send")
        done = run.done
    text = f"{done.sent:,} sent again"
    if done.sent_before:
        text += f", {done.sent_before:,} had been sent by an earlier run"
    gone = total - len(wanted.letters) - done.completed
    text += f"; {counted(done.completed)} taken out of the queue" + (f", {gone:,} already gone." if gone else ".")
    stderr().print(text, style="warn" if failure or wanted.letters else "good", markup=False)
    left = counted(len(wanted.letters))
    if failure:
        raise OpsError(f"{failure.sentence} {left} left; the same command goes on.", failure.exit_code)
    if interrupt.requested:
        raise OpsError(f"Interrupted, {left} left; the same command goes on.", INTERRUPTED)
    if wanted.letters:
        raise OpsError(f"{left} locked by somebody else. Try again when the locks have ended.", PROBLEMS_FOUND)


def show_plan(plan: Plan, *, acts: bool) -> None:
    """Print what is not fit to be sent again and, where nothing is done yet, what would be."""
    out = stdout()
    if plan.unfit:
        out.print("Not fit to be sent again:", style="warn")
        out.print(rows(plan.unfit, out.width, with_reason=True))
    if not plan.count or acts:
        return
    made = table("reason", "would be sent again", right=("would be sent again",))
    for reason, count in sorted(plan.reasons.items(), key=lambda item: -item[1]):
        made.add_row(Text(plain(reason), "reason"), f"{count:,}")
    out.print(made)
    out.print()
    out.print(rows(plan.shown, out.width, with_reason=True), end="")
    if plan.count > len(plan.shown):
        out.print(f"          … and {plan.count - len(plan.shown):,} more", style="faint")


def say_add_yes(plan: Plan) -> None:
    stderr().print(f"Nothing was sent. To send {counted(plan.count)} again, add --yes.", style="name", markup=False)


def _mended(receiver: ServiceBusReceiver, selection: Selection, how: How, target: Target) -> Letter:
    """The one letter that is meant, with another body."""
    given = next(iter([*map(str, selection.sequence_numbers), *selection.message_ids]), "")
    with closing(select(receiver, selection)) as letters:
        found = list(letters if given else islice(letters, 2))
    if not given and len(found) > 1:
        raise OpsError("--edit and --set-job-id mend one letter: give its number.", USAGE)
    letter = only_one(found, given, target.queue)
    if how.set_job_id is not None:
        letter = with_job_id(letter, how.set_job_id)
    return edited(letter, os.environ) if how.edit else letter


def _bodily(mended: Letter) -> Mend:
    """What puts the new body into the letter once it is locked."""
    body = mended.body.decode()
    return lambda given: with_body(given, body)


def _mends(how: How) -> bool:
    return how.edit or how.set_job_id is not None


def _unchanged(letter: Letter) -> Letter:
    return letter


def counted(count: int) -> str:
    return f"{count:,} dead letter{'s' * (count != 1)}"
