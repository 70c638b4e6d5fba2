"""resubmit killed at every point between send and complete, and stopped by Ctrl-C: nothing lost, nothing sent twice."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from local.job_router import JobRouter
from local.soak.worker import Worker
from ops.dead_letters.walking import LETTERS_A_CONNECTION
from tests.end_to_end.conftest import drained
from tests.ops.dead_letters.conftest import QUEUE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.ops.dead_letters.conftest import Site

COUNT = 200
KILLED = -9
DEAD = f"{QUEUE}/$deadletterqueue"
RESUBMIT = ("dead-letters", "resubmit", "--all", "--yes", "--wait", "0")
# Two batches of 100 are sent; so each point is passed at least twice.
EVERY_POINT = [
    ("before sending is noted", 1),
    ("after sending is noted", 1),
    ("after sending is noted", 2),
    ("after the batch is sent", 1),
    ("after the batch is sent", 2),
    ("after it is noted as sent", 1),
    ("before a letter is completed", 1),
    ("after a letter is completed", 1),
    ("after a letter is completed", 50),
    ("after a letter is completed", 100),
    ("before it is noted as done", 1),
    ("after it is noted as done", 1),
    ("after a letter is completed", 200),
    ("before it is noted as done", 2),
]


def start(site: Site, signal_name: str, point: str, nth: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ServiceBusConnection")}
    command = [sys.executable, "-m", "tests.ops.dead_letters.dying_run", signal_name, point, str(nth), *arguments]
    return subprocess.run(  # noqa: S603  # our own module
        command, env=environment | site.settings, capture_output=True, text=True, check=False, timeout=60
    )


def run_to_the_end(site: Site) -> None:
    site.broker.expire_locks(DEAD)  # as time would, soon
    result = site.run("resubmit", "--all", "--yes", "--wait", "0")
    assert result.exit_code == 0 or "No dead letter that fits" in result.stderr, result.output


@pytest.mark.parametrize("point, nth", EVERY_POINT)
def test_a_run_killed_at_any_point_loses_nothing_and_the_next_sends_nothing_twice(
    site: Site, point: str, nth: int
) -> None:
    jobs = site.bury_many(COUNT)

    assert start(site, "KILL", point, nth, *RESUBMIT).returncode == KILLED
    run_to_the_end(site)

    assert site.sent_jobs() == sorted(jobs)
    assert site.dead() == []


def test_killed_again_and_again_it_still_sends_each_once(site: Site) -> None:
    jobs = site.bury_many(COUNT)

    for point, nth in EVERY_POINT[:8]:
        start(site, "KILL", point, nth, *RESUBMIT)
        site.broker.expire_locks(DEAD)
    run_to_the_end(site)

    assert site.sent_jobs() == sorted(jobs)
    assert site.dead() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "point, nth",
    [
        ("before sending is noted", 3),
        ("after sending is noted", 4),
        ("after the batch is sent", 3),
        ("after it is noted as sent", 2),
        ("after a letter is completed", 350),
        ("before it is noted as done", 3),
    ],
)
def test_on_several_connections_too_nothing_is_lost_or_sent_twice(site: Site, point: str, nth: int) -> None:
    jobs = site.bury_many(4 * LETTERS_A_CONNECTION)

    assert start(site, "KILL", point, nth, *RESUBMIT).returncode == KILLED
    run_to_the_end(site)

    assert site.sent_jobs() == sorted(jobs)
    assert site.dead() == []


def test_ctrl_c_ends_all_connections_with_what_they_have_begun(site: Site) -> None:
    jobs = site.bury_many(4 * LETTERS_A_CONNECTION)

    stopped = start(site, "INT", "after the batch is sent", 2, *RESUBMIT)

    left = len(site.dead())
    assert stopped.returncode == 130
    assert stopped.stderr.splitlines()[-1] == f"Interrupted, {left} dead letters left; the same command goes on."
    assert 0 < left == len(jobs) - len(site.sent())
    run_to_the_end(site)
    assert site.sent_jobs() == sorted(jobs)


@pytest.fixture
def router() -> Iterator[JobRouter]:
    with JobRouter() as running:
        yield running


@pytest.mark.parametrize(
    "point",
    ["after sending is noted", "after the batch is sent", "after it is noted as sent", "after a letter is completed"],
)
def test_with_the_function_at_work_what_is_sent_twice_ends_as_already_cancelled(
    site: Site, router: JobRouter, tmp_path: Path, point: str
) -> None:
    logging.getLogger("proton").setLevel(logging.CRITICAL)
    jobs = site.bury_many(COUNT)
    for job in jobs:
        router.add_job(job)
    worker = Worker(
        tmp_path / "worker",
        {
            **site.settings,
            "JOB_ROUTER_CONNECTION_STRING": router.connection_string,
            "PYTHON_THREADPOOL_THREAD_COUNT": "16",
        },
    )
    worker.start()
    try:
        assert start(site, "KILL", point, 1, *RESUBMIT).returncode == KILLED
        assert drained(site)  # what was sent is handled, so that the queue cannot tell any more that it was
        run_to_the_end(site)
        assert drained(site)
    finally:
        worker.stop()

    assert site.dead() == []
    assert {router.job(job).status for job in jobs} == {"cancelled"}
    assert {router.job(job).cancel_count for job in jobs} == {1}
    again = sum('"AlreadyCancelled"' in line for log in worker.logs for line in log.read_text().splitlines())
    assert again == (100 if point == "after the batch is sent" else 0)


@pytest.mark.parametrize(
    "point, nth",
    [("after sending is noted", 1), ("after the batch is sent", 1), ("after a letter is completed", 3)],
)
def test_ctrl_c_finishes_what_is_begun_and_says_what_is_left(site: Site, point: str, nth: int) -> None:
    jobs = site.bury_many(COUNT)

    stopped = start(site, "INT", point, nth, *RESUBMIT)

    assert stopped.returncode == 130
    assert stopped.stderr.splitlines()[-1] == "Interrupted, 100 dead letters left; the same command goes on."
    assert "Traceback" not in stopped.stderr
    assert (len(site.dead()), len(site.sent())) == (100, 100)
    run_to_the_end(site)
    assert site.sent_jobs() == sorted(jobs)


def test_ctrl_c_during_a_list_ends_it_in_one_line(site: Site) -> None:
    site.bury_many(COUNT)

    stopped = start(site, "INT", "after a look", 2, "dead-letters", "list")

    assert (stopped.returncode, stopped.stderr) == (130, "Interrupted.\n")
