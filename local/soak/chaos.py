"""What happens to the stack while the messages are worked on: a seeded series of mishaps."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.job_router import JobRouter
    from local.service_bus import Broker
    from local.soak.worker import Worker

# What a bad deployment changes; None leaves the setting out.
BadSettings = dict[str, dict[str, "str | None"]]
_KILL_WEIGHT = 5


@dataclass
class Chaos:
    """Runs on the caller's thread until `done`; `mishaps` counts what it did."""

    seed: int
    queue: str
    broker: Broker
    router: JobRouter
    worker: Worker
    bad_settings: BadSettings
    longest_pause: float = 3.0

    def __post_init__(self) -> None:
        self._random = Random(self.seed)  # noqa: S311  # reproducible on purpose
        self._event = threading.Event()
        self.mishaps: Counter[str] = Counter()

    def run(self, done: Callable[[], bool]) -> None:
        """One mishap after another, with pauses in which work is done; everything is whole again at the end."""
        actions: list[Callable[[], None]] = [
            *[self._kill] * _KILL_WEIGHT,
            self._bad_deployment,
            self._outage,
            self._full_queue,
            self._detach,
            self._cut,
            self._expire,
        ]
        while not done():
            self._pause(self._random.uniform(0.2, self.longest_pause))
            action = self._random.choice(actions)
            self.mishaps[action.__name__.strip("_").replace("_", " ")] += 1
            action()
        self.router.up()
        self.broker.take_sends()

    def _kill(self) -> None:
        self.worker.kill()
        self.worker.start()
        self._pause(1.5)  # it takes so long to be at work again

    def _bad_deployment(self) -> None:
        name = self._random.choice(sorted(self.bad_settings))
        self.mishaps[f"… {name}"] += 1
        self.worker.kill()
        self.worker.start(self.bad_settings[name])
        self._pause(self._random.uniform(2.0, 5.0))
        self._kill()

    def _outage(self) -> None:
        self.router.down()
        self._pause(self._random.uniform(0.5, 3.0))
        self.router.up()

    def _full_queue(self) -> None:
        self.broker.refuse_sends()
        self._pause(self._random.uniform(0.2, 1.5))
        self.broker.take_sends()

    def _detach(self) -> None:
        self.broker.detach_links()

    def _cut(self) -> None:
        self.broker.drop_connections()

    def _expire(self) -> None:
        self.broker.expire_locks(self.queue)

    def _pause(self, seconds: float) -> None:
        self._event.wait(seconds)
