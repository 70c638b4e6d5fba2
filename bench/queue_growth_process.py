"""A whole worker, host stand-in and function, that handles a number of messages and says what CPU they took it.

`python -m bench.queue_growth_process WARM_UP COUNT`, started by bench/queue_growth.py; the settings come from the
environment. Writes the CPU seconds of COUNT messages, after WARM_UP others, and ends.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import NoReturn

from bench.worker import OURS
from local.host import FunctionsHost, InvocationResult


def main(warm_up: str, count: str) -> NoReturn:
    """1 when a message was not completed. Ends the process."""
    logging.basicConfig(level=logging.INFO, filename=os.devnull)  # the function's line is made and written
    meter = Meter(int(warm_up), int(warm_up) + int(count))
    FunctionsHost(OURS, os.environ, on_result=meter.take).start()
    meter.done.wait()
    if meter.problem:
        print(f"A message was not completed: {meter.problem}", file=sys.stderr, flush=True)
        os._exit(1)
    print(meter.ended - meter.began, flush=True)
    os._exit(0)  # what is in flight stays locked; closing connections in order takes longer than the measurement


class Meter:
    """Reads the process's CPU time when the message number `first` has been settled, and again at number `last`."""

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, last
        self._taken = 0
        self.began = self.ended = 0.0
        self.problem = ""
        self.done = threading.Event()

    def take(self, result: InvocationResult) -> None:
        """Called on the host's one receiving thread."""
        self._taken += 1
        if result.settlement != "completed" and not self.done.is_set():
            self.problem = f"{result.settlement}, {result.error}"
            self.done.set()
        if self._taken == self._first:
            self.began = time.process_time()
        elif self._taken == self._last:
            self.ended = time.process_time()
            self.done.set()


if __name__ == "__main__":
    main(*sys.argv[1:])
