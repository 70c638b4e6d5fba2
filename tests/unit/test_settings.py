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


CLIENT_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
RESOURCE_ID = (
    f"/subscriptions/{CLIENT_ID}/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/cancel-job"
)


def identity(**changes: str) -> dict[str, str]:
    """A namespace with an identity; names without ServiceBusConnection__."""
    given = {"fullyQualifiedNamespace": "x.servicebus.windows.net"} | changes
    return without("ServiceBusConnection", **{f"ServiceBusConnection__{name}": value for name, value in given.items()})


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
        ServiceBusConnection__clientId=CLIENT_ID,
        ServiceBusConnection__credential="ManagedIdentity",
    )
    assert Settings.from_environment(environ).service_bus == ServiceBusSettings(
        "job-cancellations", None, "x.servicebus.windows.net", CLIENT_ID, "managedidentity"
    )


def test_an_identity_may_be_named_by_its_resource_id() -> None:
    assert Settings.from_environment(identity(managedIdentityResourceId=RESOURCE_ID)).service_bus == ServiceBusSettings(
        "job-cancellations", None, "x.servicebus.windows.net", managed_identity_resource_id=RESOURCE_ID
    )


@pytest.mark.parametrize("value", ["workloadidentityfederation", "AzurePipelines"])
def test_a_credential_of_the_hosts_that_the_function_does_not_support_is_named(value: str) -> None:
    text = problem(identity(credential=value))
    assert (
        f"ServiceBusConnection__credential is not managedidentity: the function does not support '{value.lower()}'"
        in (text)
    )
    assert "Set it to managedidentity, or remove it" in text


def test_a_credential_that_nobody_knows_is_refused_and_not_quoted() -> None:
    text = problem(identity(credential="hunter2"))
    assert "ServiceBusConnection__credential is not managedidentity" in text
    assert "hunter2" not in text


def test_an_identity_is_named_once() -> None:
    text = problem(identity(clientId=CLIENT_ID, managedIdentityResourceId=RESOURCE_ID))
    assert (
        "ServiceBusConnection__clientId and ServiceBusConnection__managedIdentityResourceId are both set: remove one"
        in text
    )


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("clientId", "hunter2", "is not a client id (a GUID)"),
        ("clientId", RESOURCE_ID, "is not a client id (a GUID)"),
        ("managedIdentityResourceId", CLIENT_ID, "is not the resource id of a managed identity"),
        ("managedIdentityResourceId", "cancel-job", "is not the resource id of a managed identity"),
    ],
)
def test_an_id_of_another_kind_is_refused(name: str, value: str, said: str) -> None:
    text = problem(identity(**{name: value}))
    assert f"ServiceBusConnection__{name} {said}. Copy it" in text
    assert value not in text


def test_an_identity_beside_a_connection_string_does_not_count() -> None:
    environ = without(ServiceBusConnection__credential="azurepipelines", ServiceBusConnection__clientId="x")
    assert Settings.from_environment(environ).service_bus.connection_string == SERVICE_BUS


@pytest.mark.parametrize(
    "value",
    [
        "x.servicebus.windows.net",
        "sb://x.servicebus.windows.net/",
        "https://x/",
        "localhost:5671",
        "[::1]:5671",
        "x_y.",
    ],
)
def test_a_namespace_is_a_host_as_the_host_takes_it(value: str) -> None:
    assert Settings.from_environment(identity(fullyQualifiedNamespace=value)).service_bus.connection_string is None


@pytest.mark.parametrize("value", ["x y", "x;y", "sb://x/y", "x:abc", "[::1"])
def test_a_namespace_that_is_no_host_is_refused_and_not_quoted(value: str) -> None:
    text = problem(identity(fullyQualifiedNamespace=value))
    assert "ServiceBusConnection__fullyQualifiedNamespace is not a host name. Set it to <namespace>." in text
    assert value not in text


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
    text = problem(without(ServiceBusConnection=KEY))
    assert "ServiceBusConnection is not a Service Bus connection string" in text
    assert "Shared access policies" in text


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
    assert repr(settings.service_bus) == "ServiceBusSettings(connection string)"
    assert repr(ServiceBusSettings("q", None, "n", CLIENT_ID)) == "ServiceBusSettings(identity)"


# A secret in the wrong place: tests/unit/test_planted_secrets.py puts more of them into every setting.

A_KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="


