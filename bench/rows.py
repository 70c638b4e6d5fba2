"""What a measurement gives back: medians with their spread, ours beside a peer's, and the goal they are held to."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Spread:
    """The median of several rounds, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """ValueError where there are none."""
        if not figures:
            raise ValueError("A spread needs at least one figure.")
        return cls(statistics.median(figures), min(figures), max(figures))


@dataclass(frozen=True)
class Row:
    """One line of the table. unit: as written behind the figures. peer: None where ours stands for itself.

    limit: the goal as a ratio of ours to the peer's, at most this (at least, where `more_is_better`), or, without a
    peer, as a figure. note: what a reader needs to judge the row.
    """

    what: str
    unit: str
    ours: Spread
    peer_name: str = ""
    peer: Spread | None = None
    limit: float | None = None
    more_is_better: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.ours.median / self.peer.median if self.peer and self.peer.median else None

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        figure = self.ratio if self.peer else self.ours.median
        if self.limit is None or figure is None:
            return None
        return figure >= self.limit if self.more_is_better else figure <= self.limit


@dataclass(frozen=True)
class Curve:
    """Points of a plot: `ours` and `peer` over the same `x`."""

    title: str
    x_title: str
    y_title: str
    x: Sequence[float]
    ours: Sequence[float]
    peer: Sequence[float] = ()


@dataclass(frozen=True)
class Measured:
    """What one part of the bench found."""

    rows: Sequence[Row]
    curves: Sequence[Curve] = field(default_factory=tuple)
