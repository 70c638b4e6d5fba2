"""What the doctor says about one thing: well or not, what was seen, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """The values are what is printed: words, so that they survive a pipe and a screen without colour."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    SKIP = "skip"


@dataclass(frozen=True)
class Finding:
    """check: the thing, a few words. seen: a sentence. next_step: what to do about it; empty when nothing."""

    check: str
    result: Result
    seen: str
    next_step: str = ""
