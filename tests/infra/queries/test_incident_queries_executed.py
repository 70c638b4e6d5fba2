"""Steps 1 to 5 of an incident, run on an evening of the whole stack and on deliveries of the function's own code."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from shared.service_bus_errors import SendRightMissingError
from tests.infra.queries.function import USED_UP, Past, refused
from tests.infra.queries.telling import tell, tell_lines, tell_lock_lost, tell_somebody_elses
from tests.infra.queries.workspace import NOW, QUERIES, Row, ago

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.infra.queries.evening import Evening
    from tests.infra.queries.function import Function
    from tests.infra.queries.telling import Delivery
    from tests.infra.queries.workspace import Workspace

FIRST_BIN = NOW.replace(minute=0, second=0)
EARLIER = timedelta(minutes=10)
GOOD_ENDS = ("Cancelled", "AlreadyCancelled")
ENDS = (*GOOD_ENDS, "DeadLetter")


def ask(workspace: Workspace, name: str) -> list[Row]:
    return workspace.ask(QUERIES[name])


def tell_all(workspace: Workspace, *deliveries: Delivery) -> None:
    for delivery in deliveries:
        tell(workspace, delivery, ago(minutes=1))


def nearest_rank(values: Iterable[float], percent: float) -> float:
    """As Kusto defines its percentiles."""
    ranked = sorted(values)
    return ranked[math.ceil(len(ranked) * percent / 100) - 1]


@pytest.mark.parametrize("name", ["outcomes", "reasons", "latency", "retries", "age", "who-was-hit"])
def test_what_else_is_logged_is_no_delivery(workspace: Workspace, function: Function, name: str) -> None:
    """Lock-lost errors, lines about the worker, and what is somebody else's."""
    stuck = function.handle(answer=refused(503), putting_off=SendRightMissingError(), past=Past(age=60))
    message, worker = stuck.lines
    tell(workspace, replace(stuck, lines=(message,)), ago(minutes=1))
    before = ask(workspace, name)
    assert len(before) == 1
    tell_lines(workspace, replace(stuck, lines=(worker,)), ago(minutes=1))
    tell_lines(workspace, function.start_without_telemetry(), ago(minutes=1))
    tell_lock_lost(workspace, ago(minutes=1))
    tell_somebody_elses(workspace, ago(minutes=1))
    assert ask(workspace, name) == before


# 1: outcomes


def test_each_bin_counts_what_became_of_its_deliveries(workspace: Workspace, evening: Evening) -> None:
    evening.tell(workspace)
    evening.tell(workspace, earlier=EARLIER)
    counted = Counter(line["outcome"] for line in evening.lines)
    assert counted.keys() == {"Cancelled", "AlreadyCancelled", "DeadLetter", "Redeliver"}
    assert {(row["TimeGenerated"], row["outcome"]): row["count_"] for row in ask(workspace, "outcomes")} == {
        (time, outcome): count for time in (FIRST_BIN, FIRST_BIN - EARLIER) for outcome, count in counted.items()
    }


# 2: reasons


def test_each_cause_is_a_row_with_its_status(workspace: Workspace, evening: Evening) -> None:
    evening.tell(workspace)
    bad = [line for line in evening.lines if line["outcome"] not in GOOD_ENDS]
    expected = Counter((line["outcome"], line["reason"], line.get("status"), "") for line in bad)
    rows = ask(workspace, "reasons")
    found = {(r["outcome"], r["reason"], r["status"], r["not_postponed"]): r["deliveries"] for r in rows}
    assert found == expected
    assert len(rows) == len(found) == 5
    for row in rows:
        assert row["example"] in [line["description"] for line in bad if line["reason"] == row["reason"]]


def test_the_most_frequent_cause_comes_first(workspace: Workspace, function: Function) -> None:
    tell_all(workspace, *(function.handle(answer=refused(status)) for status in (404, 503, 503, 503, 401, 401)))
    assert [row["deliveries"] for row in ask(workspace, "reasons")] == [3, 2, 1]


def test_a_cause_says_how_many_messages_it_struck_and_from_when_to_when(
    workspace: Workspace, function: Function
) -> None:
    for message_id, minutes in (("m-1", 3), ("m-1", 9), ("m-2", 6)):
        tell(workspace, function.handle(message_id, answer=refused(503)), ago(minutes=minutes))
    (row,) = ask(workspace, "reasons")
    assert (row["deliveries"], row["messages"]) == (3, 2)
    assert (row["first_seen"], row["last_seen"]) == (ago(minutes=9), ago(minutes=3))


def test_messages_that_could_not_be_put_off_are_a_cause_of_their_own(workspace: Workspace, function: Function) -> None:
    put_off = function.handle(answer=refused(503))
    given_back = function.handle(answer=refused(503), putting_off=SendRightMissingError())
    tell_all(workspace, put_off, given_back)
    assert {row["not_postponed"] for row in ask(workspace, "reasons")} == {"", "SendRightMissingError"}


# 3: latency


def test_the_latencies_are_percentiles_of_what_the_lines_say(workspace: Workspace, function: Function) -> None:
    tell_all(workspace, *(function.handle(seconds=tenths / 10) for tenths in range(1, 101)))
    assert ask(workspace, "latency") == [{"TimeGenerated": FIRST_BIN, "p50": 5000.0, "p95": 9500.0, "p99": 9900.0}]


