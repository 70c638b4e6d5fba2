"""`dead-letters list`: rows, groups, filters, JSON, and what a stranger's text may not do."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.ops.dead_letters.conftest import Site


def jobs(output: str) -> list[str]:
    return [json.loads(line)["jobId"] for line in output.splitlines()]


def test_an_empty_queue_is_said_to_be_empty(site: Site) -> None:
    result = site.run("list")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "No dead letter in queue 'job-cancellations'." in result.stderr


def test_a_pipe_gets_one_whole_line_a_letter_and_nothing_else(site: Site) -> None:
    site.bury("job-1", description="why " * 50)
    site.bury("job-2", reason="RetriesExhausted", description="Given up after 17 attempts since then.")

    lines = site.run("list").stdout.splitlines()

    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert lines[0].endswith("why " * 49 + "why")
    assert lines[1].split()[3:6] == ["job-2", "17", "RetriesExhausted"]
    assert not any("\x1b" in line for line in lines)


def test_the_reasons_are_counted_the_most_frequent_first(site: Site) -> None:
    for job, reason in (("a", "Http418"), ("b", "JobNotFound"), ("c", "JobNotFound")):
        site.bury(job, reason=reason)

    lines = [line.split()[:2] for line in site.run("list").stderr.splitlines()]

    assert lines[1:3] == [["JobNotFound", "2"], ["Http418", "1"]]


def test_a_short_queue_is_shown_reason_by_reason_on_a_terminal_of_80_columns(site: Site) -> None:
    for job, reason in (("a", "Http418"), ("b", "JobNotFound"), ("c", "Http418")):
        site.bury(job, reason=reason, description="because " * 30)

    result = site.run("list", FORCE_COLOR="1", COLUMNS="80", NO_COLOR="1", TERM="dumb")

    shown = [line for line in result.stdout.splitlines() if line]
    assert max(map(len, shown)) <= 80
    assert [shown[at].split()[0] for at in (0, 1, 3, 5, 6)] == ["Http418", "1", "3", "JobNotFound", "2"]


def test_a_long_queue_is_shown_as_it_is_read_with_the_reasons_at_the_end(site: Site) -> None:
    for number in range(300):
        site.bury(f"job-{number}", reason="Http418" if number % 3 else "JobNotFound")

    lines = site.run("list", FORCE_COLOR="1", COLUMNS="80", NO_COLOR="1", TERM="dumb").stdout.splitlines()

    assert lines[0].split()[:1] == ["1"]
    assert [line.split()[:2] for line in lines[-4:-2]] == [["Http418", "200"], ["JobNotFound", "100"]]
    assert lines[-2] == "300 dead letters in queue 'job-cancellations'."


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--reason", "jobnotfound"], ["old", "new"]),
        (["--reason", "JobNotFound", "--reason", "Http418"], ["old", "new", "other"]),
        (["--job", "new"], ["new"]),
        (["--older-than", "2h"], ["old"]),
        (["--newer-than", "1h30m"], ["new", "other"]),
        (["--reason", "JobNotFound", "--newer-than", "2h"], ["new"]),
        (["--limit", "2"], ["old", "new"]),
        (["--reason", "none such"], []),
    ],
    ids=" ".join,
)
def test_filters(site: Site, options: list[str], expected: list[str]) -> None:
    site.broker.clock.advance(-3 * 3600)
    site.bury("old")
    site.broker.clock.advance(3 * 3600)
    site.bury("new")
    site.bury("other", reason="Http418")

    assert jobs(site.run("list", "--json", *options).stdout) == expected


def test_json_says_all_that_a_row_says_and_the_ids(site: Site) -> None:
    past = {
        "CancelJobAttempt": 17,
        "CancelJobMessageId": "order-1",
        "CancelJobFirstEnqueuedTime": "2026-01-02T03:04:05.000+00:00",
    }
    site.bury("job-1", properties=past, description="Given up after 17 attempts since …")

    (line,) = site.run("list", "--json").stdout.splitlines()

    found = json.loads(line)
    assert found.pop("enqueued")
    assert found == {
        "sequenceNumber": 1,
        "messageId": "message-job-1",
        "firstMessageId": "order-1",
        "jobId": "job-1",
        "reason": "JobNotFound",
        "description": "Given up after 17 attempts since …",
        "attempts": 17,
        "firstEnqueued": "2026-01-02T03:04:05+00:00",
        "resubmitted": 0,
    }


@pytest.mark.parametrize(
    "reason, description, carried, attempts",
    [
        ("JobNotFound", "(code: JobNotFound; attempt: 3)", 3, 3),
        ("MaxDeliveryCountExceeded", "Message could not be consumed after 10 delivery attempts.", 4, 13),
        ("TTLExpiredException", "The message expired and was dead lettered.", 4, 3),
        ("TTLExpiredException", "The message expired and was dead lettered.", None, 0),
        ("InvalidCancellation", "The body is not JSON.", None, 1),
    ],
)
def test_attempts(site: Site, reason: str, description: str, carried: int | None, attempts: int) -> None:
    carried_property = {} if carried is None else {"CancelJobAttempt": carried}
    site.bury("job-1", reason=reason, description=description, properties=carried_property)

    assert json.loads(site.run("list", "--json").stdout)["attempts"] == attempts


def test_what_a_stranger_wrote_does_not_steer_the_terminal(site: Site) -> None:
    site.bury("job\x9b2J\u202e", reason="why\x1b[2J", description="\x1b]0;title\x07 on\ntwo lines")

    line = site.run("list").stdout

    assert line.count("\n") == 1
    assert not set(line) & set("\x1b\x07\x9b\u202e")


def test_a_list_that_stops_early_lets_go_of_the_queue(site: Site) -> None:
    site.bury_many(600)  # so that the next page is under way when the list ends

    result = site.run("list", "--json", "--limit", "30")

    assert (result.exit_code, jobs(result.stdout)) == (0, [f"job-{number}" for number in range(30)])
    assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]


@pytest.mark.parametrize("age", ["3y", "h", "-1h", "1.5h", ""])
def test_an_age_that_is_none_is_refused(site: Site, age: str) -> None:
    result = site.run("list", f"--older-than={age}")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not an age. Write it as 90s, 15m, 2h, 3d or 1w." in result.stderr
