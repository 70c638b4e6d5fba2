"""A worker whose settings are wrong must lose nothing."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

import pytest
from azure.servicebus import ServiceBusMessage

from local.host import ConfigurationError, FunctionsHost
from local.service_bus import Broker
from local.stack import APP
from tests.end_to_end.conftest import QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.conftest import Lines


def test_messages_are_held_and_stay_on_the_queue_while_job_router_settings_are_missing(
    fresh_function: None, monkeypatch: pytest.MonkeyPatch, lines: Lines, send: Callable[..., None]
) -> None:
    with Broker() as broker:
        for name in list(os.environ):
            if name.startswith("JOB_ROUTER"):
                monkeypatch.delenv(name)
        settings = {"CANCELLATION_QUEUE_NAME": QUEUE, "ServiceBusConnection": broker.connection_string}
        for name, value in {**settings, "PYTHON_THREADPOOL_THREAD_COUNT": "2"}.items():
            monkeypatch.setenv(name, value)
        host = FunctionsHost(APP, os.environ)
        release = _hold_with(monkeypatch)
        host.start()
        try:
            with_stack = type("Sent", (), {"broker": broker})()
            send(with_stack, *(ServiceBusMessage(f'{{"jobId": "{number}"}}') for number in range(5)))
            lines.wait_for("Redeliver", 2)  # two threads, each holding one
            assert broker.counts(QUEUE).dead_lettered == 0
            assert {m.delivery_count for m in broker.messages(QUEUE)} == {0}
            release.set()
        finally:
            host.stop()
        assert len(broker.messages(QUEUE)) == 5
    level, line = lines.found[0]
    assert level == logging.CRITICAL
    assert line["reason"] == "InvalidSettings"
    assert "JOB_ROUTER_CONNECTION_STRING" in line["description"]
    assert "JOB_ROUTER_ENDPOINT" in line["description"]


def test_a_missing_queue_name_keeps_the_listener_from_starting() -> None:
    with pytest.raises(ConfigurationError, match="CANCELLATION_QUEUE_NAME"):
        FunctionsHost(APP, {"ServiceBusConnection": "Endpoint=sb://localhost/"})


def _hold_with(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The event that ends the holding at once, in every copy of the function's module that is loaded."""
    import sys

    release = threading.Event()
    for name in ("cancel_job_function", "__app__.cancel_job_function"):
        if name in sys.modules:
            monkeypatch.setattr(sys.modules[name], "_never", release)
    return release
