"""The picture for the README: bars of ours and the peer with the goal marked, and curves; SVG, written by hand.

On a light ground of its own, because the page around it may be light or dark. Knows nothing of how things are measured.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape

from bench.report import goal, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.rows import Curve, Measured, Row

WIDTH = 720
MOST_BARS = 12
_MARGIN = 20
_OURS, _PEER, _GOAL, _INK, _FAINT, _GRID = "#0969da", "#a8b0b9", "#bc4c00", "#1f2328", "#59636e", "#e4e8ec"
_BARS_AT, _BARS_WIDTH = 306, 236  # the names are left of the bars, the figures right of them
_ROW = 40
_LONGEST = 42  # letters of a name: what fits beside the bars; in the smaller type some more
_LONGEST_SMALL = 51
_STYLE = (
    'text{font-family:system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;font-size:12px;'
    f"fill:{_INK}}}.f{{fill:{_FAINT};font-size:11px}}.h{{font-size:14px;font-weight:600}}.e{{text-anchor:end}}"
    ".m{text-anchor:middle}"
)


class Box(NamedTuple):
    """Where a plot's lines are drawn; pixels."""

    left: float
    top: float
    width: float
    height: float


def picture(parts: Mapping[str, Measured], caption: str) -> str:
    """The whole SVG. caption: one line under it all, such as what it was measured on."""
    bars = [row for measured in parts.values() for row in measured.rows if _is_bar(row)][:MOST_BARS]
    curves = [curve for measured in parts.values() for curve in measured.curves if curve.peer][:2]
    pieces = list(_legend())
    y = 62.0
    for row in bars:
        pieces += _bar(row, y)
        y += _ROW
    if curves:
        pieces += _plots(curves, y + 14)
        y += 14 + _PLOT_HEIGHT
    pieces.append(_text(_MARGIN, y + 16, caption, "f"))
    height = round(y + 32)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>This function beside its peers</title>",
            f"<desc>{escape('; '.join(_in_words(row) for row in bars))}</desc>",
            f"<style>{_STYLE}</style>",
            f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8" fill="#fff" stroke="#d0d7de"/>',
            *pieces,
            "</svg>\n",
        ]
    )


def _is_bar(row: Row) -> bool:
    """Where less is better; where more is, the curves tell it."""
    return row.ratio is not None and row.limit is not None and not row.more_is_better


def _in_words(row: Row) -> str:
    return f"{row.what}: {row.ratio:.2f} of {row.peer_name}, goal {goal(row)}"


def _legend() -> Iterator[str]:
    yield _text(_MARGIN, 32, "This function beside its peers", "h")
    yield _rect(_BARS_AT, 23, 12, 9, _OURS)
    yield _text(_BARS_AT + 17, 32, "ours")
    yield _rect(_BARS_AT + 60, 23, 12, 9, _PEER)
    yield _text(_BARS_AT + 77, 32, "peer")
    yield _line(_BARS_AT + 122, 20, _BARS_AT + 122, 35, _GOAL, 2.5)
    yield _text(_BARS_AT + 129, 32, "goal for ours; shorter is better")


def _bar(row: Row, y: float) -> Iterator[str]:
    """Two bars on a scale of their own: rows have different units, and each stands for itself."""
    assert row.peer
    assert row.limit is not None
    allowed = row.limit * row.peer.median
    scale = _BARS_WIDTH / max(row.ours.median, row.peer.median, allowed)
    yield _text(_MARGIN, y + 11, _shortened(row.what, _LONGEST))
    yield _text(_MARGIN, y + 26, _shortened(f"peer: {row.peer_name}", _LONGEST_SMALL), "f")
    yield _rect(_BARS_AT, y + 2, row.ours.median * scale, 11, _OURS)
    yield _rect(_BARS_AT, y + 15, row.peer.median * scale, 11, _PEER)
    at = _BARS_AT + allowed * scale
    yield _line(at, y - 2, at, y + 30, _GOAL, 2.5)
    figures = f"{number(row.ours.median)} : {number(row.peer.median)} {row.unit}"
    yield _text(_BARS_AT + _BARS_WIDTH + 14, y + 11, f"{row.ratio:.2f} of it, goal {goal(row)}")
    yield _text(_BARS_AT + _BARS_WIDTH + 14, y + 26, figures, "f")


_PLOT_HEIGHT = 230


def _plots(curves: Sequence[Curve], top: float) -> Iterator[str]:
    each = (WIDTH - 2 * _MARGIN) / 2
    for at, curve in enumerate(curves):
        box = Box(_MARGIN + at * each + 44, top + 44, each - 80, _PLOT_HEIGHT - 90)
        yield _text(box.left - 44, top + 14, curve.title, "h")
        yield _text(box.left - 44, top + 32, curve.y_title, "f")
        yield from _plot(curve, box)


def _plot(curve: Curve, box: Box) -> Iterator[str]:
    """Both lines; x in steps of the same factor, as the load is chosen."""
    step = _step(max(*curve.ours, *curve.peer))
    steps = max(1, math.ceil(max(*curve.ours, *curve.peer) / step))
    bottom = box.top + box.height
    for count in range(steps + 1):
        y = bottom - box.height * count / steps
        yield _line(box.left, y, box.left + box.width, y, _GRID, 1)
        yield _text(box.left - 6, y + 4, f"{step * count:,.0f}", "f e")
    xs = _spread_out(curve.x, box)
    for value, x in zip(curve.x, xs, strict=True):
        yield _text(x, bottom + 16, f"{value:g}", "f m")
    yield _text(box.left + box.width / 2, bottom + 32, curve.x_title, "f m")
    at: dict[float, float] = {}  # where the lines end, and what they say there
    for values, colour in ((curve.peer, _PEER), (curve.ours, _OURS)):
        ys = [bottom - box.height * value / (step * steps) for value in values]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
        for x, y in zip(xs, ys, strict=True):
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
        at[values[-1]] = ys[-1] + 4
    last = -math.inf
    for value in sorted(at, reverse=True):
        last = max(at[value], last + 13)  # one beneath the other, also where both lines end at one place
        yield _text(xs[-1] + 7, last, number(value))


def _spread_out(x: Sequence[float], box: Box) -> list[float]:
    lowest, highest = math.log(min(x)), math.log(max(x))
    span = highest - lowest or 1.0
    return [box.left + box.width * (math.log(value) - lowest) / span for value in x]


def _step(highest: float) -> float:
    """1, 2 or 5 times a power of ten, so that about four lines reach the highest value."""
    if highest <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(highest / 4))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * 4 >= highest)


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _text(x: float, y: float, text: str, style: str = "") -> str:
    styled = f' class="{style}"' if style else ""
    return f'<text x="{x:g}" y="{y:g}"{styled}>{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:.1f}" height="{height:g}" fill="{colour}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}"/>'
