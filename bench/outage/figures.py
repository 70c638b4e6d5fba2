"""What one Job Router saw of an outage, and the figures made of it. Times in seconds of time.monotonic()."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from local.job_router import FaultScript

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from local.job_router import Fault


class Arrival(NamedTuple):
    """One request as it reached Job Router; refused: it met the outage."""

    at: float
    job_id: str | None
    refused: bool


class Arrivals(FaultScript):
    """A fault script that also notes each request: the server asks it once for every one, down or not."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Arrival] = []

    def take(self, method: str, job_id: str | None) -> Fault | None:
        at = time.monotonic()
        fault = super().take(method, job_id)
        self.seen.append(Arrival(at, job_id, fault is not None))
        return fault


@dataclass(frozen=True)
class Outage:
    """When Job Router went down and came back."""

    began: float
    ended: float


@dataclass(frozen=True)
class Figures:
    """What became of one side's messages. Seconds count from the recovery; None: never.

    still_waiting: on the queue or scheduled when the measurement ended.
    requests_each_second: arrivals from the beginning of the outage on.
    """

    messages_sent: int
    cancelled: int
    dead_lettered: int
    still_waiting: int
    last_cancelled_seconds: float | None
    ninety_percent_cancelled_seconds: float | None
    requests_while_down: int
    requests_per_minute_while_down: float
    requests_each_minute_while_down: list[int]
    busiest_second_while_down: int
    busiest_second_after_recovery: int
    requests_each_second: list[int]


def figures(
    outage: Outage,
    arrivals: Sequence[Arrival],
    cancelled: AbstractSet[str],
    messages_sent: int,
    dead_lettered: int,
    still_waiting: int,
) -> Figures:
    """Make the figures of what was seen. cancelled: the ids of the jobs that ended as such."""
    during = [arrival.at - outage.began for arrival in arrivals if arrival.at >= outage.began]
    refused = [arrival.at - outage.began for arrival in arrivals if arrival.refused]
    accepted = sorted(arrival.at - outage.ended for arrival in arrivals if not arrival.refused)
    done = _cancelled_at(outage, arrivals, cancelled)
    ninety = math.ceil(0.9 * messages_sent)
    seconds = outage.ended - outage.began
    return Figures(
        messages_sent=messages_sent,
        cancelled=len(cancelled),
        dead_lettered=dead_lettered,
        still_waiting=still_waiting,
        last_cancelled_seconds=round(done[-1], 1) if done else None,
        ninety_percent_cancelled_seconds=round(done[ninety - 1], 1) if 0 < ninety <= len(done) else None,
        requests_while_down=len(refused),
        requests_per_minute_while_down=round(len(refused) * 60 / seconds, 1),
        requests_each_minute_while_down=_each(refused, 60.0, math.ceil(round(seconds, 1) / 60)),
        busiest_second_while_down=busiest_second(sorted(refused)),
        busiest_second_after_recovery=busiest_second([at for at in accepted if at >= 0]),
        requests_each_second=_each(during, 1.0, math.floor(max(during, default=0.0)) + 1),
    )


def busiest_second(times: Sequence[float]) -> int:
    """The most that fell into any one second, wherever it begins. times: in order."""
    most = start = 0
    for end, time_ in enumerate(times):
        while time_ - times[start] >= 1.0:
            start += 1
        most = max(most, end - start + 1)
    return most


def _cancelled_at(outage: Outage, arrivals: Sequence[Arrival], cancelled: AbstractSet[str]) -> list[float]:
    """When each job was cancelled, in order: with its first request that was not refused."""
    first: dict[str, float] = {}
    for arrival in arrivals:
        if arrival.job_id in cancelled and not arrival.refused:
            first.setdefault(arrival.job_id or "", arrival.at - outage.ended)
    return sorted(first.values())


def _each(times: Sequence[float], width: float, count: int) -> list[int]:
    """How many fell into each of `count` spans of `width` seconds; what is later counts with the last."""
    spans = [0] * count
    for time_ in times:
        spans[min(int(time_ // width), count - 1)] += 1
    return spans
