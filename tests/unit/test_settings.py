"""Settings are read once; every problem is named at once, and no secret ever."""

from __future__ import annotations

import pytest

from shared.settings import ServiceBusSettings, Settings, SettingsError

KEY = "c2VjcmV0LWtleQ=="
SERVICE_BUS = f"Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey={KEY}"
GOOD = {
    "JOB_ROUTER_CONNECTION_STRING": f"endpoint=https://x.communication.azure.com/;accesskey={KEY}",
    "ServiceBusConnection": SERVICE_BUS,
    "CANCELLATION_QUEUE_NAME": "job-cancellations",
}


def without(*names: str, **changes: str) -> dict[str, str]:
    return {name: value for name, value in {**GOOD, **changes}.items() if name not in names}


def problem(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environ)
    assert KEY not in str(caught.value)
    return str(caught.value)


def test_an_access_key_is_read_from_the_connection_string() -> None:
    assert Settings.from_environment(GOOD) == Settings(
        endpoint="https://x.communication.azure.com",
        access_key=KEY,
        service_bus=ServiceBusSettings("job-cancellations", connection_string=SERVICE_BUS),
        connect_timeout=5.0,
        read_timeout=15.0,
        threads=1,
    )


def test_an_endpoint_alone_means_an_identity() -> None:
    settings = Settings.from_environment(without("JOB_ROUTER_CONNECTION_STRING", JOB_ROUTER_ENDPOINT="https://x/"))
    assert (settings.endpoint, settings.access_key) == ("https://x", None)


def test_service_bus_may_be_a_namespace_with_an_identity() -> None:
    environ = without(
        "ServiceBusConnection",
        ServiceBusConnection__fullyQualifiedNamespace="x.servicebus.windows.net",
        ServiceBusConnection__clientId="client",
    )
    assert Settings.from_environment(environ).service_bus == ServiceBusSettings(
        "job-cancellations", None, "x.servicebus.windows.net", "client"
    )


def test_timeouts_and_threads_are_read() -> None:
    settings = Settings.from_environment(
        without(
            JOB_ROUTER_CONNECT_TIMEOUT_SECONDS=" 0.5 ",
            JOB_ROUTER_READ_TIMEOUT_SECONDS="60",
            PYTHON_THREADPOOL_THREAD_COUNT="16",
        )
    )
    assert (settings.connect_timeout, settings.read_timeout, settings.threads) == (0.5, 60.0, 16)


def test_every_problem_is_named_at_once() -> None:
    text = problem(
        {
            "JOB_ROUTER_CONNECT_TIMEOUT_SECONDS": "soon",
            "JOB_ROUTER_READ_TIMEOUT_SECONDS": "0",
            "PYTHON_THREADPOOL_THREAD_COUNT": "many",
        }
    )
    for name in (
        "JOB_ROUTER_CONNECTION_STRING and JOB_ROUTER_ENDPOINT are both missing",
        "CANCELLATION_QUEUE_NAME is missing",
        "ServiceBusConnection and ServiceBusConnection__fullyQualifiedNamespace are both missing",
        "JOB_ROUTER_CONNECT_TIMEOUT_SECONDS",
        "JOB_ROUTER_READ_TIMEOUT_SECONDS",
        "PYTHON_THREADPOOL_THREAD_COUNT",
    ):
        assert name in text


def test_both_ways_to_job_router_at_once_are_refused() -> None:
    assert "Both JOB_ROUTER_CONNECTION_STRING and JOB_ROUTER_ENDPOINT are set" in problem(
        without(JOB_ROUTER_ENDPOINT="https://x")
    )


@pytest.mark.parametrize(
    "value, said",
    [
        (f"accesskey={KEY}", "JOB_ROUTER_CONNECTION_STRING has no endpoint"),
        ("endpoint=https://x", "JOB_ROUTER_CONNECTION_STRING has no accesskey"),
        ("endpoint=https://x;accesskey=!", "JOB_ROUTER_CONNECTION_STRING has an accesskey that is not base64"),
        (f"endpoint=http://x;accesskey={KEY}", "JOB_ROUTER_CONNECTION_STRING is not an https URL: 'http://x'"),
    ],
)
def test_a_malformed_connection_string_says_what_is_wrong(value: str, said: str) -> None:
    text = problem(without(JOB_ROUTER_CONNECTION_STRING=value))
    assert said in text
    assert "page Keys" in text


def test_a_malformed_endpoint_is_named() -> None:
    assert "JOB_ROUTER_ENDPOINT is not an https URL" in problem(
        without("JOB_ROUTER_CONNECTION_STRING", JOB_ROUTER_ENDPOINT="http://x")
    )


def test_a_service_bus_connection_without_endpoint_is_refused() -> None:
    assert "ServiceBusConnection is not a Service Bus connection string" in problem(without(ServiceBusConnection=KEY))


@pytest.mark.parametrize("value", ["x", "0", "-1", "61", "nan", "inf", "1e400"])
def test_a_timeout_is_above_0_and_up_to_60_seconds(value: str) -> None:
    assert "JOB_ROUTER_READ_TIMEOUT_SECONDS is not a number of seconds" in problem(
        without(JOB_ROUTER_READ_TIMEOUT_SECONDS=value)
    )


@pytest.mark.parametrize("value", ["x", "0", "-1", "1.5", "²", "٣"])
def test_a_thread_count_is_a_whole_number(value: str) -> None:
    assert "PYTHON_THREADPOOL_THREAD_COUNT is not a whole number" in problem(
        without(PYTHON_THREADPOOL_THREAD_COUNT=value)
    )


def test_no_secret_is_in_a_repr() -> None:
    settings = Settings.from_environment(GOOD)
    assert KEY not in repr(settings) + repr(settings.service_bus) + str(settings)
    assert "https://x.communication.azure.com" in repr(settings)
    assert "job-cancellations" in repr(settings.service_bus)
