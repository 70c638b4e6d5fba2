"""The alert on faults of the environment: it fires on what a person has to mend, and on nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from shared.job_router_error import CREDENTIAL_UNAVAILABLE, NOT_JOB_ROUTER, TIMEOUT, TLS_VERIFICATION_FAILED
from shared.scheduled_copy import ExpiredError
from shared.service_bus_errors import MessageGoneError, SendRightMissingError
from tests.infra.queries.function import BAD_SETTINGS, NEW, USED_UP, refused
from tests.infra.queries.telling import tell, tell_lines
from tests.infra.queries.workspace import Row, ago

if TYPE_CHECKING:
    from shared.job_router_error import JobRouterError
    from tests.infra.queries.function import Function, Past
    from tests.infra.queries.telling import Delivery
    from tests.infra.queries.workspace import Workspace


def alerted(workspace: Workspace, delivery: Delivery) -> list[Row]:
    tell(workspace, delivery, ago(minutes=1))
    return workspace.alert("alert-environment-faults")


TO_BE_MENDED = [
    *((refused(status), "JobRouterAccessDenied") for status in (401, 403)),
    *((refused(status), "JobRouterNotReached") for status in (302, 407)),
    (refused(200, NOT_JOB_ROUTER), "JobRouterNotReached"),
    (refused(None, TLS_VERIFICATION_FAILED), "JobRouterCertificateInvalid"),
    (refused(None, CREDENTIAL_UNAVAILABLE), "JobRouterCredentialUnavailable"),
]


@pytest.mark.parametrize("answer, reason", TO_BE_MENDED, ids=lambda value: getattr(value, "code", value))
@pytest.mark.parametrize("past, outcome", [(NEW, "Redeliver"), (USED_UP, "DeadLetter")])
def test_a_fault_of_the_environment_fires_while_it_is_retried_and_when_it_is_given_up(
    workspace: Workspace, function: Function, answer: JobRouterError, reason: str, past: Past, outcome: str
) -> None:
    (row,) = alerted(workspace, function.handle(answer=answer, past=past))
    assert (row["outcome"], row["reason"], row["lines"], row["last_seen"]) == (outcome, reason, 1, ago(minutes=1))


def test_the_example_names_the_setting_to_look_at(workspace: Workspace, function: Function) -> None:
    (row,) = alerted(workspace, function.handle(answer=refused(401)))
    assert "JOB_ROUTER_CONNECTION_STRING" in row["example"]


def test_a_fault_is_one_row_that_says_when_it_was_last_seen(workspace: Workspace, function: Function) -> None:
    for minutes in (3, 1, 2):
        tell(workspace, function.handle(answer=refused(401)), ago(minutes=minutes))
    (row,) = workspace.alert("alert-environment-faults")
    assert (row["lines"], row["last_seen"]) == (3, ago(minutes=1))


def test_bad_settings_fire_with_or_without_a_usable_queue(workspace: Workspace, function: Function) -> None:
    for delivery in (function.handle_with_bad_settings(), function.handle_without_a_queue()):
        tell(workspace, delivery, ago(minutes=1))
    (row,) = workspace.alert("alert-environment-faults")
    assert (row["reason"], row["lines"], row["example"]) == ("InvalidSettings", 2, str(BAD_SETTINGS))


def test_a_message_that_cannot_be_put_off_fires(workspace: Workspace, function: Function) -> None:
    delivery = function.handle(answer=refused(503), putting_off=SendRightMissingError())
    (row,) = alerted(workspace, replace(delivery, lines=delivery.lines[:1]))
    assert (row["outcome"], row["reason"]) == ("Redeliver", "JobRouterUnavailable")


def test_the_worker_that_cannot_put_messages_off_fires(workspace: Workspace, function: Function) -> None:
    delivery = function.handle(answer=refused(503), putting_off=SendRightMissingError())
    tell_lines(workspace, replace(delivery, lines=delivery.lines[1:]), ago(minutes=1))
    (row,) = workspace.alert("alert-environment-faults")
    assert (row["outcome"], row["reason"]) == ("Degraded", "SendRightMissingError")
    assert "Azure Service Bus Data Sender" in row["example"]


def test_a_message_that_cannot_be_dead_lettered_fires(workspace: Workspace, function: Function) -> None:
    (row,) = alerted(workspace, function.handle(answer=refused(404), dead_lettering=OSError()))
    assert (row["outcome"], row["reason"]) == ("SettlementFailed", "JobNotFound")


@pytest.mark.parametrize(
    "answer, past",
    [
        (refused(503), NEW),
        (refused(429, retry_after=60), NEW),
        (refused(None, TIMEOUT), NEW),
        (refused(503), USED_UP),
        (refused(404), NEW),
        (refused(409), NEW),
        (refused(501), NEW),
    ],
    ids=["503", "429", "timeout", "RetriesExhausted", "JobNotFound", "409", "501"],
)
def test_what_passes_by_itself_and_what_is_the_messages_own_fault_do_not_fire(
    workspace: Workspace, function: Function, answer: JobRouterError, past: Past
) -> None:
    assert alerted(workspace, function.handle(answer=answer, past=past)) == []


@pytest.mark.parametrize("gone", [MessageGoneError, *MessageGoneError.__subclasses__()])
def test_a_message_that_is_gone_when_it_is_to_be_put_off_does_not_fire(
    workspace: Workspace, function: Function, gone: type[MessageGoneError]
) -> None:
    """It says something of this message only, and there is nothing to mend."""
    assert issubclass(ExpiredError, MessageGoneError)
    assert alerted(workspace, function.handle(answer=refused(503), putting_off=gone())) == []


def test_a_fault_fires_for_a_message_that_is_gone_too(workspace: Workspace, function: Function) -> None:
    delivery = function.handle(answer=refused(401), putting_off=MessageGoneError("Gone."))
    assert [row["reason"] for row in alerted(workspace, delivery)] == ["JobRouterAccessDenied"]


def test_telemetry_that_cannot_start_does_not_fire(workspace: Workspace, function: Function) -> None:
    """Messages are handled all the same."""
    assert alerted(workspace, function.start_without_telemetry()) == []
