"""The embedded stack in one piece: broker, Job Router and Functions host, on loopback, in this process."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from local.host import FunctionsHost, InvocationResult
from local.job_router import JobRouter
from local.service_bus import Broker, QueueOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

APP = Path(__file__).resolve().parent.parent


def as_deployed(name: str = "job-cancellations") -> QueueOptions:
    """The queue as infra/ makes it; tests/infra/test_queue.py holds the two against each other."""
    return QueueOptions(
        name,
        lock_duration_seconds=300.0,
        max_delivery_count=30,
        default_time_to_live_seconds=8 * 86_400.0,
        dead_letter_on_expiration=True,
        duplicate_detection_window_seconds=600.0,
    )


class Stack:
    """A context manager. Ports are picked when 0; the queue is as deployed unless given; the function consumes it.

    job_router: one that answers otherwise than by default; the stack starts and stops it.
    """

    def __init__(
        self,
        *,
        queue: QueueOptions | None = None,
        service_bus_port: int = 0,
        administration_port: int = 0,
        consume: bool = True,
        job_router: JobRouter | None = None,
        on_result: Callable[[InvocationResult], None] | None = None,
    ) -> None:
        self.queue = queue or as_deployed()
        self.broker = Broker([self.queue], port=service_bus_port, administration_port=administration_port)
        self.job_router = job_router or JobRouter()
        self._consume = consume
        self._on_result = on_result
        self._open = ExitStack()

    @property
    def settings(self) -> dict[str, str]:
        """The app settings that fit this stack, as in local.settings.json, but for redelivery within seconds."""
        return {
            "REDELIVERY_FIRST_DELAY_SECONDS": "1",
            "REDELIVERY_LONGEST_DELAY_SECONDS": "60",
            "PYTHON_THREADPOOL_THREAD_COUNT": "16",
            "CANCELLATION_QUEUE_NAME": self.queue.name,
            "ServiceBusConnection": self.broker.connection_string,
            "JOB_ROUTER_CONNECTION_STRING": self.job_router.connection_string,
        }

    def __enter__(self) -> Stack:
        # proton tells of every connection; what matters of them the clients say themselves.
        logging.getLogger("proton").setLevel(logging.CRITICAL)
        with ExitStack() as opening:
            opening.enter_context(self.broker)
            opening.enter_context(self.job_router)
            if self._consume:
                opening.enter_context(_environment(self.settings))  # where the function reads them, as on the platform
                opening.enter_context(FunctionsHost(APP, self.settings, on_result=self._on_result))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