@pytest.mark.parametrize(
    "value, said",
    [
        (f"endpoint=https://x/;accesskey={A_KEY}", "looks like a connection string: put it into JOB_ROUTER_CONNECTION"),
        (SERVICE_BUS, "looks like a Service Bus connection string: put it into ServiceBusConnection."),
        (f"AccountName=a;AccountKey={A_KEY}", "looks like a storage connection string: put it into AzureWebJobsSt"),
        (f"InstrumentationKey={A_KEY}", "looks like an Application Insights connection string: put it into APPLI"),
        ("SharedAccessSignature sr=x&sig=y", "looks like a SAS token"),
        ("https://x/?sv=1&sig=y", "looks like a SAS token"),
        ("https://me:hunter2@x", "is a URL with a user name or a password: leave out what stands before the @"),
        ("me:hunter2@x", "is a URL with a user name or a password"),
        ("https://x?code=y", "is a URL with a query or a fragment: give scheme and host only"),
        (A_KEY, "looks like a key without its connection string: put the whole connection string into"),
        ("eyJhbGciOiJub25lIn0.e30.", "looks like an access token"),
        ("@Microsoft.KeyVault(SecretUri=https://v)", "is a Key Vault or App Configuration reference that was not res"),
    ],
)
@pytest.mark.parametrize("name", ["JOB_ROUTER_ENDPOINT", "CANCELLATION_QUEUE_NAME", "JOB_NOT_FOUND_GRACE_SECONDS"])
def test_a_secret_in_the_wrong_place_is_named_as_what_it_is(name: str, value: str, said: str) -> None:
    text = problem(without("JOB_ROUTER_CONNECTION_STRING", **{"JOB_ROUTER_ENDPOINT": "https://x", name: value}))
    assert f"{name} {said}" in text
    assert text.count(f"{name} ") == 1
    assert value not in text


def test_a_reference_that_was_not_resolved_says_what_to_check() -> None:
    text = problem(without(JOB_ROUTER_CONNECTION_STRING="@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/s)"))
    assert "JOB_ROUTER_CONNECTION_STRING is a Key Vault or App Configuration reference that was not resolved" in text
    assert "the app's identity may read it (role Key Vault Secrets User on the vault)" in text


@pytest.mark.parametrize("name", ["JOB_ROUTER_CONNECTION_STRING", "ServiceBusConnection"])
def test_the_two_connection_strings_are_not_taken_for_each_other(name: str) -> None:
    swapped = SERVICE_BUS if name == "JOB_ROUTER_CONNECTION_STRING" else GOOD["JOB_ROUTER_CONNECTION_STRING"]
    assert f"{name} looks like a" in problem(without(**{name: swapped}))


@pytest.mark.parametrize(
    "value",
    [
        "q",
        "team-a/job-cancellations-production-westeurope-0f8fad5b-d9cb-469f-a165-70867728950e",
        "JobCancellationsProductionWestEurope20260101Primary",
        "a" * 260,
    ],
)
def test_a_long_queue_name_is_not_taken_for_a_key(value: str) -> None:
    assert Settings.from_environment(without(CANCELLATION_QUEUE_NAME=value)).service_bus.queue_name == value


@pytest.mark.parametrize("value", ["a b", "a;b", "a=b", "ü", "a" * 261])
def test_what_is_no_queues_name_is_refused_and_not_quoted(value: str) -> None:
    text = problem(without(CANCELLATION_QUEUE_NAME=value))
    assert "CANCELLATION_QUEUE_NAME is not a queue's name, which has up to 260 letters" in text
    assert value not in text


@pytest.mark.parametrize("value", ["0", "-1", "1,5", "1 000", "+99999999999"])
def test_a_number_out_of_bounds_is_quoted(value: str) -> None:
    assert f": '{value}'. Set it to one, such as 15, or remove it." in problem(
        without(JOB_ROUTER_READ_TIMEOUT_SECONDS=value)
    )


@pytest.mark.parametrize("value", ["hunter2", "1e400", "9" * 13, "²"])
def test_what_is_not_plainly_a_number_is_not_quoted(value: str) -> None:
    text = problem(without(JOB_ROUTER_READ_TIMEOUT_SECONDS=value))
    assert "JOB_ROUTER_READ_TIMEOUT_SECONDS is not a number of seconds above 0 and up to 60. Set it to one" in text
    assert value not in text


@pytest.mark.parametrize(
    "value, quoted",
    [("http://x", ": 'http://x'"), ("ftp://x", ""), (f"http://{'x' * 41}", ""), ("hunter2://x", ""), ("//x", "")],
)
def test_an_endpoint_without_https_is_quoted_where_it_is_a_host(value: str, quoted: str) -> None:
    text = problem(without("JOB_ROUTER_CONNECTION_STRING", JOB_ROUTER_ENDPOINT=value))
    assert f"JOB_ROUTER_ENDPOINT is not an https URL{quoted}. Copy it" in text


def test_a_path_of_an_endpoint_is_not_quoted() -> None:
    text = problem(without("JOB_ROUTER_CONNECTION_STRING", JOB_ROUTER_ENDPOINT="https://x/hunter2"))
    assert "JOB_ROUTER_ENDPOINT is not the URL of a Communication Services resource: it has a path" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("value", ["sharedaccesskey=x", "Endpoint=sb://;SharedAccessKey=x", "Endpoint=sb://a b/"])
def test_a_service_bus_connection_without_a_host_is_refused(value: str) -> None:
    assert "ServiceBusConnection is not a Service Bus connection string" in problem(without(ServiceBusConnection=value))
