"""`python -m local.demo`: some dozens of messages through the whole stack, and what became of each.

Exits 0 only when every message ended as the policy says, seen from outside: in the Job Router's jobs and in the
dead-letter queue, not in what the function says of itself.
"""

from __future__ import annotations

import json
import logging
import sys
import time

from azure.servicebus import ServiceBusClient, ServiceBusMessage
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.dead_letters import read_dead_letters
from local.demo_cases import CANCELLED, Case, demo_cases
from local.stack import Stack

_PATIENCE_SECONDS = 60.0
_ENDED = {"Cancelled", "AlreadyCancelled", "DeadLetter"}


class LogLines(logging.Handler):
    """Keeps the function's one line per delivery, by message id."""

    def __init__(self) -> None:
        super().__init__()
        self.by_message: dict[str, list[dict[str, object]]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        line = json.loads(record.getMessage())
        self.by_message.setdefault(line["message_id"], []).append(line)

    @property
    def ended(self) -> int:
        return sum(lines[-1]["outcome"] in _ENDED for lines in list(self.by_message.values()))


def main() -> int:
    """Run the demo; 0 when every message ended as the policy says."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    lines = LogLines()
    for name, handler in (("cancel_job", lines), ("local.host", logging.NullHandler())):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False
    started = time.monotonic()
    with Stack() as stack:
        console.print(f"Service Bus on port {stack.broker.port}, Job Router on port {stack.job_router.port}.")
        cases = demo_cases(stack.job_router)
        _send(stack.broker.connection_string, stack.queue.name, cases)
        settled = _watch(stack, console, lines, len(cases))
        letters = read_dead_letters(stack.broker.connection_string, stack.queue.name)
        dead = {str(letter.message_id): letter for letter in letters}
        wrong = [case.message_id for case in cases if not _as_expected(case, stack, dead)]
        console.print(_message_table(cases, lines, wrong))
        console.print(_dead_letter_table(letters))
    good = sum(case.expected == CANCELLED for case in cases)
    console.print(
        f"{len(cases)} messages: {good} cancelled, {len(cases) - good - len(dead)} already cancelled, "
        f"{len(dead)} dead-lettered, {len(wrong)} not as the policy says; {time.monotonic() - started:.1f} s."
    )
    return 0 if settled and not wrong else 1


def _send(connection_string: str, queue: str, cases: list[Case]) -> None:
    with ServiceBusClient.from_connection_string(connection_string) as client, client.get_queue_sender(queue) as sender:
        sender.send_messages(
            [
                ServiceBusMessage(
                    case.body,
                    message_id=case.message_id,
                    content_type=case.content_type,
                    application_properties=dict(case.properties),
                )
                for case in cases
            ]
        )


def _watch(stack: Stack, console: Console, lines: LogLines, total: int) -> bool:
    columns = (TextColumn("messages ended"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("messages", total=total)
        while time.monotonic() < deadline:
            stack.broker.wait_until(lambda _: lines.ended > progress.tasks[task].completed, 0.2)
            progress.update(task, completed=lines.ended)
            counts = stack.broker.counts(stack.queue.name)
            if lines.ended >= total and not (counts.active or counts.locked):
                return True
    return False


def _as_expected(case: Case, stack: Stack, dead: dict[str, object]) -> bool:
    letter = dead.get(case.message_id)
    if case.is_dead_letter:
        return letter is not None and getattr(letter, "dead_letter_reason", None) == case.expected
    job_id = json.loads(case.body).get("jobId") if case.job_id is None else case.job_id
    return letter is None and stack.job_router.job(job_id).status == "cancelled"


def _message_table(cases: list[Case], lines: LogLines, wrong: list[str]) -> Table:
    table = Table(title="Every message and what became of it", title_justify="left")
    for heading in ("message", "kind", "outcome", "reason", "deliveries", "as it must"):
        table.add_column(heading, justify="right" if heading == "deliveries" else "left", no_wrap=heading != "kind")
    for case in cases:
        told = lines.by_message.get(case.message_id, [{"outcome": "nothing"}])
        reason = str(told[-1].get("reason") or (f"after {told[-2].get('reason')}" if len(told) > 1 else ""))
        verdict = "[red]NO[/red]" if case.message_id in wrong else "yes"
        table.add_row(case.message_id, case.kind, str(told[-1]["outcome"]), reason, str(len(told)), verdict)
    return table


def _dead_letter_table(letters: list[object]) -> Table:
    table = Table(title="The dead-letter queue", title_justify="left", show_lines=True)
    for heading in ("message", "reason", "description"):
        table.add_column(heading)
    for letter in letters:
        fields = ("message_id", "dead_letter_reason", "dead_letter_error_description")
        table.add_row(*(str(getattr(letter, field)) for field in fields))
    return table


if __name__ == "__main__":
    sys.exit(main())
