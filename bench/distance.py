"""A network between client and server on loopback: relays TCP, each byte half a round trip later.

In a process of its own, so that the relaying is not counted to whoever is measured.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

_Parcels = asyncio.Queue[tuple[float, bytes]]


@contextmanager
def distance(port: int, round_trip_seconds: float) -> Iterator[int]:
    """The port of a relay to `port`, until the context ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, port, round_trip_seconds / 2), daemon=True)
    process.start()
    theirs.close()  # so that a child that dies is an EOFError here, and not a wait without end
    try:
        near: int = ours.recv()
        yield near
    finally:
        process.terminate()
        process.join(10)


def _serve(pipe: Connection, port: int, delay_seconds: float) -> None:
    async def connected(near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        far_in, far_out = await asyncio.open_connection("localhost", port)
        try:
            await asyncio.gather(_relay(near_in, far_out, delay_seconds), _relay(far_in, near_out, delay_seconds))
        finally:
            near_out.close()
            far_out.close()

    async def run() -> None:
        server = await asyncio.start_server(connected, "localhost", 0, backlog=512)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


async def _relay(source: asyncio.StreamReader, target: asyncio.StreamWriter, delay_seconds: float) -> None:
    under_way: _Parcels = asyncio.Queue()
    delivery = asyncio.create_task(_deliver(under_way, target))
    now = asyncio.get_running_loop().time
    try:
        while data := await source.read(65536):
            under_way.put_nowait((now() + delay_seconds, data))
    except ConnectionError:
        pass  # one side has gone; what is under way still arrives
    under_way.put_nowait((now() + delay_seconds, b""))
    await delivery


async def _deliver(under_way: _Parcels, target: asyncio.StreamWriter) -> None:
    now = asyncio.get_running_loop().time
    while True:
        due, data = await under_way.get()
        await asyncio.sleep(max(0.0, due - now()))
        if not data:
            with suppress(OSError):  # the other side may be gone already
                target.write_eof()
            return
        target.write(data)
