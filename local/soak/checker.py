"""Looks at Job Router's jobs and at the queue from outside, and counts what must be zero."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from local.soak.plan import CANCELLED, SECRET_NOTE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from local.job_router import Job
    from local.service_bus import StoredMessage
    from local.soak.plan import Planned


@dataclass
class Findings:
    """Message or job ids; every list has to be empty."""

    lost: list[str] = field(default_factory=list)
    good_dead_lettered: list[str] = field(default_factory=list)
    without_reason: list[str] = field(default_factory=list)
    wrong_cancels: list[str] = field(default_factory=list)
    secrets_told: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(len(found) for found in vars(self).values())


def check(planned: list[Planned], jobs: list[Job], letters: list[StoredMessage], logs: list[Path]) -> Findings:
    """Compare what became of everything with the plan; the queue itself has to be empty by now."""
    findings = Findings()
    by_id = {message.message_id: message for message in planned}
    status = {job.id: job.status for job in jobs}
    buried = {first_id(letter): letter for letter in letters}
    for message in planned:
        if message.expected == CANCELLED:
            if status.get(message.job_id or "") != "cancelled" and message.message_id not in buried:
                findings.lost.append(message.message_id)
        elif message.message_id not in buried:
            findings.lost.append(message.message_id)
    for message_id, letter in buried.items():
        reason = _property(letter, "DeadLetterReason")
        description = _property(letter, "DeadLetterErrorDescription")
        if not (reason and description):
            findings.without_reason.append(message_id)
        if by_id[message_id].expected == CANCELLED:
            findings.good_dead_lettered.append(f"{message_id} ({by_id[message_id].kind}): {reason}: {description}")
        elif by_id[message_id].expected != reason:
            findings.without_reason.append(f"{message_id}: {reason} instead of {by_id[message_id].expected}")
        if SECRET_NOTE in description:
            findings.secrets_told.append(message_id)
    findings.wrong_cancels += _wrong_cancels(planned, jobs)
    for log in logs:
        if SECRET_NOTE in log.read_text(encoding="utf-8", errors="replace"):
            findings.secrets_told.append(log.name)
    return findings


def _wrong_cancels(planned: list[Planned], jobs: list[Job]) -> Iterable[str]:
    """Jobs that were cancelled though nobody asked, or more than once, or with another job's note or code."""
    wanted = {m.job_id: m.note for m in planned if m.expected == CANCELLED}
    for job in jobs:
        if job.cancel_count and (
            job.id not in wanted
            or job.cancel_count > 1
            or [note.message for note in job.notes] != [wanted[job.id]]
            or job.disposition_code != f"code-{job.id}"
        ):
            yield job.id


def first_id(letter: StoredMessage) -> str:
    """The MessageId that the sender gave: the same for two letters that a crash made of one message."""
    return _property(letter, "CancelJobMessageId") or str(letter.message_id)


def _property(letter: StoredMessage, name: str) -> str:
    return str(letter.application_properties.get(name) or "")
