"""Step 6 of an incident: whose cancellations have not ended well, and whose have by now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.service_bus_errors import SendRightMissingError
from tests.infra.queries.evening import DEAD
from tests.infra.queries.function import USED_UP, Past, refused
from tests.infra.queries.telling import tell
from tests.infra.queries.workspace import QUERIES, Row, ago

if TYPE_CHECKING:
    from tests.infra.queries.evening import Evening
    from tests.infra.queries.function import Function
    from tests.infra.queries.telling import Delivery
    from tests.infra.queries.workspace import Workspace


def hit(workspace: Workspace) -> list[Row]:
    return workspace.ask(QUERIES["who-was-hit"])


def tell_in_turn(workspace: Workspace, *deliveries: Delivery) -> None:
    """The first of them as many minutes ago as there are."""
    for minutes, delivery in zip(range(len(deliveries), 0, -1), deliveries, strict=True):
        tell(workspace, delivery, ago(minutes=minutes))


def test_of_the_evening_only_the_dead_letters_are_left(workspace: Workspace, evening: Evening) -> None:
    """Two messages were put off and then cancelled."""
    evening.tell(workspace)
    rows = hit(workspace)
    assert {row["message_id"]: row["reason"] for row in rows} == DEAD
    assert {row["state"] for row in rows} == {"in the dead-letter queue"}
    assert {row["job_id"] for row in rows} == {"ghost-1", "ghost-2", "ended", ""}


def test_a_message_is_told_as_its_last_delivery_left_it(workspace: Workspace, function: Function) -> None:
    tell_in_turn(
        workspace,
        function.handle(answer=refused(503), past=Past(age=5)),
        function.handle(answer=refused(503), past=Past(attempt=2, age=35)),
        function.handle(answer=refused(401), past=Past(attempt=3, age=95)),
    )
    (row,) = hit(workspace)
    assert "Check the access key" in row.pop("description")
    assert row == {
        "state": "comes again by itself",
        "job_id": "job-1",
        "message_id": "m-1",
        "reason": "JobRouterAccessDenied",
        "attempt": 3,
        "deliveries": 3,
        "age_seconds": 95.0,
        "first_seen": ago(minutes=3),
        "last_seen": ago(minutes=1),
    }


def test_a_message_that_was_given_up_is_in_the_dead_letter_queue(workspace: Workspace, function: Function) -> None:
    tell_in_turn(workspace, function.handle(answer=refused(503)), function.handle(answer=refused(503), past=USED_UP))
    assert [(row["state"], row["deliveries"]) for row in hit(workspace)] == [("in the dead-letter queue", 2)]


def test_a_dead_letter_that_was_sent_again_and_cancelled_is_gone(workspace: Workspace, function: Function) -> None:
    tell_in_turn(workspace, function.handle(answer=refused(401), past=USED_UP), function.handle())
    assert hit(workspace) == []


def test_a_message_that_was_cancelled_before_and_fails_when_it_comes_twice_is_told(
    workspace: Workspace, function: Function
) -> None:
    tell_in_turn(workspace, function.handle(), function.handle(answer=refused(503)))
    assert [row["state"] for row in hit(workspace)] == ["comes again by itself"]


def test_each_state_says_what_comes_next(workspace: Workspace, function: Function) -> None:
    tell_in_turn(
        workspace,
        function.handle("m-1", "job-1", answer=refused(404)),
        function.handle("m-2", "job-2", answer=refused(404), dead_lettering=OSError()),
        function.handle("m-3", "job-3", answer=refused(503), putting_off=SendRightMissingError()),
        function.handle("m-4", "job-4", answer=refused(503)),
        function.handle("m-5", "job-5", answer=refused(404)),
    )
    assert [(row["message_id"], row["state"]) for row in hit(workspace)] == [
        ("m-2", "is delivered again at once"),
        ("m-1", "in the dead-letter queue"),
        ("m-5", "in the dead-letter queue"),
        ("m-3", "comes again by itself"),
        ("m-4", "comes again by itself"),
    ]


# Lines that do not name the job, or not the message


def test_a_message_that_a_worker_with_bad_settings_put_off_and_another_cancelled_is_gone(
    workspace: Workspace, function: Function
) -> None:
    """The first of the two lines names no job: that worker does not look into the body."""
    tell_in_turn(workspace, function.handle_with_bad_settings(), function.handle())
    assert hit(workspace) == []


def test_a_message_that_ends_in_a_worker_with_bad_settings_is_one_row_with_its_job(
    workspace: Workspace, function: Function
) -> None:
    tell_in_turn(workspace, function.handle(answer=refused(503)), function.handle_with_bad_settings(past=USED_UP))
    assert [(r["job_id"], r["state"], r["reason"], r["deliveries"]) for r in hit(workspace)] == [
        ("job-1", "in the dead-letter queue", "InvalidSettings", 2)
    ]


def test_a_dead_letter_whose_body_was_mended_and_whose_job_was_cancelled_is_gone(
    workspace: Workspace, function: Function
) -> None:
    tell_in_turn(workspace, function.handle(job_id=None), function.handle())
    assert hit(workspace) == []


def test_a_message_without_an_id_that_was_put_off_and_then_cancelled_is_gone(
    workspace: Workspace, function: Function
) -> None:
    """Its copies have an id, which the function makes."""
    tell_in_turn(
        workspace, function.handle(None, answer=refused(503)), function.handle("made-up", past=Past(attempt=2))
    )
    assert hit(workspace) == []


def test_a_message_without_an_id_or_a_job_is_named_by_its_invocation(workspace: Workspace, function: Function) -> None:
    delivery = function.handle(None, None)
    tell_in_turn(workspace, delivery, function.handle(None, None))
    rows = hit(workspace)
    assert [row["deliveries"] for row in rows] == [1, 1]
    assert delivery.invocation_id in {row["message_id"] for row in rows}


def test_jobs_whose_sender_gives_all_messages_the_same_id_are_told_one_by_one(
    workspace: Workspace, function: Function
) -> None:
    tell_in_turn(
        workspace,
        function.handle("same", "job-1", answer=refused(404)),
        function.handle("same", "job-2", answer=refused(404)),
        function.handle("same", "job-3"),
    )
    assert {row["job_id"] for row in hit(workspace)} == {"job-1", "job-2"}


def test_two_messages_for_one_job_are_two_rows(workspace: Workspace, function: Function) -> None:
    tell_in_turn(workspace, *(function.handle(name, answer=refused(503)) for name in ("m-1", "m-2")))
    assert [row["message_id"] for row in hit(workspace)] == ["m-1", "m-2"]
