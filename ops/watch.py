"""`watch`: counts, ages and rates, live on a terminal, a line each time elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from ops.console import is_screen, plain, stderr, stdout, table
from ops.errors import explain
from ops.lengths import spell
from ops.target import target_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ops.counts import Count, Sample
    from ops.errors import OpsError
    from ops.target import Target

_Changes = tuple[float | None, float | None, float | None]


def watch(
    context: typer.Context,
    interval: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="From one look to the next.")] = 5.0,
    count: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after so many looks.")] = None,
) -> None:
    """Show how many messages are active, scheduled and dead-lettered, how old, and how fast that changes.

    Active messages wait or are being handled, scheduled ones wait for their
    next attempt. The change per minute is over the last minute. Takes nothing
    out of the queue; Ctrl-C ends it.

    Counts come from the service, which needs the Manage right. Without it,
    messages are peeked at, up to 1,000 in the queue and as many dead letters:
    a longer queue is shown as "at least".

    Examples:
    [bold]
        python -m ops watch
        python -m ops watch --interval 30 >> queue.log
        python -m ops watch --count 1
    [/bold]
    """
    target = target_of(context)
    try:
        _watch(target, interval, count)
    except KeyboardInterrupt:
        return  # the usual end


def _watch(target: Target, interval: float, count: int | None) -> None:
    from ops.counts import Rates, Sampler

    rates, told = Rates(), False
    screen = _Live(target) if is_screen(stdout()) else _Lines()
    with Sampler(target) as sampler, screen:
        done = 0
        while count is None or done < count:
            if done:
                _wait(interval)
            try:
                sample = sampler.look()
            except Exception as error:
                sampler.close()
                if not done:
                    raise  # what never worked will not mend itself
                screen.fail(explain(error, target))
            else:
                if sampler.why_peeking and not told:
                    told = True
                    screen.note(f"Counted by peeking. {sampler.why_peeking}")
                screen.show(sample, rates.add(sample))
            done += 1


class _Lines(nullcontext[None]):
    """One line a look, `name=number`, or `name>=number` where there may be more; times in seconds, `-` for none."""

    def show(self, sample: Sample, changes: _Changes) -> None:
        names = ("active", "scheduled", "dead_lettered")
        parts = [f"{name}{_exactly(number)}" for name, number in zip(names, sample.counts, strict=True)]
        parts += [f"{name}_per_minute={_change(rate, '-')}" for name, rate in zip(names, changes, strict=True)]
        ages = {"oldest_active": sample.oldest_active, "oldest_dead_letter": sample.oldest_dead}
        parts += [f"{name}={'-' if age is None else int(age)}" for name, age in ages.items()]
        sys.stdout.write(f"{sample.at:%Y-%m-%dT%H:%M:%SZ} {' '.join(parts)}\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        stderr().print(plain(text), style="warn", markup=False)

    def fail(self, error: OpsError) -> None:
        stderr().print(f"{plain(error.sentence)} Trying again.", style="bad", markup=False)


class _Live:
    """One table that changes in place."""

    def __init__(self, target: Target) -> None:
        from rich.live import Live

        self._target = target
        self._title = self._note = self._error = ""
        self._table: RenderableType = ""
        self._live = Live("", console=stdout(), auto_refresh=False)

    def __enter__(self) -> _Live:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, sample: Sample, changes: _Changes) -> None:
        self._error = ""
        made = table("", "now", "per minute", "oldest", right=("now", "per minute", "oldest"))
        self._title = f"{self._target.queue} at {self._target.host}, {sample.at:%H:%M:%S} UTC"
        ages = (sample.oldest_active, None, sample.oldest_dead)
        rows = zip(("active", "scheduled", "dead letters"), sample.counts, changes, ages, strict=True)
        for name, number, rate, age in rows:
            alarm = "bad" if name == "dead letters" and number.number else ""
            made.add_row(name, str(number), _change(rate, ""), "" if age is None else spell(age), style=alarm)
        self._table = made
        self._draw()

    def note(self, text: str) -> None:
        self._note = text

    def fail(self, error: OpsError) -> None:
        self._error = f"{error.sentence} Trying again."
        self._draw()

    def _draw(self) -> None:
        from rich.console import Group
        from rich.text import Text

        below = [Text(plain(text), style) for text, style in ((self._note, "faint"), (self._error, "bad")) if text]
        self._live.update(Group(Text(self._title, "name"), self._table, *below), refresh=True)


def _wait(seconds: float) -> None:
    time.sleep(seconds)


def _exactly(count: Count) -> str:
    return f"{'>=' if count.at_least else '='}{count.number}"


def _change(rate: float | None, unknown: str) -> str:
    if rate is None:
        return unknown
    return f"{rate:+.1f}" if round(rate, 1) else "0.0"
