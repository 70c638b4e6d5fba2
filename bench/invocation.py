"""CPU of a whole invocation beside a plain function's, and how much of it comes on top of the bare call.

Both apps run in processes of their own, through the worker of the host stand-in, against the same fast server.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import clients
from bench.fast_server import fast_server
from bench.invocation_side import side
from bench.rows import Measured, Row, Spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.invocation_side import Side

_ROOT = Path(__file__).resolve().parents[1]
_PLAIN_APP = _ROOT / "bench" / "plain"
_OURS, _PLAIN, _NOTHING = "ours", "plain function", "a function that does nothing"
_LIMIT = 0.45
_INCLUDED = (
    "From the host's data to the return: conversion by azure.functions, the change of thread, decoding, the call over"
    " keep-alive http with an access key, policy, log lines, which a handler formats and drops (root level INFO, as on"
    " the platform: the SDK then logs each request and response). Not included: gRPC, the host, Service Bus."
)


@dataclass(frozen=True)
class Counts:
    """How much is done. turns: of each app in each round. invocations: in a turn, and as many bare calls."""

    warm_up: int = 60
    turns: int = 6
    invocations: int = 50


@dataclass(frozen=True)
class _Cpu:
    """Microseconds an invocation, one figure a round."""

    whole: list[float]
    above: list[float]  # the bare call of the app's own client

    def above_raw(self, raw: _Cpu) -> list[float]:
        """What is left of each round without a bare call by http.client, which `raw` measured."""
        return [
            whole - (raw_whole - raw_above)
            for whole, raw_whole, raw_above in zip(self.whole, raw.whole, raw.above, strict=True)
        ]


def measure(rounds: int = 5, counts: Counts | None = None) -> Measured:
    """Rows of the CPU per invocation. RuntimeError or AssertionError where not every message was cancelled."""
    counts = counts or Counts()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        opened.enter_context(clients.environment())
        server = opened.enter_context(fast_server())
        apps: dict[str, tuple[Path, str | None]] = {
            _OURS: (_ROOT, clients.OURS),
            _PLAIN: (_PLAIN_APP, clients.SDK),
            _NOTHING: (write_app(folder, "def main(message, context):\n    pass\n"), clients.RAW),
        }
        sides = {name: opened.enter_context(side(app, server.endpoint, client)) for name, (app, client) in apps.items()}
        cpu = _in_turn(sides, rounds, counts)
        calls = 5 * (counts.warm_up + rounds * counts.turns * counts.invocations)  # two whole, three bare
        counted = server.counted().requests
        assert counted == calls, f"The server counted {counted} requests instead of {calls}."
    least = Spread.of(cpu[_NOTHING].whole)
    above = {name: Spread.of(cpu[name].above) for name in (_OURS, _PLAIN)}
    above_raw = {name: Spread.of(cpu[name].above_raw(cpu[_NOTHING])) for name in (_OURS, _PLAIN)}
    return Measured(
        [
            Row(
                "CPU per whole invocation",
                "µs",
                Spread.of(cpu[_OURS].whole),
                _PLAIN,
                Spread.of(cpu[_PLAIN].whole),
                note=_INCLUDED,
            ),
            Row(
                "CPU per invocation above a bare http.client call",
                "µs",
                above_raw[_OURS],
                _PLAIN,
                above_raw[_PLAIN],
                _LIMIT,
                note="As above, less the least that any client can do: the same signed call by http.client.",
            ),
            Row(
                "CPU per invocation above its own client's call",
                "µs",
                above[_OURS],
                _PLAIN,
                above[_PLAIN],
                note="As above, less the bare call of the same client, in the same process and without logging set up."
                f" {_NOTHING.capitalize()} takes {least.median:.0f} µs in the same worker, which is"
                f" {least.median / above[_PLAIN].median:.2f} of the plain function's: no function can do better.",
            ),
        ]
    )


def _in_turn(sides: Mapping[str, Side], rounds: int, counts: Counts) -> Mapping[str, _Cpu]:
    """Short turns, so that what else the machine does meets all of them alike."""
    for each in sides.values():
        each.turn(counts.warm_up)
    cpu = {name: _Cpu([], []) for name in sides}
    for _ in range(rounds):
        spent = {name: [0.0, 0.0] for name in sides}
        for _ in range(counts.turns):
            for name, each in sides.items():
                turn = each.turn(counts.invocations)
                spent[name][0] += turn.whole
                spent[name][1] += turn.whole - turn.bare
        for name, (whole, above) in spent.items():
            cpu[name].whole.append(whole / (counts.turns * counts.invocations) * 1e6)
            cpu[name].above.append(above / (counts.turns * counts.invocations) * 1e6)
    return cpu


def write_app(folder: Path, code: str) -> Path:
    """A function app as the plain one, with other code; returns its folder."""
    function = folder / "written"
    function.mkdir()
    (folder / "host.json").write_text(json.dumps({"version": "2.0"}))
    (function / "function.json").write_text((_PLAIN_APP / "cancel_job_function" / "function.json").read_text())
    (function / "__init__.py").write_text(code)
    return folder
