"""The time the embedded stack lives by: real time plus an offset that tests move.

It knows nothing of what is timed; whoever keeps timers registers a listener and is told of every move.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """Thread-safe. `now()` never goes backwards through `advance()`, only through the machine's own clock."""

    def __init__(self) -> None:
        self._offset = timedelta()
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC) + self._offset

    def advance(self, seconds: float) -> None:
        """Move time forward and tell every listener before returning.

        Raises:
            ValueError: `seconds` is negative; leases and timers assume that time only passes.
        """
        if seconds < 0:
            raise ValueError(f"A clock cannot go back: advance({seconds}). Pass a number of seconds >= 0.")
        with self._lock:
            self._offset += timedelta(seconds=seconds)
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()

    def add_listener(self, listener: Callable[[], None]) -> None:
        """`listener` is called, in the thread of whoever advances, after each move."""
        with self._lock:
            self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[], None]) -> None:
        """Unknown listeners are ignored, so that stopping twice is harmless."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
