"""A worker whose settings are wrong must lose nothing."""

from __future__ import annotations

import logging
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from azure.servicebus import ServiceBusMessage

from local.host import ConfigurationError, FunctionsHost
from local.job_router import JobRouter
from local.service_bus import Broker
from local.stack import APP
from tests.end_to_end.conftest import QUEUE, drained

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.conftest import Lines


def test_messages_are_postponed_while_job_router_settings_are_missing_and_handled_once_they_are_there(
    fresh_function: None, monkeypatch: pytest.MonkeyPatch, lines: Lines, send: Callable[..., None]
) -> None:
    with Broker() as broker, JobRouter() as router:
        for name in list(os.environ):
            if name.startswith(("JOB_ROUTER", "REDELIVERY")):
                monkeypatch.delenv(name)
        settings = {"CANCELLATION_QUEUE_NAME": QUEUE, "ServiceBusConnection": broker.connection_string}
        for name, value in {**settings, "PYTHON_THREADPOOL_THREAD_COUNT": "2"}.items():
            monkeypatch.setenv(name, value)
        for number in range(5):
            router.add_job(str(number))
        stack = SimpleNamespace(broker=broker)
        with FunctionsHost(APP, os.environ):
            send(stack, *(ServiceBusMessage(f'{{"jobId": "{number}"}}') for number in range(5)))
            told = lines.wait_for("Redeliver", 5)
            assert broker.wait_until(lambda _: broker.counts(QUEUE).scheduled == 5)
            monkeypatch.setenv("JOB_ROUTER_CONNECTION_STRING", router.connection_string)
            broker.clock.advance(60)
            lines.wait_for("Cancelled", 5)
            assert drained(stack)
        assert {job.status for job in router.jobs()} == {"cancelled"}
        assert broker.counts(QUEUE).dead_lettered == 0
    level, line = told[0]
    assert level == logging.ERROR
    assert line["reason"] == "InvalidSettings"
    assert "JOB_ROUTER_CONNECTION_STRING" in line["description"]
    assert "JOB_ROUTER_ENDPOINT" in line["description"]


def test_a_missing_queue_name_keeps_the_listener_from_starting() -> None:
    with pytest.raises(ConfigurationError, match="CANCELLATION_QUEUE_NAME"):
        FunctionsHost(APP, {"ServiceBusConnection": "Endpoint=sb://localhost/"})
