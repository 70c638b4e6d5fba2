"""The five alerts, run on lines of the function's own: what makes each fire, and what must not."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from tests.infra.queries.evening import DEAD
from tests.infra.queries.function import USED_UP, Past, refused
from tests.infra.queries.telling import tell, tell_incoming, tell_lock_lost, tell_somebody_elses
from tests.infra.queries.workspace import ago
from tests.infra.test_alerts import QUERY_ALERTS

if TYPE_CHECKING:
    from datetime import datetime

    from tests.infra.queries.evening import Evening
    from tests.infra.queries.function import Function
    from tests.infra.queries.workspace import Workspace


def handled(workspace: Workspace, function: Function, count: int) -> None:
    for number in range(count):
        tell(workspace, function.handle(f"good-{number}", f"job-{number}"), ago(minutes=5))


def test_no_alert_fires_where_all_is_well(workspace: Workspace, function: Function) -> None:
    tell_incoming(workspace, *(ago(minutes=minutes) for minutes in range(2, 28)))
    handled(workspace, function, 20)
    tell(workspace, function.handle("m-1", answer=refused(409), job_status="cancelled"), ago(minutes=1))
    assert workspace.firing() == set()


def test_lock_lost_errors_alone_fire_no_alert(workspace: Workspace) -> None:
    for number in range(50):
        tell_lock_lost(workspace, ago(seconds=number))
    assert workspace.firing() == set()


def test_lock_lost_errors_beside_good_deliveries_fire_no_alert(workspace: Workspace, function: Function) -> None:
    handled(workspace, function, 10)
    for number in range(50):
        tell_lock_lost(workspace, ago(seconds=number))
    assert workspace.firing() == set()


def test_traces_that_are_no_lines_of_ours_fire_no_alert(workspace: Workspace) -> None:
    for seconds in range(20):
        tell_somebody_elses(workspace, ago(seconds=seconds))
    assert workspace.firing() == set()


def test_an_empty_object_as_body_fires_the_alert_on_dead_letters_and_nothing_else(
    workspace: Workspace, function: Function
) -> None:
    """What docs/monitoring.md has people try out."""
    tell_incoming(workspace, ago(minutes=11))
    tell(workspace, function.handle("try-out", None), ago(minutes=11))
    assert workspace.firing() == {"dead-letters"}


def test_an_outage_that_is_young_fires_only_the_alert_on_the_failure_rate(
    workspace: Workspace, function: Function
) -> None:
    tell_incoming(workspace, ago(minutes=11), ago(minutes=12))
    for number in range(20):
        tell(workspace, function.handle(f"m-{number}", answer=refused(503)), ago(minutes=3))
    assert workspace.firing() == {"failure-rate"}


def make_fire(name: str, workspace: Workspace, function: Function, time: datetime) -> None:
    match name:
        case "dead-letters":
            tell(workspace, function.handle(job_id=None), time)
        case "environment-faults":
            tell(workspace, function.handle(answer=refused(401)), time)
        case "failure-rate":
            for _ in range(10):
                tell(workspace, function.handle(answer=refused(503)), time)
        case "nothing-handled":
            tell_incoming(workspace, time)
        case "oldest-message":
            tell(workspace, function.handle(past=Past(age=2000)), time)


WINDOWS = {
    "dead-letters": 15,
    "environment-faults": 45,
    "failure-rate": 15,
    "nothing-handled": 360,
    "oldest-message": 45,
}


@pytest.mark.parametrize("name, minutes", WINDOWS.items())
def test_an_alert_looks_at_its_window_and_no_further_back(
    workspace: Workspace, function: Function, name: str, minutes: int
) -> None:
    make_fire(name, workspace, function, ago(minutes=minutes, seconds=1))
    assert workspace.firing() == set()
    make_fire(name, workspace, function, ago(minutes=minutes, seconds=-1))
    assert workspace.firing() == {name}


@pytest.mark.parametrize("name", WINDOWS)
def test_the_columns_that_an_alert_is_split_by_are_in_its_rows(
    workspace: Workspace, function: Function, name: str
) -> None:
    make_fire(name, workspace, function, ago(minutes=11))
    (row,) = workspace.alert(f"alert-{name}")
    assert all(row[column] for column in QUERY_ALERTS[name]["splitBy"])


# alert-dead-letters


def test_each_reason_is_a_row_with_the_jobs_that_were_dead_lettered(workspace: Workspace, evening: Evening) -> None:
    evening.tell(workspace)
    jobs: dict[str, set[str]] = defaultdict(set)
    for message_id, reason in DEAD.items():
        jobs[reason] |= {message_id.removeprefix("m-")} - {"unreadable"}
    rows = workspace.alert("alert-dead-letters")
    assert {row["reason"]: set(row["jobs"]) for row in rows} == jobs
    assert sum(row["dead_letters"] for row in rows) == len(DEAD)


def test_each_dead_letter_of_the_evening_left_the_host_with_a_lost_lock(evening: Evening) -> None:
    """So the rows that these tests run on hold the error that no alert may count."""
    lost = [delivery for _, delivery in evening.deliveries if delivery.lock_lost]
    assert {json.loads(delivery.lines[0].getMessage())["message_id"] for delivery in lost} == set(DEAD)
    assert all(delivery.error is None for delivery in lost)


def test_a_reason_says_when_it_was_last_seen(workspace: Workspace, function: Function) -> None:
    for minutes in (3, 1, 2):
        tell(workspace, function.handle("m-1", answer=refused(404)), ago(minutes=minutes))
    (row,) = workspace.alert("alert-dead-letters")
    assert (row["dead_letters"], row["last_seen"]) == (3, ago(minutes=1))


def test_a_message_that_was_given_up_is_a_dead_letter(workspace: Workspace, function: Function) -> None:
    given_up = function.handle("m-1", answer=refused(503), past=USED_UP)
    tell(workspace, given_up, ago(minutes=1))
    assert [row["reason"] for row in workspace.alert("alert-dead-letters")] == ["RetriesExhausted"]


def test_what_could_not_be_dead_lettered_is_none(workspace: Workspace, function: Function) -> None:
    tell(workspace, function.handle("m-1", None, dead_lettering=OSError()), ago(minutes=1))
    assert workspace.alert("alert-dead-letters") == []
