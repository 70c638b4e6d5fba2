"""Durations as Azure and host.json write them."""

from __future__ import annotations

import re
from datetime import timedelta

_ISO = re.compile(r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?")
_CLOCK = re.compile(r"(?P<hours>\d\d):(?P<minutes>\d\d):(?P<seconds>\d\d)")


def duration(text: str) -> timedelta:
    """PT5M, P8D or 00:05:00; ValueError for anything else."""
    said = _ISO.fullmatch(text) or _CLOCK.fullmatch(text)
    if not said:
        raise ValueError(f"{text!r} is no duration")
    return timedelta(**{name: int(value) for name, value in said.groupdict().items() if value})
