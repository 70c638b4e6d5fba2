"""The embedded broker in a process of its own, so that what it costs is not counted to whoever is measured."""

from __future__ import annotations

import logging
import multiprocessing
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from local.service_bus import Broker, QueueOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

    from local.service_bus import QueueCounts


class Running(NamedTuple):
    """How to reach the broker, and a pipe that answers the name of a queue with its QueueCounts."""

    connection_string: str
    pipe: Connection

    def counts(self, queue: str) -> QueueCounts:
        self.pipe.send(queue)
        answer: QueueCounts = self.pipe.recv()
        return answer


@contextmanager
def broker_process(queues: Sequence[str]) -> Iterator[Running]:
    """Serve these queues on loopback until the context ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, tuple(queues)), daemon=True)
    process.start()
    theirs.close()  # so that a child that dies is an EOFError here, and not a wait without end
    try:
        yield Running(ours.recv(), ours)
    finally:
        process.terminate()
        process.join(10)


def _serve(pipe: Connection, queues: tuple[str, ...]) -> None:
    logging.getLogger("proton").setLevel(logging.CRITICAL)  # of connections, the clients say what matters
    with Broker([QueueOptions(name) for name in queues]) as broker:
        pipe.send(broker.connection_string)
        while True:
            pipe.send(broker.counts(pipe.recv()))
