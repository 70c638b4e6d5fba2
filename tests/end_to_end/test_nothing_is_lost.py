"""Killed workers, told to stop, without the right to send, under duplicate detection: nothing is lost."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from local.job_router import Fault, JobRouter
from local.service_bus import Broker, QueueOptions, SharedKey
from local.service_bus.claims import ROOT_KEY
from local.soak.worker import Worker
from tests.end_to_end.conftest import QUEUE, Answers, drained, each_second_cancel
from tests.end_to_end.crashing_host import POINTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LISTEN_ONLY = SharedKey("listen", "LISTEN_KEY_VALUE", frozenset({"Listen"}))
# Locks of five seconds, the shortest that Azure takes; with duplicate detection, that a copy's id must get past.
OPTIONS = QueueOptions(QUEUE, lock_duration_seconds=5.0, duplicate_detection_window_seconds=600.0)


class Site:
    """Broker and Job Router in this process, workers in processes of their own."""

    def __init__(self, broker: Broker, router: JobRouter, folder: Path) -> None:
        self.broker, self.router = broker, router
        self.settings = {
            "PYTHON_THREADPOOL_THREAD_COUNT": "16",
            "CANCELLATION_QUEUE_NAME": QUEUE,
            "ServiceBusConnection": broker.connection_string,
            "JOB_ROUTER_CONNECTION_STRING": router.connection_string,
            "REDELIVERY_FIRST_DELAY_SECONDS": "0.2",
        }
        self.worker = Worker(folder, self.settings)

    def send(self, *job_ids: str) -> None:
        with (
            ServiceBusClient.from_connection_string(self.broker.connection_string) as client,
            client.get_queue_sender(QUEUE) as sender,
        ):
            sender.send_messages(
                [ServiceBusMessage(json.dumps({"jobId": job_id}), message_id=job_id) for job_id in job_ids]
            )

    def add_jobs_of_which_some_are_denied(self) -> list[str]:
        """Two of twenty, two times each: too few in a row for shedding, which has tests of its own."""
        jobs = [f"call-{number}" for number in range(20)]
        for job in jobs:
            self.router.add_job(job)
        for job in jobs[5:7]:
            self.router.faults.add(Fault("status", job_id=job, status=403, times=2))
        return jobs

    def dead(self) -> list[str]:
        return [str(letter.message_id) for letter in self.broker.messages(QUEUE, dead_letter=True)]

    def lines(self) -> list[dict[str, object]]:
        text = "".join(log.read_text() for log in self.worker.logs)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.fixture
def site(tmp_path: Path, answers: Answers) -> Iterator[Site]:
    logging.getLogger("proton").setLevel(logging.CRITICAL)
    with Broker([OPTIONS], keys=[ROOT_KEY, LISTEN_ONLY]) as broker, JobRouter(**answers) as router:
        running = Site(broker, router, tmp_path)
        yield running
        running.worker.kill()


@each_second_cancel
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_any_point_loses_nothing(site: Site, point: str) -> None:
    site.router.add_job("call-1")
    if "copy" in point:
        site.router.faults.add(Fault("status", job_id="call-1", status=401, times=1))
    site.send("ghost" if "dead-lettering" in point else "call-1")
    site.worker.start(module=("tests.end_to_end.crashing_host", point))
    assert site.worker.wait(30) == -9

    site.broker.expire_locks(QUEUE)  # as time would, soon
    site.worker.start()

    assert drained(site)
    if "dead-lettering" in point:
        assert site.dead() == ["ghost"]
    else:
        assert site.dead() == []
        job = site.router.job("call-1")
        assert (job.status, job.cancel_count) == ("cancelled", 1)


def test_a_worker_told_to_stop_finishes_what_it_has_begun(site: Site) -> None:
    site.router.add_job("call-1")
    site.router.faults.add(Fault("delay", delay_seconds=1.0))
    site.send("call-1")
    site.worker.start()
    assert site.broker.wait_until(lambda broker: broker.counts(QUEUE).locked == 1)

    site.worker.stop()

    assert site.router.job("call-1").status == "cancelled"
    assert site.broker.messages(QUEUE) == []


def test_what_a_stopping_worker_cannot_finish_stays_on_the_queue(site: Site) -> None:
    site.router.add_job("call-1")
    site.router.faults.add(Fault("delay", delay_seconds=30.0))
    site.send("call-1")
    site.worker.start(module=("local.host", "--stop-within", "0"))
    assert site.broker.wait_until(lambda broker: broker.counts(QUEUE).locked == 1)

    site.worker.stop()
    assert len(site.broker.messages(QUEUE)) == 1
    site.router.faults.clear()
    site.broker.expire_locks(QUEUE)
    site.worker.start()

    assert drained(site)
    assert site.router.job("call-1").status == "cancelled"
    assert site.dead() == []


def test_under_duplicate_detection_every_copy_is_kept(site: Site) -> None:
    site.send(*site.add_jobs_of_which_some_are_denied())
    site.worker.start()

    assert drained(site)
    assert {job.status for job in site.router.jobs()} == {"cancelled"}
    assert site.dead() == []
    assert {line["attempt"] for line in site.lines()} >= {1, 2, 3}


def test_with_the_right_to_listen_only_nothing_is_lost_and_one_line_says_what_is_missing(site: Site) -> None:
    site.send(*site.add_jobs_of_which_some_are_denied(), "ghost")
    site.worker.start({"ServiceBusConnection": site.broker.connection_string_for(LISTEN_ONLY.name)})

    assert drained(site)
    site.worker.stop()
    assert {job.status for job in site.router.jobs()} == {"cancelled"}
    assert site.dead() == ["ghost"]
    (degraded,) = [line for line in site.lines() if line["outcome"] == "Degraded"]
    assert degraded["reason"] == "SendRightMissingError"
    assert "Azure Service Bus Data Sender" in str(degraded["description"])
