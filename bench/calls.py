"""CPU per cancel, ours beside the official SDK and other HTTP packages; and what TLS adds.

CPU is what the client's process uses (time.process_time), whatever the server and the network do meanwhile.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trustme

from bench import clients
from bench.fast_server import fast_server
from bench.rows import Measured, Row, Spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.clients import Cancel

_LIMITS = {clients.SDK: 0.33, clients.RAW: 2.5}
_HANDSHAKES = 16  # per 1,000 cancels: one for each thread
_TLS_SERVICE_TIME = 0.005  # seconds; with an instant answer the threads would hardly ever call at the same time
_NOTES = {
    clients.SDK: "azure-communication-jobrouter as it comes, its retries and tracing policies included",
    "requests.post": "opens a connection for each call",
    clients.RAW: "one connection, one thread; no pool, no timeouts of its own for connecting, no error handling",
}
_INCLUDED = "One thread, keep-alive http to a server that answers `{}`; the signature with the access key is included."


@dataclass(frozen=True)
class Counts:
    """How much is done. turns: of each client in each round. cancels: in a turn."""

    warm_up: int = 100
    turns: int = 10
    cancels: int = 40
    threads: int = 16
    tls_cancels: int = 1000


def measure(rounds: int = 5, counts: Counts | None = None) -> Measured:
    """Rows of CPU per cancel and of TLS. AssertionError where a client did not cancel what it should have."""
    counts = counts or Counts()
    with clients.environment():
        spreads = _cpu_over_http(rounds, counts)
    rows = [
        Row(
            "CPU per cancel_job (HMAC)",
            "µs",
            spreads[clients.OURS],
            peer,
            spread,
            _LIMITS.get(peer),
            note=". ".join(filter(None, [_NOTES.get(peer, ""), _INCLUDED])),
        )
        for peer, spread in spreads.items()
        if peer != clients.OURS
    ]
    with tempfile.TemporaryDirectory() as folder:
        certificate, authority = _certificate(Path(folder))
        with clients.environment(REQUESTS_CA_BUNDLE=str(authority)):
            rows += [_handshakes(rounds, counts, certificate), _cpu_over_tls(rounds, counts, certificate)]
    return Measured(rows)


def _cpu_over_http(rounds: int, counts: Counts) -> Mapping[str, Spread]:
    with fast_server() as server, ExitStack() as open_clients:
        made = {name: open_clients.enter_context(make(server.endpoint)) for name, make in clients.ALL.items()}
        spreads = _in_turn(made, rounds, counts)
        _expect(server.counted().requests, len(made) * (counts.warm_up + rounds * counts.turns * counts.cancels))
        return spreads


def _cpu_over_tls(rounds: int, counts: Counts, certificate: tuple[Path, Path]) -> Row:
    with (
        fast_server(certificate=certificate) as server,
        clients.ours(server.endpoint) as ours,
        clients.official_sdk(server.endpoint) as sdk,
    ):
        spreads = _in_turn({clients.OURS: ours, clients.SDK: sdk}, rounds, counts)
        _expect(server.counted().requests, 2 * (counts.warm_up + rounds * counts.turns * counts.cancels))
    note = "As above over https, on connections that are already open."
    return Row("CPU per cancel_job over TLS", "µs", spreads[clients.OURS], clients.SDK, spreads[clients.SDK], note=note)


def _handshakes(rounds: int, counts: Counts, certificate: tuple[Path, Path]) -> Row:
    """A fresh client each round, threads all at once: the worst that a worker's life has."""
    ours: list[float] = []
    sdk: list[float] = []
    for _ in range(rounds):
        for make, found in ((clients.ours, ours), (clients.official_sdk, sdk)):
            with (
                fast_server(_TLS_SERVICE_TIME, certificate) as server,
                make(server.endpoint) as cancel,
                ThreadPoolExecutor(counts.threads) as threads,
            ):
                list(threads.map(cancel, map(str, range(counts.tls_cancels))))
                counted = server.counted()
                _expect(counted.requests, counts.tls_cancels)
                found.append(counted.connections * 1000 / counts.tls_cancels)
    them = Spread.of(sdk)
    return Row(
        f"TLS handshakes per 1,000 cancels, {counts.threads} threads",
        "",
        Spread.of(ours),
        limit=_HANDSHAKES,
        note="Connections that the server accepted from a fresh client, each call taking 5 ms;"
        f" the official SDK opened {them.median:.0f} ({them.low:.0f} to {them.high:.0f}).",
    )


def _in_turn(made: Mapping[str, Cancel], rounds: int, counts: Counts) -> Mapping[str, Spread]:
    """Microseconds per cancel. In short turns, so that what else the machine does meets all of them alike."""
    for cancel in made.values():
        _seconds(cancel, counts.warm_up)
    figures: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(rounds):
        spent = dict.fromkeys(made, 0.0)
        for _ in range(counts.turns):
            for name, cancel in made.items():
                spent[name] += _seconds(cancel, counts.cancels)
        for name, seconds in spent.items():
            figures[name].append(seconds / (counts.turns * counts.cancels) * 1e6)
    return {name: Spread.of(found) for name, found in figures.items()}


def _seconds(cancel: Cancel, times: int) -> float:
    job_ids = [f"job-{number}" for number in range(times)]
    started = time.process_time()
    for job_id in job_ids:
        cancel(job_id)
    return time.process_time() - started


def _expect(requests: int, expected: int) -> None:
    assert requests == expected, f"The server counted {requests} requests instead of {expected}."


def _certificate(folder: Path) -> tuple[tuple[Path, Path], Path]:
    """((chain, key) for 127.0.0.1, the authority that vouches for it), as PEM files."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    chain, key, trusted = folder / "chain.pem", folder / "key.pem", folder / "authority.pem"
    for number, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(str(chain), append=number > 0)
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(trusted))
    return (chain, key), trusted