def test_each_bin_has_its_own_latencies(workspace: Workspace, evening: Evening, function: Function) -> None:
    evening.tell(workspace)
    tell(workspace, function.handle(seconds=20), ago(minutes=11))
    slow, usual = sorted(ask(workspace, "latency"), key=lambda row: row["TimeGenerated"])
    assert slow["p50"] == slow["p99"] == 20_000.0
    assert usual["p50"] == nearest_rank((line["duration_ms"] for line in evening.lines), 50)


# 4: retries


def attempts(workspace: Workspace) -> dict[int, dict[str, Any]]:
    return {row.pop("attempt"): row for row in ask(workspace, "retries")}


def test_each_attempt_tells_how_it_went_and_for_how_long_messages_were_put_off(
    workspace: Workspace, evening: Evening
) -> None:
    evening.tell(workspace)
    expected: dict[int, dict[str, Any]] = {}
    for attempt in (1, 2):
        lines = [line for line in evening.lines if line["attempt"] == attempt]
        delays = [line["delay_seconds"] for line in lines if "delay_seconds" in line]
        expected[attempt] = {
            "deliveries": len(lines),
            "ended_well": sum(line["outcome"] in GOOD_ENDS for line in lines),
            "dead_lettered": sum(line["outcome"] == "DeadLetter" for line in lines),
            "put_off": len(delays),
            "given_back": 0,
            "median_delay_seconds": nearest_rank(delays, 50) if delays else None,
            "longest_delay_seconds": max(delays, default=None),
        }
    assert attempts(workspace) == expected
    assert (expected[1]["put_off"], expected[2]["ended_well"]) == (2, 2)


def test_the_attempts_are_in_order(workspace: Workspace, function: Function) -> None:
    tell_all(workspace, *(function.handle(answer=refused(503), past=Past(attempt=number)) for number in (3, 10, 1, 2)))
    assert list(attempts(workspace)) == [1, 2, 3, 10]


def test_what_went_back_to_the_queue_is_given_back_and_nothing_else(workspace: Workspace, function: Function) -> None:
    """Could not be put off, could not be dead-lettered, had not even a usable queue."""
    given_back = [
        function.handle("m-1", answer=refused(503), putting_off=SendRightMissingError()),
        function.handle("m-2", answer=refused(404), dead_lettering=OSError()),
        function.handle_with_bad_settings("m-3", putting_off=OSError()),
        function.handle_without_a_queue("m-4"),
    ]
    assert all(delivery.error for delivery in given_back)
    other = [
        function.handle("m-5"),
        function.handle("m-6", answer=refused(503)),
        function.handle("m-7", answer=refused(404)),
        function.handle_with_bad_settings("m-8"),
    ]
    tell_all(workspace, *given_back, *other)
    (row,) = attempts(workspace).values()
    assert (row["deliveries"], row["ended_well"], row["dead_lettered"]) == (8, 1, 1)
    assert (row["put_off"], row["given_back"]) == (2, 4)


# 5: age


def test_the_ages_of_what_ended_are_told_apart_from_those_of_what_waits(
    workspace: Workspace, function: Function
) -> None:
    ended = [10.0, 20.0, 30.0, 40.0]
    tell_all(
        workspace,
        function.handle(past=Past(age=ended[0])),
        function.handle(past=Past(age=ended[1]), answer=refused(409), job_status="cancelled"),
        function.handle(past=Past(age=ended[2]), answer=refused(404)),
        function.handle(past=replace(USED_UP, age=ended[3]), answer=refused(503)),
        function.handle(past=Past(age=700), answer=refused(503)),
        function.handle(past=Past(age=900), answer=refused(404), dead_lettering=OSError()),
        function.handle(past=Past(age=800), answer=refused(503), putting_off=OSError()),
    )
    (row,) = ask(workspace, "age")
    assert row == {
        "TimeGenerated": FIRST_BIN,
        "ended_p50": nearest_rank(ended, 50),
        "ended_p95": nearest_rank(ended, 95),
        "oldest_waiting": 900.0,
    }


def test_a_bin_in_which_nothing_waits_or_nothing_ended_says_nothing_of_it(
    workspace: Workspace, function: Function
) -> None:
    tell(workspace, function.handle(past=Past(age=10)), ago(minutes=1))
    tell(workspace, function.handle(past=Past(age=50), answer=refused(503)), ago(minutes=11))
    told = {row["TimeGenerated"]: (row["ended_p50"], row["oldest_waiting"]) for row in ask(workspace, "age")}
    assert told == {FIRST_BIN: (10.0, None), FIRST_BIN - EARLIER: (None, 50.0)}


def test_the_evening_has_ages_of_both(workspace: Workspace, evening: Evening) -> None:
    evening.tell(workspace)
    (row,) = ask(workspace, "age")
    assert row["oldest_waiting"] == max(line["age_seconds"] for line in evening.lines if line["outcome"] == "Redeliver")
    assert row["ended_p95"] == nearest_rank((x["age_seconds"] for x in evening.lines if x["outcome"] in ENDS), 95)
