"""Each end of a call to Job Router crossed with each settlement fault, over real sockets: one row a case."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

from shared.job_router_error import JobRouterError
from shared.policy import HEADER_LIMIT, RULES, rule_for
from tests.fault_matrix.cases import CALLS, CANCELLED, CASES, SECRETS, Case, Settling
from tests.fault_matrix.stage import Played, play

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def played() -> Callable[[Settling], Played]:
    """All calls with one settlement fault are played at once, the first time that one of their rows asks."""
    return cache(play)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_message_ends_where_the_policy_says(case: Case, played: Callable[[Settling], Played]) -> None:
    found = played(case.settling)
    letters = found.letters.get(case.job_id, [])
    if case.call.end == CANCELLED:
        assert letters == []
        assert found.jobs[case.job_id].status == "cancelled"
        assert {"Cancelled", "AlreadyCancelled"} & {line["outcome"] for line in found.lines[case.job_id]}
    else:
        (letter,) = letters
        assert letter.application_properties["DeadLetterReason"] == case.call.end
        assert 20 < len(letter.application_properties["DeadLetterErrorDescription"]) < HEADER_LIMIT


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_line_of_the_first_delivery_says_what_became_of_it(
    case: Case, played: Callable[[Settling], Played]
) -> None:
    first = min(played(case.settling).lines[case.job_id], key=lambda line: line["attempt"])
    if case.call.is_later:
        assert first["outcome"] == "Redeliver"
        if case.settling is Settling.SEND_REFUSED:
            assert first["not_postponed"] == "ServiceBusQuotaExceededError"
        if case.settling is Settling.WORKS:
            assert first["delay_seconds"] < 1
    elif case.call.end == CANCELLED:
        assert first["outcome"] in ("Cancelled", "AlreadyCancelled")
    else:
        # A lost lock, or a reply lost with the link, shows; then the broker delivers once more.
        may_fail = case.settling in (Settling.LOCK_LOST, Settling.LINK_DROPPED)
        assert first["outcome"] in ("DeadLetter", *(["SettlementFailed"] if may_fail else []))


@pytest.mark.parametrize("settling", Settling)
def test_nothing_is_left_and_no_job_is_cancelled_twice(
    settling: Settling, played: Callable[[Settling], Played]
) -> None:
    found = played(settling)
    assert found.left == 0
    assert all(job.cancel_count <= 1 for job in found.jobs.values())


@pytest.mark.parametrize("settling", Settling)
def test_every_message_met_the_settlement_fault(settling: Settling, played: Callable[[Settling], Played]) -> None:
    rows = {case.job_id: case.call for case in CASES if case.settling is settling}
    expected = {
        Settling.WORKS: set[str](),
        Settling.SEND_REFUSED: {job_id for job_id, call in rows.items() if call.is_later},  # only those are sent again
    }.get(settling, set(rows))
    assert played(settling).struck == expected


@pytest.mark.parametrize("settling", Settling)
def test_no_secret_and_no_note_is_told_anywhere(settling: Settling, played: Callable[[Settling], Played]) -> None:
    texts = played(settling).texts
    assert len(texts) > len(CALLS)
    assert [text for text in texts for secret in SECRETS if secret in text] == []


def test_a_refused_send_is_told_once_and_clearly(played: Callable[[Settling], Played]) -> None:
    told = [line for line in played(Settling.SEND_REFUSED).lines[""] if line["outcome"] == "Degraded"]
    assert {line["reason"] for line in told} == {"ServiceBusQuotaExceededError"}
    assert played(Settling.WORKS).lines.get("", []) == []


def test_each_rule_of_the_policy_has_its_rows() -> None:
    statuses = {int(call.name.split()[0]) for call in CALLS if call.name.split()[0].isdigit()}
    errors = [JobRouterError(status, "Code", "", from_job_router=True) for status in statuses if status >= 300]
    met = {rule_for(error).when for error in errors}
    codes = {rule.when for rule in RULES if rule.codes}  # each is a network fault's, named in CALLS
    assert met | codes == {rule.when for rule in RULES}
