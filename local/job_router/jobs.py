"""The jobs and what a cancel does to them. Knows nothing of HTTP."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypedDict, Unpack

JOB_STATUSES = frozenset(
    {
        "pendingClassification",
        "queued",
        "assigned",
        "completed",
        "closed",
        "cancelled",
        "classificationFailed",
        "created",
        "pendingSchedule",
        "scheduled",
        "scheduleFailed",
        "waitingForActivation",
    }
)
# `cancelled` and `closed` are final for the API itself: its "active" filter leaves out only these two. A
# completed job is done with as well: all that is left for it is to be closed.
UNCANCELLABLE_STATUSES = frozenset({"cancelled", "closed", "completed"})
DEFAULT_DISPOSITION_CODE = "Cancelled"


class JobNotFoundError(Exception):
    """There is no job with this id."""


class JobNotCancellableError(Exception):
    """The job's status does not allow a cancel."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Note(NamedTuple):
    """A note on a job and when it was added."""

    added_at: datetime
    message: str


class JobFields(TypedDict, total=False):
    """What can be given for a new job besides its id and status."""

    channel_id: str
    channel_reference: str | None
    queue_id: str
    priority: int
    labels: Mapping[str, Any]
    tags: Mapping[str, Any]
    disposition_code: str | None
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """A job at one moment. `cancel_count` counts the cancels that changed it."""

    id: str
    status: str
    enqueued_at: datetime
    channel_id: str = "chat"
    channel_reference: str | None = None
    queue_id: str = "queue-1"
    priority: int = 1
    labels: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    disposition_code: str | None = None
    notes: tuple[Note, ...] = ()
    cancel_count: int = 0

    def as_json(self) -> dict[str, Any]:
        """The job as the service documents it; fields that are not set are left out."""
        document: dict[str, Any] = {
            # Its first eight digits count the changes, as recorded; the rest means nothing here.
            "etag": f'"{self.cancel_count + 1:08x}-0000-0000-0000-000000000000"',
            "id": self.id,
            "channelReference": self.channel_reference,
            "status": self.status,
            "enqueuedAt": _rfc3339(self.enqueued_at),
            "channelId": self.channel_id,
            "queueId": self.queue_id,
            "priority": self.priority,
            "dispositionCode": self.disposition_code,
            "labels": dict(self.labels),
            "tags": dict(self.tags),
            "notes": [{"message": note.message, "addedAt": _rfc3339(note.added_at)} for note in self.notes],
        }
        return {name: value for name, value in document.items() if value is not None}


class JobStore:
    """All jobs, safe to use from any thread.

    With `second_cancel_is_ok`, cancelling a cancelled job is accepted and changes nothing.
    """

    def __init__(self, *, second_cancel_is_ok: bool = False) -> None:
        self._second_cancel_is_ok = second_cancel_is_ok
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def add(self, job_id: str, status: str, now: datetime, **fields: Unpack[JobFields]) -> Job:
        """Add a job, replacing one with the same id."""
        if status not in JOB_STATUSES:
            raise ValueError(f"{status!r} is not a job status. Use one of: {', '.join(sorted(JOB_STATUSES))}.")
        job = Job(job_id, status, now, **fields)
        with self._lock:
            self._jobs[job_id] = job
        return job

    def get(self, job_id: str) -> Job:
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise JobNotFoundError(job_id)
        return job

    def all(self) -> list[Job]:
        with self._lock:
            return list(self._jobs.values())

    def cancel(self, job_id: str, now: datetime, disposition_code: str | None, note: str | None) -> Job:
        """Raises JobNotFoundError, or JobNotCancellableError with the job's status."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                raise JobNotFoundError(job_id)
            if job.status == "cancelled" and self._second_cancel_is_ok:
                return job
            if job.status in UNCANCELLABLE_STATUSES:
                raise JobNotCancellableError(job.status)
            job = replace(
                job,
                status="cancelled",
                disposition_code=DEFAULT_DISPOSITION_CODE if disposition_code is None else disposition_code,
                notes=job.notes if note is None else (*job.notes, Note(now, note)),
                cancel_count=job.cancel_count + 1,
            )
            self._jobs[job_id] = job
            return job


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
