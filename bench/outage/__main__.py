"""`python -m bench.outage`: messages sent to a dead Job Router, and what became of them on each side.

Both sides run at once, in real time, each with its own broker, Job Router and worker processes of 16 threads, with the
redelivery settings of production. Ten workers, because the platform scales out with the queue: for 1,000 messages of
which a worker takes 16 at once it would start more than that. While down, Job Router answers 503 to everything.
The seed makes the job ids; the jitter of the functions' own waits stays random. Exits 0 when this function lost
nothing: each message's job is cancelled, or the message is still scheduled when the time is up.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from bench.outage.figures import Figures, Outage
from bench.outage.side import APPS, THREADS, Side, make_certificate, quieten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TITLES = {"plain": "plain function around the SDK", "ours": "this function"}
_SENT_AFTER_SECONDS = 1.0
_PROGRESS_SECONDS = 10.0


@dataclass(frozen=True)
class Plan:
    """What to measure. Seconds; drain_seconds bounds the time after the recovery. settings: on top of the usual."""

    messages: int = 1000
    workers: int = 10
    down_seconds: float = 300.0
    drain_seconds: float = 25 * 60.0
    status: int = 503
    seed: int = 1
    sides: tuple[str, ...] = tuple(APPS)
    settings: Mapping[str, str] = field(default_factory=dict)


def run(plan: Plan) -> dict[str, Figures]:
    """The figures of each side, by name. Takes as long as the outage and the draining do."""
    random = Random(plan.seed)  # noqa: S311  # reproducible on purpose
    job_ids = [str(uuid.UUID(int=random.getrandbits(128), version=4)) for _ in range(plan.messages)]
    quieten()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        certificate = make_certificate(Path(folder))
        sides = [
            opened.enter_context(Side(name, plan.workers, Path(folder), certificate, plan.settings))
            for name in plan.sides
        ]
        outage = _outage(plan, sides, job_ids)
        _watch(sides, outage, outage.ended + plan.drain_seconds)
        return {side.name: side.figures(outage) for side in sides}


def _outage(plan: Plan, sides: Sequence[Side], job_ids: Sequence[str]) -> Outage:
    began = time.monotonic()
    for side in sides:
        side.go_down(plan.status)
    time.sleep(_SENT_AFTER_SECONDS)
    for side in sides:
        side.send(job_ids)
    _watch(sides, Outage(began, began + plan.down_seconds), began + plan.down_seconds, until_done=False)
    for side in sides:
        side.come_back()
    return Outage(began, time.monotonic())


def _watch(sides: Sequence[Side], outage: Outage, until: float, *, until_done: bool = True) -> None:
    """Wait until a time, or until nothing is left, and say how it goes."""
    told = time.monotonic()
    while (now := time.monotonic()) < until:
        if until_done and not any(side.state().left for side in sides):
            return
        if now - told >= _PROGRESS_SECONDS:
            told += _PROGRESS_SECONDS
            _tell(sides, now - outage.ended)
        time.sleep(min(1.0, until - now))


def _tell(sides: Sequence[Side], since_recovery: float) -> None:
    parts = []
    for side in sides:
        state = side.state()
        parts.append(
            f"{side.name}: {state.cancelled} cancelled, {state.dead_lettered} dead-lettered, {state.waiting} waiting, "
            f"{state.scheduled} scheduled, {state.requests} requests"
        )
    print(f"{since_recovery:+5.0f} s  {'  |  '.join(parts)}", file=sys.stderr, flush=True)


def table(plan: Plan, results: Mapping[str, Figures]) -> str:
    """The results as Markdown."""
    columns = list(results.values())
    rows: list[tuple[str, list[object]]] = [
        ("messages sent", [f.messages_sent for f in columns]),
        ("cancelled", [f.cancelled for f in columns]),
        ("dead-lettered", [f.dead_lettered for f in columns]),
        ("last cancelled after recovery (s)", [_or_never(f.last_cancelled_seconds) for f in columns]),
        ("90 % of all cancelled after recovery (s)", [_or_never(f.ninety_percent_cancelled_seconds) for f in columns]),
        ("requests to the dead service, per minute", [f"{f.requests_per_minute_while_down:.0f}" for f in columns]),
        ("… in each minute", [", ".join(map(str, f.requests_each_minute_while_down)) for f in columns]),
        ("… most in one second", [f.busiest_second_while_down for f in columns]),
        ("most requests in one second after recovery", [f.busiest_second_after_recovery for f in columns]),
    ]
    if any(f.still_waiting for f in columns):
        rows.insert(3, (f"still waiting {plan.drain_seconds:.0f} s after recovery", [f.still_waiting for f in columns]))
    lines = [
        f"Job Router answered {plan.status} for {plan.down_seconds:g} s; {plan.workers} workers of {THREADS} threads.",
        "",
        f"| | {' | '.join(TITLES[name] for name in results)} |",
        f"|---|{'---|' * len(columns)}",
        *(f"| {title} | {' | '.join(map(str, cells))} |" for title, cells in rows),
    ]
    return "\n".join(lines)


def _or_never(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.0f}"


def main() -> int:
    """Measure, print the table, write the JSON."""
    default = Plan()
    parser = argparse.ArgumentParser(prog="python -m bench.outage", description=__doc__)
    parser.add_argument("--messages", type=int, default=default.messages, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=default.workers, help="on each side; default: %(default)s")
    parser.add_argument("--down-seconds", type=float, default=default.down_seconds, help="default: %(default)s")
    parser.add_argument(
        "--drain-seconds", type=float, default=default.drain_seconds, help="longest wait after recovery (%(default)s)"
    )
    parser.add_argument("--status", type=int, default=default.status, help="the dead service's answer (%(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of the job ids (default: %(default)s)")
    parser.add_argument("--only", choices=sorted(APPS), help="one side alone")
    parser.add_argument("--json", type=Path, help="a file for the figures, with the requests of each second")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with the workers stopped on the way out
    plan = Plan(
        messages=options.messages,
        workers=options.workers,
        down_seconds=options.down_seconds,
        drain_seconds=options.drain_seconds,
        status=options.status,
        seed=options.seed,
        sides=(options.only,) if options.only else default.sides,
    )
    results = run(plan)
    print(table(plan, results))
    if options.json:
        written = {"plan": asdict(plan), "results": {name: asdict(found) for name, found in results.items()}}
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    ours = results.get("ours")
    return 1 if ours and ours.cancelled + ours.still_waiting < ours.messages_sent else 0


if __name__ == "__main__":
    sys.exit(main())
