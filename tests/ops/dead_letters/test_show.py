"""`dead-letters show`: found by any of its ids, and everything about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ops.dead_letters.advice import advice_for
from shared.policy import RULES

if TYPE_CHECKING:
    from tests.ops.dead_letters.conftest import Site

PAST = {
    "CancelJobAttempt": 17,
    "CancelJobMessageId": "order-1",
    "CancelJobFirstAttemptTime": "2026-01-02T03:04:06+00:00",
    "CancelJobFirstEnqueuedTime": "2026-01-02T03:04:05.000+00:00",
}


@pytest.mark.parametrize("given", ["2", "order-1~copy", "order-1", "id:order-1"])
def test_a_letter_is_found_by_number_its_id_and_its_senders(site: Site, given: str) -> None:
    site.bury("another")
    site.bury("job-1", message_id="order-1~copy", properties=PAST)

    assert '"jobId": "job-1"' in site.run("show", given).stdout


def test_everything_about_it_is_shown(site: Site) -> None:
    site.bury("job-1", reason="RetriesExhausted", properties={**PAST, "tenant": "north"}, description="Given up …")

    shown = site.run("show", "1").stdout

    for expected in (
        "RetriesExhausted",
        "Given up …",
        "REDELIVERY_GIVE_UP_AFTER_SECONDS",
        "dead-letters resubmit 1",
        "2026-01-02 03:04:05  sent as order-1",
        "2026-01-02 03:04:06  first attempt",
        "tenant",
        "north",
        "application/json",
    ):
        assert expected in shown


def test_digits_are_a_number_and_never_a_message_id(site: Site) -> None:
    site.bury("job-1", message_id="2")
    site.bury("job-2", message_id="x")

    assert '"jobId": "job-2"' in site.run("show", "2").stdout
    assert '"jobId": "job-1"' in site.run("show", "id:2").stdout


def test_an_id_that_nothing_has_is_an_error(site: Site) -> None:
    result = site.run("show", "ghost")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "No dead letter 'ghost' in queue 'job-cancellations'. See: python -m ops dead-letters list\n"
    )


def test_an_id_that_several_have_is_answered_with_their_numbers(site: Site) -> None:
    site.bury("job-1", message_id="same")
    site.bury("job-2", message_id="same")

    result = site.run("show", "same")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Give one of their numbers: 1, 2." in result.stderr


def test_a_body_that_is_no_json_is_shown_as_it_is(site: Site) -> None:
    site.bury(body=b"\xff not json \x1b[2J")

    shown = site.run("show", "1").stdout

    assert "\ufffd not json ·[2J" in shown
    assert "The body is not" in shown


@pytest.mark.parametrize("reason", [rule.reason for rule in RULES if rule.reason] + ["Http418", "SomeCode"])
def test_every_reason_has_a_next_step(reason: str) -> None:
    advice = advice_for(reason, 7)

    assert advice.meaning.endswith(".")
    assert "resubmit 7" in advice.next_step


@pytest.mark.parametrize("text", ["[/order]-1", "[b]-1", "[/INST] x", "[red]"])
def test_brackets_of_a_stranger_are_shown_as_they_are(site: Site, text: str) -> None:
    site.bury(message_id=text, properties={text: text})

    result = site.run("show", "1")

    assert result.exit_code == 0
    assert result.stdout.count(text) >= 3


def test_a_long_body_is_whole_json_in_a_pipe_in_its_own_letters(site: Site) -> None:
    note = "Müller hängt auf, 電話 " * 700
    site.bury(body=json.dumps({"jobId": "job-1", "note": note}, ensure_ascii=False).encode())

    shown = site.run("show", "1").stdout
    body = shown.partition("\nBody\n")[2].partition("\n\n")[0]

    assert json.loads(body) == {"jobId": "job-1", "note": note}
    assert note in body


def test_a_body_does_not_steer_the_terminal(site: Site) -> None:
    site.bury(body='{"jobId": "job-1", "note": "a\u009b2J\u202eb"}'.encode())

    assert "a·2J·b" in site.run("show", "1").stdout
