"""Memory: a worker's resident set after many messages beside the same after few, and its peak beside the plain one's.

One process of each app, with as many threads as the host's default calls at once, through the worker's machinery and
over https. Needs /proc: what getrusage gives instead counts the parent process too. The plain function handles only
the few: it is slower, and has its peak then.
"""

from __future__ import annotations

from pathlib import Path

from bench.fast_server import fast_server
from bench.rows import Measured, Row, Spread
from bench.worker import OURS, PLAIN, PLAIN_COMPLETE, certificate, run_worker, with_access_key

FEW, MANY = 2_000, 20_000  # messages
THREADS = 16
_GROWTH_LIMIT = 2.0  # MiB
_PEERS = {
    PLAIN: ("memory: peak resident set, few lines", "plain function around the SDK alone"),
    PLAIN_COMPLETE: ("memory: peak resident set", "plain function, everything imported at the top"),
}


def measure(rounds: int = 1, few: int = FEW, many: int = MANY) -> Measured:
    """Measure with fresh processes in each round; about half a minute a round. No rows where there is no /proc."""
    if not Path("/proc/self/status").exists():
        return Measured([])
    growth, peak = [], []
    peers: dict[Path, list[float]] = {app: [] for app in _PEERS}
    with certificate() as tls, fast_server(certificate=(tls.chain, tls.key)) as server:
        settings = with_access_key(server.endpoint)
        for _ in range(rounds):
            after_few, after_many = run_worker(OURS, settings, tls.bundle, (few, many), THREADS)
            growth.append((after_many.rss_kib - after_few.rss_kib) / 1024)
            peak.append(after_many.peak_kib / 1024)
            for app, peaks in peers.items():
                (reached,) = run_worker(app, settings, tls.bundle, (few,), THREADS)
                peaks.append(reached.peak_kib / 1024)
        handled = rounds * (many + len(peers) * few)
        assert server.counted().requests == handled, "Each message has to cancel one job."
    note = f"{THREADS} threads; ours after {many:,} messages, the peer after {few:,}"
    return Measured(
        [
            Row(f"memory: growth from {few:,} to {many:,} messages", "MiB", Spread.of(growth), limit=_GROWTH_LIMIT),
            *(
                Row(what, "MiB", Spread.of(peak), name, Spread.of(peers[app]), 1.0, note=note)
                for app, (what, name) in _PEERS.items()
            ),
        ]
    )
