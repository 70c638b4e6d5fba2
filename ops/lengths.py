"""Lengths and points of time, as people write and read them: 90s, 2h30m; 3 min 5 s."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from ops.errors import USAGE, OpsError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST = 366 * 86_400  # seconds; nobody schedules a cancellation further ahead
_SPELLED = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def spell(length: timedelta | float) -> str:
    """The two largest units of it, such as `2 h 5 min`. A number is seconds."""
    left = int(length.total_seconds() if isinstance(length, timedelta) else length)
    parts: list[str] = []
    for unit, name in _SPELLED:
        count, left = divmod(max(0, left), unit)
        if count:
            parts.append(f"{count:,} {name}")
        if parts and (len(parts) == 2 or not count):
            break
    return " ".join(parts) or "0 s"


def schedule(after: str | None, at: str | None) -> datetime | None:
    """When a message is to be enqueued, UTC; None for at once.

    after: seconds, or a length such as 90s, 10m, 2h30m, 1d. at: ISO 8601 with an offset.

    Raises:
        OpsError: both are given, or one is malformed (as an empty one is), past, or more than a year ahead.
    """
    if after is not None and at is not None:
        raise OpsError("--schedule-in and --schedule-at exclude each other: give one.", USAGE)
    now = datetime.now(UTC)
    if after is not None:
        return now + _length(after)
    if at is None:
        return None
    try:
        moment = datetime.fromisoformat(at.strip())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise OpsError(f"--schedule-at is no time with an offset: {at!r}. Write it as {_example(now)}.", USAGE)
    if moment <= now:
        raise OpsError(f"--schedule-at is past: {at}. It is now {now:%Y-%m-%dT%H:%M:%SZ}.", USAGE)
    if moment - now > timedelta(seconds=_LONGEST):
        raise OpsError(f"--schedule-at is more than a year ahead: {at}. It is now {now:%Y-%m-%dT%H:%M:%SZ}.", USAGE)
    return moment.astimezone(UTC)


def _length(text: str) -> timedelta:
    compact = text.replace(" ", "").lower()
    compact = f"{compact}s" if compact.isascii() and compact.isdigit() else compact
    if not re.fullmatch(r"([0-9]{1,9}[smhdw])+", compact):
        raise OpsError(f"--schedule-in is no length of time: {text!r}. Write it as 90s, 10m, 2h30m or 1d.", USAGE)
    seconds = sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"([0-9]+)([smhdw])", compact))
    if seconds > _LONGEST:
        raise OpsError(f"--schedule-in is longer than a year: {text!r}.", USAGE)
    return timedelta(seconds=seconds)


def _example(now: datetime) -> str:
    return f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
