"""Settings are read once; every problem is named at once, and no secret ever."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.redelivery import Backoff
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
        backoff=Backoff(first_delay=15.0, longest_delay=1800.0, give_up_after=28_800.0),
        threads=ThreadPoolExecutor()._max_workers,
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


def test_the_times_of_redelivery_are_read() -> None:
    environ = without(
        REDELIVERY_FIRST_DELAY_SECONDS="0.5",
        REDELIVERY_LONGEST_DELAY_SECONDS=" 60 ",
        REDELIVERY_GIVE_UP_AFTER_SECONDS="3600",
    )
    assert Settings.from_environment(environ).backoff == Backoff(0.5, 60.0, 3600.0)


def test_a_first_delay_above_the_longest_is_the_longest_too() -> None:
    environ = without(REDELIVERY_FIRST_DELAY_SECONDS="120", REDELIVERY_LONGEST_DELAY_SECONDS="60")
    assert Settings.from_environment(environ).backoff.longest_delay == 120.0


def test_every_problem_is_named_at_once() -> None:
    text = problem(
        {
            "JOB_ROUTER_CONNECT_TIMEOUT_SECONDS": "soon",
            "JOB_ROUTER_READ_TIMEOUT_SECONDS": "0",
            "REDELIVERY_FIRST_DELAY_SECONDS": "none",
            "REDELIVERY_LONGEST_DELAY_SECONDS": "-1",
            "REDELIVERY_GIVE_UP_AFTER_SECONDS": "never",
            "PYTHON_THREADPOOL_THREAD_COUNT": "many",
        }
    )
    for name in (
        "JOB_ROUTER_CONNECTION_STRING and JOB_ROUTER_ENDPOINT are both missing",
        "CANCELLATION_QUEUE_NAME is missing",
        "ServiceBusConnection and ServiceBusConnection__fullyQualifiedNamespace are both missing",
        "JOB_ROUTER_CONNECT_TIMEOUT_SECONDS",
        "JOB_ROUTER_READ_TIMEOUT_SECONDS",
        "REDELIVERY_FIRST_DELAY_SECONDS",
        "REDELIVERY_LONGEST_DELAY_SECONDS",
        "REDELIVERY_GIVE_UP_AFTER_SECONDS",
        "PYTHON_THREADPOOL_THREAD_COUNT",
    ):
        assert name in text


def test_both_ways_to_job_router_at_once_are_refused() -> None:
    assert "JOB_ROUTER_CONNECTION_STRING and JOB_ROUTER_ENDPOINT are both set" in problem(
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


LIMITS = [
    ("REDELIVERY_FIRST_DELAY_SECONDS", 3600),
    ("REDELIVERY_LONGEST_DELAY_SECONDS", 86_400),
    ("REDELIVERY_GIVE_UP_AFTER_SECONDS", 2_592_000),
]


@pytest.mark.parametrize("name, limit", LIMITS)
def test_a_time_of_redelivery_may_be_as_long_as_its_limit(name: str, limit: int) -> None:
    assert Settings.from_environment(without(**{name: str(limit)})).backoff is not None


@pytest.mark.parametrize("name, limit", LIMITS)
def test_a_time_of_redelivery_above_its_limit_is_refused(name: str, limit: int) -> None:
    assert f"{name} is not a number of seconds above 0 and up to {limit}: '{limit + 1}'" in problem(
        without(**{name: str(limit + 1)})
    )


@pytest.mark.parametrize("value", ["x", "0", "-1", "nan", "inf"])
@pytest.mark.parametrize("name, limit", LIMITS)
def test_a_time_of_redelivery_is_a_number_of_seconds(name: str, limit: int, value: str) -> None:
    assert f"{name} is not a number of seconds" in problem(without(**{name: value}))


@pytest.mark.parametrize("value", ["x", "0", "-1", "1.5", "²", "٣", "9" * 5000], ids=lambda value: value[:4])
def test_a_thread_count_is_a_whole_number(value: str) -> None:
    assert "PYTHON_THREADPOOL_THREAD_COUNT is not a whole number" in problem(
        without(PYTHON_THREADPOOL_THREAD_COUNT=value)
    )


@pytest.mark.skipif(sys.version_info < (3, 13), reason="the vendor's runtime library needs Python 3.13")
@pytest.mark.parametrize("given", [None, "16"])
def test_there_are_as_many_threads_as_the_platform_has(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    from azure_functions_runtime_v1.utils import threadpool

    environ = without()
    if given:
        environ["PYTHON_THREADPOOL_THREAD_COUNT"] = given
        monkeypatch.setenv("PYTHON_THREADPOOL_THREAD_COUNT", given)
    else:
        monkeypatch.delenv("PYTHON_THREADPOOL_THREAD_COUNT", raising=False)
    with ThreadPoolExecutor(threadpool._get_max_workers()) as pool:
        assert Settings.from_environment(environ).threads == pool._max_workers


def usable_queue(environ: dict[str, str]) -> ServiceBusSettings | None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environ)
    return caught.value.service_bus


@pytest.mark.parametrize(
    "environ",
    [
        without("JOB_ROUTER_CONNECTION_STRING"),
        without(JOB_ROUTER_ENDPOINT="https://x"),
        without(JOB_ROUTER_READ_TIMEOUT_SECONDS="0"),
        without(REDELIVERY_FIRST_DELAY_SECONDS="0"),
        without(PYTHON_THREADPOOL_THREAD_COUNT="0"),
    ],
)
def test_a_problem_elsewhere_leaves_the_queue_usable(environ: dict[str, str]) -> None:
    assert usable_queue(environ) == ServiceBusSettings("job-cancellations", connection_string=SERVICE_BUS)


@pytest.mark.parametrize(
    "environ",
    [
        without("CANCELLATION_QUEUE_NAME"),
        without("ServiceBusConnection"),
        without(ServiceBusConnection="nonsense"),
        without("JOB_ROUTER_CONNECTION_STRING", "CANCELLATION_QUEUE_NAME"),
    ],
)
def test_a_problem_of_the_queues_own_leaves_it_unusable(environ: dict[str, str]) -> None:
    assert usable_queue(environ) is None


def test_no_secret_is_in_a_repr() -> None:
    settings = Settings.from_environment(GOOD)
    assert KEY not in repr(settings) + repr(settings.service_bus) + str(settings)
    assert "https://x.communication.azure.com" in repr(settings)
    assert "job-cancellations" in repr(settings.service_bus)
