"""`check`: the doctor."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.console import is_screen, plain, progress, stdout
from ops.errors import PROBLEMS_FOUND
from ops.finding import Finding, Result
from ops.target import target_of

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {Result.OK: "good", Result.WARN: "warn", Result.FAIL: "bad", Result.SKIP: "faint"}


def check(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings too.")] = False,
    no_job_router: Annotated[
        bool, typer.Option("--no-job-router", help="Leave out Job Router and its settings.")
    ] = False,
) -> None:
    """Examine settings, network, rights, the queue's properties and Job Router. Changes nothing.

    Sends nothing, takes nothing out of the queue, and asks Job Router only
    for a job that cannot exist. The queue's properties need the Manage right;
    without it they are skipped.

    Exits with 0 when nothing has failed, with 1 otherwise.

    Examples:
    [bold]
        python -m ops check
        python -m ops check --json | jq '.checks[] | select(.result != "ok")'
        python -m ops check --strict --queue job-cancellations
    [/bold]
    """
    from ops.doctor import examine

    findings: list[Finding] = []
    with progress("things examined:") as bar:
        for finding in examine(lambda: target_of(context), os.environ, with_job_router=not no_job_router):
            findings.append(finding)
            bar(1)
            if not as_json:
                _show(bar.out, finding)
    counts = {result: sum(finding.result is result for finding in findings) for result in Result}
    is_well = not counts[Result.FAIL] and not (strict and counts[Result.WARN])
    if as_json:
        sys.stdout.write(json.dumps(_document(findings, is_well=is_well), ensure_ascii=False, indent=2) + "\n")
    else:
        stdout().print(_summary(counts), style="good" if is_well else "bad")
    if not is_well:
        raise typer.Exit(PROBLEMS_FOUND)


def _show(out: Console, finding: Finding) -> None:
    from rich.table import Table
    from rich.text import Text

    if not is_screen(out):  # one line each, for grep
        step = f" -> {plain(finding.next_step)}" if finding.next_step else ""
        sys.stdout.write(f"{finding.result:<4}  {finding.check:<12}  {plain(finding.seen)}{step}\n")
        return
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=4)
    row.add_column(width=12)
    row.add_column(overflow="fold")
    style = _STYLES[finding.result]
    row.add_row(Text(finding.result, style), Text(finding.check, "name"), Text(plain(finding.seen)))
    if finding.next_step:
        row.add_row("", "", Text(f"→ {plain(finding.next_step)}", style))
    out.print(row)


def _summary(counts: dict[Result, int]) -> str:
    failed, warned = counts[Result.FAIL], counts[Result.WARN]
    parts = [f"{failed} failed"] if failed else []
    parts += [f"{warned} warning{'s' * (warned != 1)}"] if warned else []
    parts += [f"{counts[Result.OK]} well"]
    parts += [f"{counts[Result.SKIP]} skipped"] if counts[Result.SKIP] else []
    return ", ".join(parts) + "."


def _document(findings: list[Finding], *, is_well: bool) -> dict[str, Any]:
    return {
        "well": is_well,
        "checks": [
            {"check": one.check, "result": one.result.lower(), "seen": one.seen, "nextStep": one.next_step or None}
            for one in findings
        ],
    }
