"""`python -m local.host`: run the function app of this project as a process of its own, settings from the environment.

Until SIGTERM; the function's log lines go to stdout.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from local.host import ConfigurationError, FunctionsHost

APP = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run until told to stop; 1 when the listener cannot start."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)-8s %(name)s %(message)s", stream=sys.stderr)
    lines = logging.StreamHandler(sys.stdout)
    logger = logging.getLogger("cancel_job")
    logger.setLevel(logging.INFO)
    logger.addHandler(lines)
    logger.propagate = False
    stop = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop.set())
    try:
        with FunctionsHost(APP, os.environ):
            stop.wait()
    except ConfigurationError as error:
        print(f"The listener cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
