"""One part of the bench, as its own process runs it."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.rows import Measured


def measure_part(name: str, rounds: int) -> Measured:
    """What bench.<name> measures. Whatever it prints goes to stderr: stdout is for the table."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.basicConfig(level=logging.ERROR)
    measured: Measured = importlib.import_module(f"bench.{name}").measure(rounds)
    return measured
