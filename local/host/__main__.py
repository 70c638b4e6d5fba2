"""`python -m local.host`: run a function app as a process of its own, settings from the environment.

The app of this project unless `--app` names another folder. Until SIGTERM; the function's log lines go to stdout.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

from local.host import ConfigurationError, FunctionsHost

APP = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run until told to stop; 1 when the listener cannot start."""
    parser = argparse.ArgumentParser(prog="python -m local.host", description=__doc__)
    parser.add_argument("--app", type=Path, default=APP, help="the folder with host.json (default: this project)")
    parser.add_argument(
        "--stop-within", type=float, default=10.0, help="seconds for what runs when told to stop (default: %(default)s)"
    )
    options = parser.parse_args()
    app: Path = options.app.resolve()
    sys.path.insert(0, str(app))  # what the app imports is its own first
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
        host = FunctionsHost(app, os.environ)
        host.start()
        stop.wait()
        host.stop(options.stop_within)
    except ConfigurationError as error:
        print(f"The listener cannot start: {error}", file=sys.stderr)
        return 1
    return 0


def run() -> NoReturn:
    """Main, and then the end: what still runs is ended with the process, as the platform does."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
