"""CANCEL_JOB_OPENTELEMETRY: off unless it says true."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from shared.processing import process
from shared.settings import Settings

if TYPE_CHECKING:
    from pytest_mock import MockerFixture

GOOD = {
    "JOB_ROUTER_ENDPOINT": "https://contoso.communication.azure.com",
    "CANCELLATION_QUEUE_NAME": "q",
    "ServiceBusConnection__fullyQualifiedNamespace": "contoso.servicebus.windows.net",
}


def settings(value: str | None) -> Settings:
    return Settings.from_environment(GOOD if value is None else {**GOOD, "CANCEL_JOB_OPENTELEMETRY": value})


@pytest.mark.parametrize("value", ["true", "True", " true ", "1"])
def test_on(mocker: MockerFixture, value: str) -> None:
    instrument = mocker.patch("shared.telemetry.instrument")
    function = importlib.import_module("cancel_job_function")
    assert function._process(settings(value)) is instrument.return_value
    instrument.assert_called_once_with(process, GOOD["JOB_ROUTER_ENDPOINT"])


@pytest.mark.parametrize("value", [None, "", "false", "0", "ture"])
def test_off_and_no_problem_whatever_it_says(mocker: MockerFixture, value: str | None) -> None:
    instrument = mocker.patch("shared.telemetry.instrument")
    function = importlib.import_module("cancel_job_function")
    assert function._process(settings(value)) is process
    instrument.assert_not_called()
