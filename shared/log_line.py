"""The one log line of a delivery, as JSON. docs/monitoring.md lists its fields; queries and alerts read them."""

from __future__ import annotations

import logging
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
    age_seconds: float | None = None  # since the sender's message was enqueued: on arrival, in the line at the end
    started: float = field(default_factory=time.monotonic)

    def called(self, request_id: RequestId | None) -> None:
        """Keep the id of the call that decided, and the header that it stood in."""
        if request_id:
            self.request_id_header, self.request_id = request_id

    def write(self, level: int) -> None:
        """Write the line, at most 8 KiB of it, at this level of the logger `cancel_job`."""
        if logger.isEnabledFor(level):
            fields = {name: value for name, value in vars(self).items() if value is not None and name != "started"}
            duration = time.monotonic() - self.started
            fields["duration_ms"] = round(duration * 1000, 1)
            if self.age_seconds is not None:
                fields["age_seconds"] = round(self.age_seconds + duration, 1)
            for name in ("message_id", "invocation_id"):
                if name in fields:
                    fields[name] = fields[name][:_ID_LIMIT]
            logger.log(level, "%s", _encoded(fields))


def write_worker_line(level: int, outcome: str, reason: str, description: str) -> None:
    """A line about the worker, not about a message."""
    logger.log(level, "%s", _encoded({"outcome": outcome, "reason": reason, "description": description}))


def _encoded(fields: dict[str, Any]) -> str:
    """As JSON; the description, the only long text in it, gives way where the line would be too long."""
    line = msgspec.json.encode(fields)
    if len(line) > _LINE_LIMIT and "description" in fields:
        spare = _LINE_LIMIT - len(msgspec.json.encode({**fields, "description": "…"}))
        kept = fields["description"]
        while len(msgspec.json.encode(kept)) - len(b'""') > spare:
            kept = kept[: len(kept) * 3 // 4]
        line = msgspec.json.encode({**fields, "description": f"{kept}…"})
    return line.decode()
