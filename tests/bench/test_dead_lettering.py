"""Dead-lettering in small. `measure` itself asserts that each message became a dead letter."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing

import pytest

from bench import dead_lettering
from bench.broker_process import broker_process
from bench.distance import distance


def test_each_settling_is_timed_and_each_message_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_lettering, "THREADS", 3)
    with broker_process([dead_lettering.QUEUE]) as broker:
        found = dead_lettering._round(broker.connection_string, broker.connection_string, 4, 2)
        assert broker.counts(dead_lettering.QUEUE).dead_lettered == 1 + 4 + 3 * (2 + 1)
    assert found.first > 0
    assert (len(found.single), len(found.at_once)) == (4, 6)


def test_the_rows_compare_many_at_once_with_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_lettering, "THREADS", 2)
    rows = dead_lettering.measure(1, single=3, bursts=1).rows
    assert len(rows) == 10
    assert [(row.peer_name, row.limit) for row in rows if row.peer] == [("one at a time", 4.0), ("one at a time", None)]
    assert all(row.ours.median > 0 and row.unit == "ms" for row in rows)


def test_bytes_arrive_whole_and_in_order_half_a_round_trip_later() -> None:
    with closing(socket.create_server(("localhost", 0))) as listener:
        threading.Thread(target=_echo, args=(listener,), daemon=True).start()
        with distance(listener.getsockname()[1], 0.05) as port, socket.create_connection(("localhost", port)) as near:
            started, sent = time.monotonic(), bytes(range(256)) * 2000
            near.sendall(sent)
            near.shutdown(socket.SHUT_WR)
            received = b"".join(iter(lambda: near.recv(65536), b""))
            assert time.monotonic() - started >= 0.05
    assert received == sent


def _echo(listener: socket.socket) -> None:
    far, _ = listener.accept()
    with far:
        data = b"".join(iter(lambda: far.recv(65536), b""))
        far.sendall(data)
