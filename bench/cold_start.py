"""Cold start: from the start of a fresh interpreter to the first message cancelled, ours beside plain functions.

Each figure is of a process of its own, which loads the function as the host does and cancels one job over https. With
Entra ID each gets its token from a loopback stand-in for the managed identity endpoint that the platform gives an app.
Two peers: a function that can do what ours can, with everything imported at the top; and the few lines around the
SDK that know one way to sign in and no dead letters.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.fast_server import fast_server
from bench.rows import Measured, Row, Spread
from bench.worker import OURS, PLAIN, PLAIN_COMPLETE, PLAIN_ENTRA, certificate, run_worker, with_access_key
from local.identity import IdentityEndpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.worker import Reached

STARTS_A_ROUND = 3  # of each app, each way to sign in
COMPLETE = "plain function, everything imported at the top"
SHORT = "plain function around the SDK alone"


@dataclass
class Way:
    """One way to sign in, with its goal, and what was found. short: the app of the few lines."""

    name: str
    limit: float
    settings: Mapping[str, str]
    short: Path
    found: dict[Path, list[Reached]] = field(default_factory=dict)

    def start(self, trusted: Path, count: int) -> None:
        """`count` of each app, in turn and each time another one first: a machine grows warm, and others work on it."""
        apps = [OURS, PLAIN_COMPLETE, self.short]
        for _ in range(count):
            for app in apps:
                self.found.setdefault(app, []).extend(run_worker(app, self.settings, trusted, (1,)))
            apps.append(apps.pop(0))


def measure(rounds: int = 3) -> Measured:
    """Medians of STARTS_A_ROUND starts a round; about 8 s a round on an idle machine."""
    with certificate() as tls, fast_server(certificate=(tls.chain, tls.key)) as server, IdentityEndpoint() as identity:
        access_key = Way("access key", 0.60, with_access_key(server.endpoint), PLAIN)
        entra_settings = {"JOB_ROUTER_ENDPOINT": server.endpoint, **identity.environment}
        entra_id = Way("Entra ID", 0.85, entra_settings, PLAIN_ENTRA)
        ways = (access_key, entra_id)
        for way in ways:
            way.start(tls.bundle, 1)  # writes the bytecode of what was never imported before, and warms the disk cache
            way.found.clear()
        bare = []
        for _ in range(rounds):
            for way in ways:
                bare.append(_bare_milliseconds())
                way.start(tls.bundle, STARTS_A_ROUND)
        starts = 3 * (rounds * STARTS_A_ROUND + 1)
        assert server.counted().requests == 2 * starts, "Each start has to cancel one job."
        assert identity.tokens_issued == starts, "Each start with Entra ID needs one token."
    return Measured([row for way in ways for row in _rows(way, Spread.of(bare).median)])


def _rows(way: Way, bare: float) -> list[Row]:
    wall = {app: Spread.of([start.at * 1000 for start in starts]) for app, starts in way.found.items()}
    cpu = {app: Spread.of([start.cpu_seconds * 1000 for start in starts]) for app, starts in way.found.items()}
    common = f"{bare:.0f} ms of each are the interpreter and azure.functions"
    what = f"cold start, {way.name}"
    return [
        Row(what, "ms", wall[OURS], COMPLETE, wall[PLAIN_COMPLETE], way.limit, note=common),
        Row(f"{what}: CPU", "ms", cpu[OURS], COMPLETE, cpu[PLAIN_COMPLETE]),
        Row(f"{what}, few lines", "ms", wall[OURS], SHORT, wall[way.short], note="no dead letters, one way to sign in"),
        Row(f"{what}, few lines: CPU", "ms", cpu[OURS], SHORT, cpu[way.short]),
    ]


def _bare_milliseconds() -> float:
    started = time.monotonic()
    script = "import azure.functions, time; print(time.monotonic())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return (float(done.stdout) - started) * 1000
