"""Ctrl-C as a wish: what is half done is finished, and then the work stops. A second one stops at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

from ops.errors import INTERRUPTED

if TYPE_CHECKING:
    from types import FrameType


class Interrupt:
    """A context manager; `requested` turns true at the first Ctrl-C."""

    def __init__(self) -> None:
        self.requested = False
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        sys.stderr.write("\nStopping after what is begun; Ctrl-C again stops at once.\n")
        sys.stderr.flush()


def stop_at_once() -> NoReturn:
    """End the process as a kill would, but for the cursor. The journal is whole: each line of it is flushed."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h\n")
    sys.stderr.flush()
    os._exit(INTERRUPTED)
