"""`python -m bench.ops_resubmit [--letters N] [--round-trip-ms N]`: how long `resubmit --all --yes` takes.

The broker, the network between (distance.py) and the tool run in processes of their own.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

from bench.distance import distance
from bench.ops_list import QUEUE, dead_letters


def measure(count: int, round_trip_seconds: float) -> float:
    """Seconds, from the process's start to its end.

    Raises:
        RuntimeError: a letter is left.
    """
    with dead_letters(count) as connection_string, tempfile.TemporaryDirectory() as state:
        port = int(re.findall(r"localhost:(\d+)", connection_string)[0])
        with distance(port, round_trip_seconds) as near:
            environment = os.environ | {
                "ServiceBusConnection": connection_string.replace(f":{port}", f":{near}"),
                "CANCELLATION_QUEUE_NAME": QUEUE,
                "XDG_STATE_HOME": state,
            }
            command = [sys.executable, "-m", "ops", "dead-letters", "resubmit", "--all", "--yes"]
            began = time.perf_counter()
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            total = time.perf_counter() - began
    if done.returncode or f"{count:,} sent again; {count:,} dead letters taken out" not in done.stderr:
        raise RuntimeError(done.stderr)
    return total


def main() -> None:
    """Measure and print a row for each number of letters."""
    parser = argparse.ArgumentParser(prog="python -m bench.ops_resubmit", description=__doc__)
    parser.add_argument("--letters", type=int, nargs="+", default=[200, 1_000, 5_000], help="default: %(default)s")
    parser.add_argument("--round-trip-ms", type=float, default=20.0, help="to the broker (default: %(default)s)")
    options = parser.parse_args()
    for count in options.letters:
        print(f"{count:>8,} letters  {measure(count, options.round_trip_ms / 1000):>7.1f} s", flush=True)


if __name__ == "__main__":
    main()
