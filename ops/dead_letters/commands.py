"""`dead-letters …`: the options of each command, and nothing else; what they do is in the modules beside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.target import target_of

app = typer.Typer(
    no_args_is_help=True,
    help="Find, understand, mend and send again what the function gave up.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _complete_reason(incomplete: str) -> list[str]:
    """For the shell: the reasons that the function and the broker give by themselves."""
    from ops.dead_letters.advice import REASONS

    return [reason for reason in REASONS if reason.startswith(incomplete)]


Reasons = Annotated[
    list[str] | None,
    typer.Option(
        "--reason", metavar="REASON", help="Only this reason; may be repeated.", autocompletion=_complete_reason
    ),
]
Jobs = Annotated[list[str] | None, typer.Option("--job", metavar="ID", help="Only this job; may be repeated.")]
OlderThan = Annotated[str | None, typer.Option(metavar="AGE", help="Enqueued longer ago than 15m, 2h, 3d, …")]
NewerThan = Annotated[str | None, typer.Option(metavar="AGE", help="Enqueued within the last 15m, 2h, 3d, …")]
Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Numbers in the queue, or MessageIds: the letters' or their senders'."),
]
Wait = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="How long to wait for letters that somebody else has locked; a lock lasts 5 minutes at most.",
    ),
]
JournalFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Where it is noted what was sent; else the folder for state.")
]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after so many.")]


@app.command("list")
def list_command(
    context: typer.Context,
    reason: Reasons = None,
    job: Jobs = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Limit = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """What is there and why: grouped by reason, a row for each. Takes nothing out of the queue.

    Examples:
    [bold]
        python -m ops dead-letters list
        python -m ops dead-letters list --reason JobNotFound --newer-than 2h
        python -m ops dead-letters list --json | jq -r .jobId
    [/bold]
    """
    from ops.dead_letters.listing import list_as_json, list_letters
    from ops.dead_letters.reading import dead_letter_receiver
    from ops.dead_letters.selection import Selection

    target = target_of(context)
    selection = Selection.of((), reason or (), job or (), older_than, newer_than)
    with dead_letter_receiver(target) as receiver:
        if as_json:
            list_as_json(receiver, selection, limit)
        else:
            list_letters(receiver, selection, limit, target.queue)


@app.command("show")
def show_command(
    context: typer.Context,
    given: Annotated[
        str, typer.Argument(metavar="ID", help="Number in the queue, or a MessageId: the letter's or its sender's.")
    ],
) -> None:
    """One letter, whole: why, what the policy says, what to do next, its history, body and properties.

    Examples:
    [bold]
        python -m ops dead-letters show 12
        python -m ops dead-letters show order-4711
    [/bold]
    """
    from ops.console import stdout
    from ops.dead_letters.reading import dead_letter_receiver, select
    from ops.dead_letters.selection import Selection
    from ops.dead_letters.showing import only_one, show_letter

    target = target_of(context)
    with dead_letter_receiver(target) as receiver:
        letter = only_one(select(receiver, Selection.of((given,))), given, target.queue)
    show_letter(stdout(), letter)


@app.command("resubmit")
def resubmit_command(
    context: typer.Context,
    ids: Ids = None,
    reason: Reasons = None,
    job: Jobs = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    everything: Annotated[bool, typer.Option("--all", help="Every dead letter of the queue.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")] = False,
    set_job_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Put this job id into the body. One letter only.")
    ] = None,
    edit: Annotated[bool, typer.Option("--edit", help="Mend the body in $EDITOR. One letter only.")] = False,
    wait: Wait = 310.0,
    journal: JournalFile = None,
) -> None:
    """Send letters again, with a fresh attempt count. Without --yes it only says what it would do.

    A letter leaves the queue only after its copy is sent: nothing is lost, however the run ends.

    What a stopped run has sent, the next one does not send twice.

    A letter whose body the function cannot read stays.

    Examples:
    [bold]
        python -m ops dead-letters resubmit --reason RetriesExhausted
        python -m ops dead-letters resubmit --reason RetriesExhausted --yes
        python -m ops dead-letters resubmit 12 --set-job-id 8780b28c --yes
    [/bold]
    """
    from ops.dead_letters.resubmit_run import How, resubmit
    from ops.dead_letters.selection import Selection, chosen

    target = target_of(context)
    selection = chosen(Selection.of(ids or (), reason or (), job or (), older_than, newer_than), everything=everything)
    how = How(yes, set_job_id, edit, wait, journal)
    resubmit(target, selection, how)


@app.command("export")
def export_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file; one JSON object a line.")],
    reason: Reasons = None,
    job: Jobs = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
) -> None:
    """Write letters to a file, with everything needed to send them again. Takes nothing out of the queue.

    Examples:
    [bold]
        python -m ops dead-letters export letters.jsonl
        python -m ops dead-letters export old.jsonl --reason JobNotCancellable --older-than 3d
    [/bold]
    """
    from ops.console import progress, stderr
    from ops.dead_letters.exporting import export
    from ops.dead_letters.reading import dead_letter_receiver
    from ops.dead_letters.selection import Selection

    target = target_of(context)
    selection = Selection.of((), reason or (), job or (), older_than, newer_than)
    with dead_letter_receiver(target) as receiver:
        with progress("dead letters read:") as bar:
            count = export(receiver, selection, file, bar)
        stderr().print(f"{count:,} dead letters are in {file}.", style="good", markup=False)


@app.command("restore")
def restore_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `dead-letters export` wrote.", exists=True)],
    reason: Reasons = None,
    job: Jobs = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")] = False,
    journal: JournalFile = None,
) -> None:
    """Send again what a file of `export` holds and the dead-letter queue no longer has: after a purge, or elsewhere.

    Letters that are still in the dead-letter queue are left to `resubmit`.

    What a stopped run has sent, the next one does not send twice.

    Examples:
    [bold]
        python -m ops dead-letters restore old.jsonl
        python -m ops dead-letters restore old.jsonl --job 8780b28c --yes
    [/bold]
    """
    from ops.dead_letters.restoring import restore
    from ops.dead_letters.selection import Selection

    target = target_of(context)
    selection = Selection.of((), reason or (), job or ())
    restore(target, file, selection, journal, yes=yes)


@app.command("purge")
def purge_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `dead-letters export` wrote.", exists=True)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Wait = 310.0,
) -> None:
    """Remove from the queue the letters that a file of `export` holds, and no others. Asks before.

    Examples:
    [bold]
        python -m ops dead-letters purge old.jsonl
    [/bold]
    """
    from ops.dead_letters.purge_run import purge_file

    purge_file(target_of(context), file, wait, yes=yes)
