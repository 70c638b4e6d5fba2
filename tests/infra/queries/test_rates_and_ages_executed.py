"""The alerts with a bound: too many failures, too old, nothing handled."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from shared.service_bus_errors import SendRightMissingError
from tests.infra.queries.function import Past, refused
from tests.infra.queries.telling import (
    tell,
    tell_incoming,
    tell_lines,
    tell_lock_lost,
    tell_request,
    tell_somebody_elses,
)
from tests.infra.queries.workspace import Row, ago

if TYPE_CHECKING:
    from tests.infra.queries.function import Function
    from tests.infra.queries.telling import Delivery
    from tests.infra.queries.workspace import Workspace

# alert-failure-rate


def rates(workspace: Workspace) -> list[tuple[Any, ...]]:
    return sorted(tuple(row.values()) for row in workspace.alert("alert-failure-rate"))


@pytest.mark.parametrize(
    "good, failed, fires",
    [(7, 3, True), (8, 2, False), (6, 3, False), (0, 9, False), (0, 10, True), (79, 21, True), (80, 20, False)],
)
def test_more_than_a_fifth_of_at_least_ten_deliveries_fires(
    workspace: Workspace, function: Function, good: int, failed: int, fires: bool
) -> None:
    for number in range(good):
        tell(workspace, function.handle(f"good-{number}"), ago(minutes=1))
    for number in range(failed):
        tell(workspace, function.handle(f"bad-{number}", answer=refused(503)), ago(minutes=1))
    total = good + failed
    assert rates(workspace) == ([("deliveries", total, failed, round(failed / total, 2))] if fires else [])


@pytest.mark.parametrize("good, crashed, fires", [(7, 3, True), (8, 2, False), (6, 3, False), (0, 10, True)])
def test_workers_that_die_without_a_line_fire_by_the_hosts_count(
    workspace: Workspace, function: Function, good: int, crashed: int, fires: bool
) -> None:
    for number in range(good):
        tell(workspace, function.handle(f"good-{number}"), ago(minutes=1))
    for _ in range(crashed):
        tell(workspace, function.crash(), ago(minutes=1))
    total = good + crashed
    assert rates(workspace) == ([("invocations", total, crashed, round(crashed / total, 2))] if fires else [])


def test_dead_letters_are_failed_deliveries_and_good_invocations_whatever_the_host_logs_after_them(
    workspace: Workspace, function: Function
) -> None:
    for number in range(10):
        delivery = function.handle(f"m-{number}", answer=refused(404))
        assert delivery.lock_lost
        tell(workspace, delivery, ago(minutes=1))
    assert rates(workspace) == [("deliveries", 10, 10, 1.0)]


def test_jobs_that_were_cancelled_already_are_good_ends(workspace: Workspace, function: Function) -> None:
    for number in range(10):
        tell(workspace, function.handle(f"m-{number}", answer=refused(409), job_status="cancelled"), ago(minutes=1))
    assert rates(workspace) == []


def test_messages_that_the_host_has_to_give_back_fail_both_ways(workspace: Workspace, function: Function) -> None:
    for number in range(10):
        delivery = function.handle(f"m-{number}", answer=refused(503), putting_off=SendRightMissingError())
        tell(workspace, delivery, ago(minutes=1))
    assert rates(workspace) == [("deliveries", 10, 10, 1.0), ("invocations", 10, 10, 1.0)]


def test_other_functions_of_the_workspace_do_not_count(workspace: Workspace) -> None:
    for _ in range(10):
        workspace.add("AppRequests", ago(minutes=1), Name="another_function", Success=False)
    assert rates(workspace) == []


def test_lines_about_the_worker_are_no_deliveries(workspace: Workspace, function: Function) -> None:
    """Each worker tells once that messages cannot be put off: twenty workers, three messages."""
    degraded: list[Delivery] = []
    for number in range(3):
        delivery = function.handle(f"m-{number}", answer=refused(503), putting_off=SendRightMissingError())
        tell_lines(workspace, delivery, ago(minutes=1))
        degraded += [delivery] if len(delivery.lines) == 2 else []
    (told,) = degraded
    for _ in range(20):
        workspace.add("AppTraces", ago(minutes=1), Message=told.lines[1].getMessage(), SeverityLevel=3)
        tell_lines(workspace, function.start_without_telemetry(), ago(minutes=1))
    assert rates(workspace) == []


# alert-oldest-message


@pytest.mark.parametrize("age, fires", [(1799.0, False), (1800.0, False), (1801.0, True)])
def test_a_message_fires_half_an_hour_after_it_was_sent(
    workspace: Workspace, function: Function, age: float, fires: bool
) -> None:
    tell(workspace, function.handle(past=Past(age=age)), ago(minutes=1))
    assert [row["oldest_seconds"] for row in workspace.alert("alert-oldest-message")] == ([age] if fires else [])


def test_the_row_says_how_many_are_late_how_late_and_how_many_of_them_still_wait(
    workspace: Workspace, function: Function
) -> None:
    """Those that wait: put off, given back because they could not be, or because they could not be dead-lettered."""
    for delivery in (
        function.handle("in-time", past=Past(age=60)),
        function.handle("good", past=Past(age=2000)),
        function.handle("already", past=Past(age=2001), answer=refused(409), job_status="cancelled"),
        function.handle("dead", past=Past(age=5000), answer=refused(404)),
        function.handle("put-off", past=Past(age=3000), answer=refused(503)),
        function.handle("given-back", past=Past(age=2500), answer=refused(503), putting_off=SendRightMissingError()),
        function.handle("put-off-too", past=Past(age=2500), answer=refused(401)),
        function.handle("stuck", past=Past(age=2500), answer=refused(404), dead_lettering=OSError()),
    ):
        tell(workspace, delivery, ago(minutes=1))
    assert workspace.alert("alert-oldest-message") == [{"late": 7, "oldest_seconds": 5000.0, "still_waiting": 4}]


def test_a_line_that_does_not_know_its_messages_age_is_left_out(workspace: Workspace, function: Function) -> None:
    tell(workspace, function.handle_without_a_queue(), ago(minutes=1))
    assert workspace.alert("alert-oldest-message") == []


def test_a_dead_letter_that_is_sent_again_counts_from_its_first_sending(
    workspace: Workspace, function: Function
) -> None:
    """So sending the letters of an outage again fires it once more: docs/monitoring.md says so."""
    tell(workspace, function.handle(past=Past(age=86_400)), ago(minutes=1))
    assert workspace.firing() == {"oldest-message"}


# alert-nothing-handled


def unhandled(workspace: Workspace) -> list[Row]:
    return workspace.alert("alert-nothing-handled")


@pytest.mark.parametrize("metric", ["IncomingMessages", "Incoming Messages"])
@pytest.mark.parametrize("provider", ["MICROSOFT.SERVICEBUS", "Microsoft.ServiceBus"])
def test_messages_that_came_and_no_line_fire(workspace: Workspace, metric: str, provider: str) -> None:
    times = ago(minutes=25), ago(minutes=20)
    tell_incoming(workspace, *times, MetricName=metric, ResourceProvider=provider, Total=2.0)
    assert unhandled(workspace) == [{"came": 4.0, "last_came": ago(minutes=20)}]


@pytest.mark.parametrize("minutes", [19.5, 11.0, 0.1])
def test_one_delivery_since_they_came_is_enough(workspace: Workspace, function: Function, minutes: float) -> None:
    tell_incoming(workspace, ago(minutes=20))
    tell_lines(workspace, function.handle(), ago(minutes=minutes))
    assert unhandled(workspace) == []


@pytest.mark.parametrize("minutes", [20.5, 45.0, 400.0])
def test_a_delivery_before_they_came_does_not_count(workspace: Workspace, function: Function, minutes: float) -> None:
    tell_incoming(workspace, ago(minutes=20))
    tell(workspace, function.handle(), ago(minutes=minutes))
    assert unhandled(workspace) == [{"came": 1.0, "last_came": ago(minutes=20)}]


def test_a_busy_app_that_dies_is_told_of_when_the_grace_is_over(workspace: Workspace, function: Function) -> None:
    tell_incoming(workspace, *(ago(minutes=minutes) for minutes in range(60)))
    for minutes in range(15, 60):
        tell_lines(workspace, function.handle(), ago(minutes=minutes, seconds=-1))
    assert unhandled(workspace) == [{"came": 4.0, "last_came": ago(minutes=11)}]


def test_a_busy_app_that_works_is_not_told_of(workspace: Workspace, function: Function) -> None:
    tell_incoming(workspace, *(ago(minutes=minutes) for minutes in range(60)))
    for minutes in range(60):
        tell_lines(workspace, function.handle(), ago(minutes=minutes, seconds=-1))
    assert unhandled(workspace) == []


@pytest.mark.parametrize("minutes", [31, 120, 359])
def test_it_goes_on_firing_while_the_message_waits(workspace: Workspace, minutes: int) -> None:
    tell_incoming(workspace, ago(minutes=minutes))
    assert workspace.firing() == {"nothing-handled"}


@pytest.mark.parametrize("minutes, fires", [(9.9, False), (10.1, True)])
def test_a_message_gets_ten_minutes(workspace: Workspace, minutes: float, fires: bool) -> None:
    tell_incoming(workspace, ago(minutes=minutes))
    assert bool(unhandled(workspace)) is fires


def test_minutes_without_a_message_do_not_fire(workspace: Workspace) -> None:
    tell_incoming(workspace, *(ago(minutes=minutes) for minutes in range(1, 30)), Total=0.0)
    assert unhandled(workspace) == []


@pytest.mark.parametrize("other", [{"MetricName": "OutgoingMessages"}, {"ResourceProvider": "MICROSOFT.EVENTHUB"}])
def test_other_metrics_do_not_fire(workspace: Workspace, other: dict[str, str]) -> None:
    tell_incoming(workspace, ago(minutes=20), **other)
    assert unhandled(workspace) == []


def test_what_is_logged_without_handling_a_message_does_not_keep_it_from_firing(
    workspace: Workspace, function: Function
) -> None:
    tell_incoming(workspace, ago(minutes=20))
    tell_lock_lost(workspace, ago(minutes=15))
    tell_lines(workspace, function.start_without_telemetry(), ago(minutes=15))
    tell_request(workspace, function.crash(), ago(minutes=15))
    tell_somebody_elses(workspace, ago(minutes=15))
    assert len(unhandled(workspace)) == 1


@pytest.mark.parametrize("answer", [401, 503, 404])
def test_a_delivery_that_did_not_end_well_is_handled_too(workspace: Workspace, function: Function, answer: int) -> None:
    tell_incoming(workspace, ago(minutes=20))
    tell(workspace, function.handle(answer=refused(answer)), ago(minutes=20) + timedelta(seconds=5))
    assert unhandled(workspace) == []
