"""The entry point: what is built once per worker, and with which credential."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from local.identity import IdentityEndpoint
from local.job_router import JobRouter

if TYPE_CHECKING:
    from pytest_mock import MockerFixture


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = importlib.import_module("cancel_job_function")
    monkeypatch.setattr(module, "_application", None)
    monkeypatch.setenv("CANCELLATION_QUEUE_NAME", "q")
    monkeypatch.setenv("ServiceBusConnection", "Endpoint=sb://localhost;SharedAccessKeyName=k;SharedAccessKey=v")
    for name in ("JOB_ROUTER_CONNECTION_STRING", "JOB_ROUTER_ENDPOINT", "AZURE_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    return module


def message(job_id: str) -> Any:
    return SimpleNamespace(
        message_id="m",
        delivery_count=1,
        content_type=None,
        application_properties={},
        lock_token="t",
        get_body=lambda: f'{{"jobId": "{job_id}"}}'.encode(),
    )


def context(trace_context: object = None) -> Any:
    return SimpleNamespace(invocation_id="i", trace_context=trace_context)


def test_sixteen_first_messages_build_one_client(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture
) -> None:
    with JobRouter() as router:
        monkeypatch.setenv("JOB_ROUTER_CONNECTION_STRING", router.connection_string)
        built = mocker.spy(function, "JobRouterClient")
        for number in range(16):
            router.add_job(f"call-{number}")
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda n: function.main(message(f"call-{n}"), context()), range(16)))
        assert {job.status for job in router.jobs()} == {"cancelled"}
        function._application.job_router.close()
    assert built.call_count == 1


def test_an_endpoint_alone_means_a_managed_identity(function: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with IdentityEndpoint() as identity, JobRouter(token_verifier=identity.verify) as router:
        for name, value in {**identity.environment, "JOB_ROUTER_ENDPOINT": router.endpoint}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
        router.add_job("call-1")
        function.main(message("call-1"), context(SimpleNamespace(trace_parent="")))
        assert router.job("call-1").status == "cancelled"
        function._application.job_router.close()


def test_bad_settings_hold_the_message_before_it_goes_back(function: ModuleType, mocker: MockerFixture) -> None:
    wait = mocker.patch.object(function._never, "wait")
    with pytest.raises(Exception, match="JOB_ROUTER_CONNECTION_STRING"):
        function.main(message("call-1"), context())
    wait.assert_called_once_with(function.HOLD_SECONDS)
