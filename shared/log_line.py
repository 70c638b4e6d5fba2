"""The one log line of a delivery, as JSON. docs/monitoring.md lists its fields; queries and alerts read them."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from shared.job_router_error import RequestId

logger = logging.getLogger("cancel_job")

_LINE_LIMIT = 8 * 1024  # bytes; Application Insights cuts at 32,768 characters, and no query reads a line that is cut
_ID_LIMIT = 128  # characters; what Service Bus allows a MessageId


@dataclass
class LogLine:
    """The line in the making. Never a note, never a body, never a setting's value."""

    message_id: str | None
    attempt: int
    delivery_count: int | None
    invocation_id: str
    job_id: str | None = None
    outcome: str = ""
    reason: str | None = None
    description: str | None = None
    status: int | None = None
    request_id: str | None = None
    request_id_header: str | None = None
    delay_seconds: float | None = None
    not_postponed: str | None = None
    not_settled: str | None = None
    age_seconds: float | None = None  # since the sender's message was enqueued: on arrival, in the line at the end
    started: float = field(default_factory=time.monotonic)

    def called(self, request_id: RequestId | None) -> None:
        """Keep the id of the call that decided, and the header that it stood in."""
        if request_id:
            self.request_id_header, self.request_id = request_id

    def elapsed(self) -> float:
        """Seconds since the delivery began."""
        return time.monotonic() - self.started

    def write(self, level: int) -> None:
        """Write the line, at most 8 KiB of it, at this level of the logger `cancel_job`; never raises."""
        if logger.isEnabledFor(level):
            fields = {name: value for name, value in vars(self).items() if value is not None and name != "started"}
            duration = self.elapsed()
            fields["duration_ms"] = round(duration * 1000, 1)
            if self.age_seconds is not None:
                fields["age_seconds"] = round(self.age_seconds + duration, 1)
            for name in ("message_id", "invocation_id"):
                if name in fields:
                    fields[name] = fields[name][:_ID_LIMIT]
            _write(level, fields)


def write_worker_line(level: int, outcome: str, reason: str, description: str) -> None:
    """A line about the worker, not about a message; never raises."""
    _write(level, {"outcome": outcome, "reason": reason, "description": description})


def _write(level: int, fields: dict[str, Any]) -> None:
    try:
        logger.log(level, "%s", _encoded(fields))
    except Exception as error:  # noqa: BLE001  # a handler or an exporter broke: the message is settled all the same
        sys.stderr.write(f"cancel_job: a log line could not be written ({type(error).__name__}).\n")


def _encoded(fields: dict[str, Any]) -> str:
    """As JSON; the description, the only long text in it, gives way where the line would be too long."""
    try:
        line = msgspec.json.encode(fields)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON text may hold and UTF-8 may not
        fields = {name: _whole(value) for name, value in fields.items()}
        line = msgspec.json.encode(fields)
    if len(line) > _LINE_LIMIT and "description" in fields:
        spare = _LINE_LIMIT - len(msgspec.json.encode({**fields, "description": "…"}))
        kept = fields["description"]
        while len(msgspec.json.encode(kept)) - len(b'""') > spare:
            kept = kept[: len(kept) * 3 // 4]
        line = msgspec.json.encode({**fields, "description": f"{kept}…"})
    return line.decode()


def _whole(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
