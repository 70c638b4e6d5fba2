"""Which dead letters are meant: by id, reason, job and age."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ops.errors import USAGE, OpsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ops.dead_letters.letter import Letter

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MOST_NAMED = 10  # of each kind, in a sentence
_LONGEST = 36_500 * 86_400.0  # seconds; more leaves the calendar


@dataclass(frozen=True)
class Selection:
    """All that is given has to fit; within ids, reasons and jobs one of them does. Times in UTC."""

    sequence_numbers: frozenset[int] = frozenset()
    message_ids: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    jobs: frozenset[str] = frozenset()
    enqueued_before: datetime | None = None
    enqueued_after: datetime | None = None

    @classmethod
    def of(
        cls,
        ids: Sequence[str] = (),
        reasons: Iterable[str] = (),
        jobs: Iterable[str] = (),
        older_than: str | None = None,
        newer_than: str | None = None,
    ) -> Selection:
        """Read the options.

        ids: digits mean a sequence number; anything else, or anything behind `id:`, a MessageId, the letter's or the
        first one that its sender gave. Ages such as 90s, 15m, 2h, 3d, 1w, or 1d12h, counted from now.

        Raises:
            OpsError: an age is malformed.
        """
        numbers = frozenset(int(given) for given in ids if _is_number(given))
        texts = frozenset(given.removeprefix("id:") for given in ids if not _is_number(given))
        now = datetime.now(UTC)
        return cls(
            numbers,
            texts,
            frozenset(reason.casefold() for reason in reasons),
            frozenset(jobs),
            None if older_than is None else now - age(older_than),
            None if newer_than is None else now - age(newer_than),
        )

    @property
    def is_everything(self) -> bool:
        return self == Selection()

    @property
    def only_by_number(self) -> bool:
        """Whether the sequence numbers say all, so that nothing else has to be read."""
        return bool(self.sequence_numbers) and not self.message_ids

    def takes(self, letter: Letter) -> bool:
        """Whether this letter is meant."""
        by_id = self.sequence_numbers or self.message_ids
        return (
            (not by_id or letter.sequence_number in self.sequence_numbers or self._names(letter))
            and (not self.reasons or letter.reason.casefold() in self.reasons)
            and (not self.jobs or letter.job_id in self.jobs)
            and (not self.enqueued_before or bool(letter.enqueued and letter.enqueued <= self.enqueued_before))
            and (not self.enqueued_after or bool(letter.enqueued and letter.enqueued >= self.enqueued_after))
        )

    def _names(self, letter: Letter) -> bool:
        return letter.message_id in self.message_ids or letter.first_id in self.message_ids


class Found:
    """What of a selection has met a letter; the rest may be mistyped."""

    def __init__(self, selection: Selection) -> None:
        self._numbers = set(selection.sequence_numbers)
        self._ids = set(selection.message_ids)
        self._reasons = set(selection.reasons)
        self._jobs = set(selection.jobs)

    def note(self, letter: Letter) -> None:
        self._numbers.discard(letter.sequence_number)
        self._ids -= {letter.message_id, letter.first_id}
        self._reasons.discard(letter.reason.casefold())
        self._jobs.discard(letter.job_id or "")

    @property
    def missing(self) -> str:
        """In words; empty where nothing is missing."""
        named = [*map(str, sorted(self._numbers)), *sorted(self._ids)]
        parts = [("id", named), ("reason", sorted(self._reasons)), ("job", sorted(self._jobs))]
        return ", ".join(f"{kind} {value!r}" for kind, values in parts for value in values[:_MOST_NAMED])


def chosen(selection: Selection, *, everything: bool) -> Selection:
    """The same, once it is sure that somebody chose: by something, or everything, not by leaving all options out.

    Raises:
        OpsError: nothing is chosen, or everything and something.
    """
    if everything and not selection.is_everything:
        raise OpsError("--all takes everything: leave out the ids and the other filters, or leave out --all.", USAGE)
    if not everything and selection.is_everything:
        raise OpsError("Say which letters: ids, --reason, --job, --older-than, --newer-than or --all.", USAGE)
    return selection


def age(text: str) -> timedelta:
    """A length of time such as 2h or 1d12h.

    Raises:
        OpsError: it is not one.
    """
    compact = text.strip().lower()
    if not re.fullmatch(r"(\d{1,9}[smhdw])+", compact):
        raise OpsError(f"{text!r} is not an age. Write it as 90s, 15m, 2h, 3d or 1w.", USAGE)
    seconds = sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)([smhdw])", compact))
    return timedelta(seconds=min(seconds, _LONGEST))


def _is_number(given: str) -> bool:
    return given.isascii() and given.isdigit() and len(given) < 20
