"""The outage in small: what the measurement gives back, and that this function loses nothing."""

from __future__ import annotations

import pytest

from bench.outage.__main__ import Plan, run, table
from bench.outage.figures import Arrival, Outage, busiest_second, figures


def test_a_short_outage_loses_nothing_of_ours_and_accounts_for_every_message() -> None:
    plan = Plan(
        messages=20, workers=2, down_seconds=2, drain_seconds=60, settings={"REDELIVERY_FIRST_DELAY_SECONDS": "1"}
    )
    results = run(plan)
    assert list(results) == ["plain", "ours"]
    for found in results.values():
        assert found.messages_sent == 20
        assert found.cancelled + found.dead_lettered + found.still_waiting == 20
        assert sum(found.requests_each_minute_while_down) == found.requests_while_down > 0
        assert sum(found.requests_each_second) >= found.requests_while_down + found.cancelled
    assert (results["ours"].cancelled, results["ours"].dead_lettered) == (20, 0)
    lines = table(plan, results).splitlines()
    assert "| | plain function around the SDK | this function |" in lines
    assert "| messages sent | 20 | 20 |" in lines


def test_the_figures_count_from_the_recovery() -> None:
    arrivals = [Arrival(100.5, "a", True), Arrival(161.0, "a", True), Arrival(191.0, "a", False)]
    arrivals += [Arrival(191.5, "b", False), Arrival(195.0, "b", False)]
    found = figures(Outage(100.0, 190.0), arrivals, {"a", "b"}, 2, 0, 0)
    assert (found.last_cancelled_seconds, found.ninety_percent_cancelled_seconds) == (1.5, 1.5)
    assert (found.requests_each_minute_while_down, found.requests_per_minute_while_down) == ([1, 1], 1.3)
    assert (found.busiest_second_while_down, found.busiest_second_after_recovery) == (1, 2)


def test_ninety_percent_is_never_reached_where_too_many_were_dead_lettered() -> None:
    found = figures(Outage(0.0, 1.0), [Arrival(2.0, "a", False)], {"a"}, 2, 1, 0)
    assert (found.last_cancelled_seconds, found.ninety_percent_cancelled_seconds) == (1.0, None)


@pytest.mark.parametrize(
    "times, most", [([], 0), ([3.0], 1), ([0.9, 1.1, 1.8], 3), ([0.0, 1.0, 2.0], 1), ([0.0, 0.5, 1.2, 1.3, 9.0], 3)]
)
def test_the_busiest_second_may_begin_anywhere(times: list[float], most: int) -> None:
    assert busiest_second(times) == most
