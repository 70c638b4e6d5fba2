"""`python -m bench`: every measurement in one run, ours and the peers in turn; the table comes on stdout.

Each part runs in a fresh process, so that none disturbs another. Exits 0 whether or not the goals are met, which the
last lines tell: a busy machine must not break a build. Exits 1 when a part could not be measured.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bench.part import measure_part
from bench.picture import picture
from bench.report import as_json, table, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.rows import Measured

PARTS = ("calls", "invocation", "cold_start", "throughput", "queue_growth", "memory", "dead_lettering")
ROUNDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write what was asked for."""
    options = _options(arguments)
    rounds = 1 if options.quick else options.rounds
    began = time.monotonic()
    parts: dict[str, Measured] = {}
    for at, name in enumerate(options.parts, 1):
        _tell(f"{name} ({at} of {len(options.parts)}) …")
        started = time.monotonic()
        try:
            parts[name] = _in_a_process(name, rounds)
        except Exception as error:  # noqa: BLE001  # the others are still worth measuring
            _tell(f"{name} could not be measured: {error.__cause__ or error}")
        else:
            _tell(f"{name}: {time.monotonic() - started:.0f} s")
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    caption = f"{machine}; medians of {rounds} {'round' if rounds == 1 else 'rounds'}"
    print(f"{caption} (lowest to highest); {time.monotonic() - began:.0f} s.\n\n{table(parts)}\n\n{verdict(parts)}")
    if options.json:
        options.json.write_text(as_json(parts, rounds), encoding="utf-8")
    if options.svg:
        options.svg.write_text(picture(parts, f"{caption}."), encoding="utf-8")
    missing = [name for name in options.parts if name not in parts]
    if missing:
        print(f"Not measured: {', '.join(missing)}.")
    return 1 if missing else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--parts", type=_parts, default=list(PARTS), help=f"some of {','.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=_positive, default=ROUNDS, help="of each part (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round, to see that it works")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    parser.add_argument("--svg", type=Path, help="a file for the picture")
    return parser.parse_args(arguments)


def _parts(text: str) -> list[str]:
    asked = {name.strip() for name in text.split(",")}
    if unknown := asked - set(PARTS):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return [name for name in PARTS if name in asked]


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{value} rounds measure nothing")
    return value


def _in_a_process(name: str, rounds: int) -> Measured:
    """What bench.<name> measures; raises what it raises, with the traceback of its process as the cause."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure_part, name, rounds).result()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
