"""What was measured, for readers: the table as Markdown, everything as JSON, and how many goals are met."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.rows import Measured, Row, Spread

TITLES = {
    "calls": "CPU per call",
    "invocation": "CPU per invocation",
    "cold_start": "Cold start",
    "throughput": "Throughput",
    "queue_growth": "Cost as the queue grows",
    "memory": "Memory",
    "dead_lettering": "Dead-lettering",
}
_PACKAGES = ("requests", "urllib3", "azure-communication-jobrouter", "azure-core", "azure-servicebus")


def machine() -> dict[str, Any]:
    """What decides the figures besides the code; nothing that says whose machine it is."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def table(parts: Mapping[str, Measured]) -> str:
    """Markdown: one block per part, with its notes beneath."""
    return "\n\n".join(_block(TITLES.get(name, name), measured.rows) for name, measured in parts.items())


def as_json(parts: Mapping[str, Measured], rounds: int) -> str:
    """Every row with its spread, ratio and verdict, and every curve."""
    written = {
        "machine": machine(),
        "rounds": rounds,
        "parts": {
            name: {
                "rows": [asdict(row) | {"ratio": row.ratio, "is_met": row.is_met} for row in measured.rows],
                "curves": [asdict(curve) for curve in measured.curves],
            }
            for name, measured in parts.items()
        },
    }
    return json.dumps(written, indent=1, ensure_ascii=False) + "\n"


def verdict(parts: Mapping[str, Measured]) -> str:
    """How many goals are met, and which are not."""
    goals = [row for measured in parts.values() for row in measured.rows if row.is_met is not None]
    missed = [row for row in goals if not row.is_met]
    text = f"{len(goals) - len(missed)} of {len(goals)} goals are met."
    if not missed:
        return text
    return "\n".join([text, "Not met:", *(f"- {row.what}: {_reached(row)}, goal {goal(row)}" for row in missed)])


def goal(row: Row) -> str:
    """The limit as a reader wants it, `≤ 0.33` of a peer or `≤ 2 MiB`; empty where there is none."""
    if row.limit is None:
        return ""
    return f"{'≥' if row.more_is_better else '≤'} {row.limit:g} {'' if row.peer else row.unit}".rstrip()


def number(value: float) -> str:
    """Three digits that count."""
    size = abs(value)
    places = 0 if size >= 100 or value == 0 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{places}f}"


def _block(title: str, rows: Sequence[Row]) -> str:
    peers = {row.peer_name for row in rows if row.peer}
    only = peers.pop() if len(peers) == 1 else ""
    marks = _marks(rows)
    lines = [
        f"### {title}",
        "",
        *([f"Peer: {only}.", ""] if only else []),
        "| what | ours | peer | ratio | goal | met |",
        "|---|---|---|---|---|---|",
        *(_line(row, only, marks.get(row.note, "")) for row in rows),
    ]
    notes = [f"- {mark} {note}" if mark else f"- {note}" for note, mark in marks.items()]
    return "\n".join([*lines, "", *notes] if notes else lines)


def _line(row: Row, known_peer: str, mark: str) -> str:
    peer = _figures(row.peer, row.unit) if row.peer else ""
    if row.peer_name not in ("", known_peer):
        peer = f"{row.peer_name}: {peer}".removesuffix(": ")
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    met = {True: "yes", False: "**no**", None: ""}[row.is_met]
    cells = (f"{row.what} {mark}".rstrip(), _figures(row.ours, row.unit), peer, ratio, goal(row), met)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _figures(spread: Spread, unit: str) -> str:
    """The median, and the lowest and highest where they differ from it."""
    text = f"{number(spread.median)} {unit}".rstrip()
    low, high = number(spread.low), number(spread.high)
    return text if low == high else f"{text} ({low} to {high})"


def _marks(rows: Sequence[Row]) -> dict[str, str]:
    """Each note once, with the mark that its rows bear; none where a note is about every row."""
    notes = dict.fromkeys(row.note for row in rows if row.note)
    if all(row.note in notes for row in rows) and len(notes) == 1:
        return dict.fromkeys(notes, "")
    return {note: f"[{at}]" for at, note in enumerate(notes, 1)}


def _reached(row: Row) -> str:
    return f"{number(row.ours.median)} {row.unit}" if row.ratio is None else f"{row.ratio:.2f} of {row.peer_name}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
