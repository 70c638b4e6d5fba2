"""Every setting that the code reads is set or has a default, every one that is set is read, and the table says so."""

from __future__ import annotations

from typing import Any

import pytest

from shared.settings import Settings, SettingsError
from tests.infra.bicep import INFRA, MAIN, Expression, read
from tests.infra.settings import (
    HOST,
    JOB_ROUTER_SETTINGS,
    MINIMAL,
    ROOT,
    SAMPLE,
    SETTINGS,
    host_settings,
    named_elsewhere_in_the_code,
    parameter_of,
    read_by_the_code,
    table,
)

SET = SETTINGS.keys() | JOB_ROUTER_SETTINGS.keys()
# Read by the Functions host or by azure-identity, not by this project's code.
PLATFORM = {
    *("AzureWebJobsStorage__blobServiceUri", "AzureWebJobsStorage__credential", "AzureWebJobsStorage__clientId"),
    *("APPLICATIONINSIGHTS_CONNECTION_STRING", "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"),
    "AZURE_CLIENT_ID",
}
# Another way to say what is said already; README.md, docs/deploy.md.
ALTERNATIVES = {
    "ServiceBusConnection": "ServiceBusConnection__fullyQualifiedNamespace",
    "ServiceBusConnection__managedIdentityResourceId": "ServiceBusConnection__clientId",
}
# Defaults that the optional telemetry gives itself.
GIVEN_BY_THE_CODE = {"OTEL_LOGS_EXPORTER", "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"}
# A Flex Consumption app refuses these; what they said is in functionAppConfig.
REFUSED_BY_FLEX = {
    *("FUNCTIONS_WORKER_RUNTIME", "FUNCTIONS_EXTENSION_VERSION", "WEBSITE_RUN_FROM_PACKAGE", "ENABLE_ORYX_BUILD"),
    *("SCM_DO_BUILD_DURING_DEPLOYMENT", "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING", "WEBSITE_CONTENTSHARE"),
    *("FUNCTIONS_WORKER_PROCESS_COUNT", "FUNCTIONS_MAX_HTTP_CONCURRENCY"),
}
ONLY_ON_A_LAPTOP = {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"}

ROWS = table(ROOT / "docs" / "deploy.md", "settings")
TABLE = {row[0]: row for row in ROWS}


def defaults_of_the_code() -> dict[str, Any]:
    """What is assumed for each setting that may be missing."""
    settings = Settings.from_environment(MINIMAL)
    return {
        "JOB_ROUTER_CONNECT_TIMEOUT_SECONDS": settings.connect_timeout,
        "JOB_ROUTER_READ_TIMEOUT_SECONDS": settings.read_timeout,
        "JOB_NOT_FOUND_GRACE_SECONDS": settings.backoff.job_not_found_grace,
        "REDELIVERY_FIRST_DELAY_SECONDS": settings.backoff.first_delay,
        "REDELIVERY_LONGEST_DELAY_SECONDS": settings.backoff.longest_delay,
        "REDELIVERY_GIVE_UP_AFTER_SECONDS": settings.backoff.give_up_after,
        "PYTHON_THREADPOOL_THREAD_COUNT": "processors + 4",  # tests/unit/test_settings.py tries it
        "CANCEL_JOB_OPENTELEMETRY": settings.opentelemetry,
    }


def shown(value: Any) -> str:
    """As the table writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) else str(value)


def test_each_setting_that_the_code_reads_is_set_or_another_way_to_say_one_that_is() -> None:
    assert {ALTERNATIVES.get(name, name) for name in read_by_the_code()} - SET == set()
    assert named_elsewhere_in_the_code() - read_by_the_code() == GIVEN_BY_THE_CODE


def test_each_setting_that_is_set_is_read() -> None:
    assert SET - read_by_the_code() == PLATFORM
    assert not SET & REFUSED_BY_FLEX


def test_the_app_gets_either_an_endpoint_or_a_connection_string() -> None:
    assert JOB_ROUTER_SETTINGS.keys() == {"JOB_ROUTER_ENDPOINT", "JOB_ROUTER_CONNECTION_STRING"}
    app = read(INFRA / "modules" / "function-app.bicep")
    assert app.of("var")["jobRouterSetting"].value.text.startswith(
        "empty(jobRouterVaultUri)\n  ? { JOB_ROUTER_ENDPOINT:"
    )
    assert str(app.resource("Microsoft.Web/sites/config").value["properties"]) == "union(settings, jobRouterSetting)"
    with pytest.raises(SettingsError):
        Settings.from_environment(MINIMAL | {"JOB_ROUTER_CONNECTION_STRING": "endpoint=https://r;accesskey=a2V5"})


@pytest.mark.parametrize("name", defaults_of_the_code())
def test_what_is_deployed_is_what_the_code_would_assume(name: str) -> None:
    parameter = read(MAIN).of("param").get(parameter_of(name) or "")
    if parameter is None:  # host.json decides
        assert name == "PYTHON_THREADPOOL_THREAD_COUNT"
        assert "loadJsonContent('../../host.json').extensions.serviceBus.maxConcurrentCalls" in str(SETTINGS[name])
        return
    assert parameter.value == defaults_of_the_code()[name]


@pytest.mark.parametrize("name", [name for name in defaults_of_the_code() if name.endswith("_SECONDS")])
def test_the_limits_of_a_parameter_are_the_codes(name: str) -> None:
    limits = read(MAIN).of("param")[parameter_of(name) or ""].decorators
    for accepted in (limits["minValue"], limits["maxValue"]):
        Settings.from_environment(MINIMAL | {name: str(accepted)})
    for refused in (limits["minValue"] - 1, limits["maxValue"] + 1):
        with pytest.raises(SettingsError, match=name):
            Settings.from_environment(MINIMAL | {name: str(refused)})


def test_a_bool_as_bicep_writes_it_is_understood() -> None:
    assert Settings.from_environment(MINIMAL | {"CANCEL_JOB_OPENTELEMETRY": "True"}).opentelemetry
    assert not Settings.from_environment(MINIMAL | {"CANCEL_JOB_OPENTELEMETRY": "False"}).opentelemetry


def test_threads_and_calls_at_once_fit_each_other_everywhere() -> None:
    calls = HOST["extensions"]["serviceBus"]["maxConcurrentCalls"]
    assert SAMPLE["PYTHON_THREADPOOL_THREAD_COUNT"] == str(calls)


def test_the_table_names_each_setting_once() -> None:
    hosts = dict(host_settings())
    assert [row[0] for row in ROWS] == list(TABLE), "a setting stands twice"
    assert TABLE.keys() == read_by_the_code() | SET | SAMPLE.keys() | hosts.keys()
    assert all(len(row) == 5 and len(row[4]) > 10 for row in ROWS)


@pytest.mark.parametrize("name", TABLE)
def test_the_table_says_where_a_setting_is_set(name: str) -> None:
    where = TABLE[name][3]
    places = {
        "infra": name in SET,
        "local.settings.sample.json": name in SAMPLE,
        "host.json": name in dict(host_settings()),
    }
    said = set() if where == "nowhere" else {part.split(":")[0] for part in where.split(", ")}
    assert {place for place, there in places.items() if there} == said
    if name in SET:
        parameter = parameter_of(name)
        assert (f"infra: {parameter}" if parameter else "infra") in where.split(", ")


@pytest.mark.parametrize("name", TABLE)
def test_the_table_says_the_default_and_what_is_deployed(name: str) -> None:
    default, deployed = TABLE[name][1:3]
    defaults = defaults_of_the_code()
    if name in defaults:
        assert default == shown(defaults[name])
    elif name in read_by_the_code():
        assert default == "none"
    if name in dict(host_settings()):
        assert deployed == shown(dict(host_settings())[name])
        return
    if name not in SET:
        assert deployed == "not set"
        return
    parameter = read(MAIN).of("param").get(parameter_of(name) or "")
    value = (SETTINGS | JOB_ROUTER_SETTINGS)[name]
    if name == "PYTHON_THREADPOOL_THREAD_COUNT":
        assert deployed == shown(HOST["extensions"]["serviceBus"]["maxConcurrentCalls"])
    elif parameter and parameter.value not in ("", None):
        assert deployed == shown(parameter.value)
    elif not isinstance(value, Expression):
        assert deployed == value


def test_what_only_a_laptop_needs_is_not_deployed() -> None:
    assert SAMPLE.keys() - read_by_the_code() == ONLY_ON_A_LAPTOP
    assert not ONLY_ON_A_LAPTOP & SET
