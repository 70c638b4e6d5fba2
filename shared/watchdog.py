"""Watchdog: does from outside what a blocked call cannot do for itself, such as cutting its connection.

One thread for a whole worker, and only while something is watched. Knows nothing of what it watches.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AGAIN = 0.1  # seconds; a library that is cut off may open another connection by itself, which is then cut too
_LINGER = 0.5  # seconds; the thread waits so long for something new to watch before it ends


class Watch:
    """One thing that is watched. is_overdue: its time is over, and the watchdog has acted."""

    def __init__(self, act: Callable[[], None], deadline: float, again: float | None) -> None:
        self.act, self.deadline, self.again = act, deadline, again
        self.is_overdue = False


class Watchdog:
    """Calls back what is overdue. Safe to use from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._change = threading.Condition()
        self._watched: set[Watch] = set()
        self._thread: threading.Thread | None = None

    @contextmanager
    def limit(self, seconds: float, cut: Callable[[], None]) -> Iterator[Watch]:
        """Call `cut` once the block has taken longer than `seconds`, and again every tenth of a second until it ends.

        `cut` must be quick, and is never called after the block has ended.
        """
        watch = self._add(Watch(cut, self._clock() + seconds, _AGAIN))
        try:
            yield watch
        finally:
            self.cancel(watch)

    def after(self, seconds: float, act: Callable[[], None]) -> Watch:
        """Call `act` once, so many seconds from now, unless it is cancelled before."""
        return self._add(Watch(act, self._clock() + seconds, None))

    def cancel(self, watch: Watch | None) -> None:
        """Forget it, if there is one. When this returns, it is not acted on any more."""
        with self._change:
            self._watched -= {watch}
            self._change.notify_all()

    def _add(self, watch: Watch) -> Watch:
        with self._change:
            self._watched.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
            self._change.notify_all()
        return watch

    def _run(self) -> None:
        with self._change:
            while self._change.wait_for(lambda: len(self._watched) > 0, _LINGER):
                now = self._clock()
                for watch in [watch for watch in self._watched if watch.deadline <= now]:
                    self._overdue(watch, now)
                if self._watched:
                    next_deadline = min(watch.deadline for watch in self._watched)
                    self._change.wait(max(0.0, next_deadline - self._clock()))
            self._thread = None

    def _overdue(self, watch: Watch, now: float) -> None:
        watch.is_overdue = True
        if watch.again is None:
            self._watched.discard(watch)
        else:
            watch.deadline = now + watch.again
        watch.act()
