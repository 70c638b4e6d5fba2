"""The entry point: what is built once per worker, with which credential, and what bad settings lead to."""

from __future__ import annotations

import importlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from azure.functions.servicebus import ServiceBusMessage

from local.identity import IdentityEndpoint
from local.job_router import JobRouter
from shared.job_router import JobRouterClient
from shared.job_router_error import RequestId
from shared.processing import HOLD_SECONDS, RedeliveryError
from shared.redelivery import ATTEMPT, FIRST_ATTEMPT_TIME, Backoff
from shared.settings import ServiceBusSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mock import MockerFixture, MockType

CONNECTION = "Endpoint=sb://localhost;SharedAccessKeyName=k;SharedAccessKey=v"
JOB_ROUTER = "endpoint=https://localhost/;accesskey=c2VjcmV0"


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    module = importlib.import_module("cancel_job_function")
    monkeypatch.setattr(module, "_application", None)
    module._queue_of.cache_clear()
    monkeypatch.setenv("CANCELLATION_QUEUE_NAME", "q")
    monkeypatch.setenv("ServiceBusConnection", CONNECTION)
    for name in ("JOB_ROUTER_CONNECTION_STRING", "JOB_ROUTER_ENDPOINT", "AZURE_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    yield module
    module._queue_of.cache_clear()


@pytest.fixture
def settler(function: ModuleType, mocker: MockerFixture) -> MockType:
    """What is built of ServiceBusSettler: the class; its return_value is the settler."""
    return mocker.patch.object(function, "ServiceBusSettler")


@pytest.fixture
def wait(function: ModuleType, mocker: MockerFixture) -> MockType:
    return mocker.patch.object(function._never, "wait")


def message(job_id: str, **properties: Any) -> ServiceBusMessage:
    return ServiceBusMessage(
        body=f'{{"jobId": "{job_id}"}}'.encode(),
        application_properties=properties,
        user_properties={},
        message_id="m",
        delivery_count=1,
        sequence_number=5,
        lock_token="t",
    )


def context(trace_context: object = None) -> Any:
    return SimpleNamespace(invocation_id="i", trace_context=trace_context)


def test_sixteen_first_messages_build_one_client(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture
) -> None:
    with JobRouter() as router:
        monkeypatch.setenv("JOB_ROUTER_CONNECTION_STRING", router.connection_string)
        start, two_building = threading.Barrier(16), threading.Barrier(2)

        def build(*arguments: Any, **options: Any) -> JobRouterClient:
            with suppress(threading.BrokenBarrierError):  # broken once nobody else came: only one may build
                two_building.wait(0.2)
            return JobRouterClient(*arguments, **options)

        built = mocker.patch.object(function, "JobRouterClient", side_effect=build)
        for number in range(16):
            router.add_job(f"call-{number}")

        def handle(number: int) -> None:
            start.wait(10)
            function.main(message(f"call-{number}"), context())

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(handle, range(16)))
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


TRACE_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "trace_context, trace_parent",
    [
        (None, None),
        (SimpleNamespace(trace_parent=""), None),
        (SimpleNamespace(trace_parent=TRACE_PARENT), TRACE_PARENT),
    ],
)
def test_the_hosts_trace_goes_along_where_there_is_one(
    function: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    mocker: MockerFixture,
    trace_context: object,
    trace_parent: str | None,
) -> None:
    monkeypatch.setenv("JOB_ROUTER_CONNECTION_STRING", JOB_ROUTER)
    cancel = mocker.patch.object(function.JobRouterClient, "cancel_job", return_value=RequestId("trace-id", "req"))
    function.main(message("call-1"), context(trace_context))
    assert cancel.call_args.kwargs == {"trace_parent": trace_parent}


def test_messages_are_postponed_as_the_settings_say(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch, settler: MockType
) -> None:
    monkeypatch.setenv("JOB_ROUTER_CONNECTION_STRING", JOB_ROUTER)
    monkeypatch.setenv("REDELIVERY_FIRST_DELAY_SECONDS", "7")
    queue = function._get_application().queue
    assert (queue.settler, queue.backoff) == (settler.return_value, Backoff(first_delay=7.0))


def test_bad_job_router_settings_postpone_the_message(function: ModuleType, settler: MockType, wait: MockType) -> None:
    function.main(message("call-1"), context())
    sequence_number, delay, history = settler.return_value.send_copy.call_args.args
    assert (sequence_number, history[ATTEMPT]) == (5, 2)
    assert 0 <= delay <= Backoff().first_delay


def test_bad_job_router_settings_postpone_to_the_queue_of_the_settings(function: ModuleType, settler: MockType) -> None:
    function.main(message("call-1"), context())
    settler.assert_called_once_with(ServiceBusSettings("q", CONNECTION))


def test_bad_job_router_settings_build_one_settler_for_all_messages(function: ModuleType, settler: MockType) -> None:
    function.main(message("call-1"), context())
    function.main(message("call-2"), context())
    assert settler.call_count == 1


def test_bad_job_router_settings_that_last_too_long_end_in_a_dead_letter(
    function: ModuleType, settler: MockType
) -> None:
    function.main(message("call-1", **{ATTEMPT: 5, FIRST_ATTEMPT_TIME: "2026-01-01T00:00:00+00:00"}), context())
    assert settler.return_value.dead_letter.call_args.args[:2] == ("t", "InvalidSettings")


def test_a_message_that_cannot_be_postponed_is_kept_for_a_while_and_given_back(
    function: ModuleType, settler: MockType, wait: MockType
) -> None:
    settler.return_value.send_copy.side_effect = OSError
    with pytest.raises(RedeliveryError, match="JOB_ROUTER_CONNECTION_STRING"):
        function.main(message("call-1"), context())
    wait.assert_called_once_with(Backoff().first_delay)


def test_settings_that_were_mended_are_read_with_the_next_message(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch, settler: MockType, mocker: MockerFixture
) -> None:
    function.main(message("call-1"), context())
    monkeypatch.setenv("JOB_ROUTER_CONNECTION_STRING", JOB_ROUTER)
    cancel = mocker.patch.object(function.JobRouterClient, "cancel_job", return_value=RequestId("trace-id", "req"))
    function.main(message("call-1"), context())
    cancel.assert_called_once()


def test_threads_that_could_not_be_set_are_reported_once_during_the_first_invocation(
    function: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    mocker: MockerFixture,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("JOB_ROUTER_CONNECTION_STRING", JOB_ROUTER)
    monkeypatch.setattr(function, "_threads_error", OSError("no threads left"))
    mocker.patch.object(function.JobRouterClient, "cancel_job", return_value=RequestId("trace-id", "req"))
    function.main(message("call-1"), context())
    function.main(message("call-2"), context())
    assert caplog.text.count("ThreadsNotSet") == 1


@pytest.mark.parametrize("missing", ["CANCELLATION_QUEUE_NAME", "ServiceBusConnection"])
def test_unusable_queue_settings_hold_the_message_before_it_goes_back(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch, wait: MockType, missing: str
) -> None:
    monkeypatch.delenv(missing)
    with pytest.raises(RedeliveryError, match=missing):
        function.main(message("call-1"), context())
    wait.assert_called_once_with(HOLD_SECONDS)


def test_unusable_queue_settings_build_no_settler(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch, settler: MockType, wait: MockType
) -> None:
    monkeypatch.delenv("ServiceBusConnection")
    with pytest.raises(RedeliveryError):
        function.main(message("call-1"), context())
    settler.assert_not_called()


# What nobody foresaw


def test_an_unexpected_error_while_the_worker_is_built_postpones_the_message(
    function: ModuleType, settler: MockType, mocker: MockerFixture
) -> None:
    mocker.patch.object(function, "JobRouterClient", side_effect=KeyError("planted"))
    mocker.patch.dict("os.environ", JOB_ROUTER_CONNECTION_STRING=JOB_ROUTER)
    function.main(message("call-1"), context())
    settler.return_value.send_copy.assert_called_once()


def test_an_unexpected_error_without_usable_queue_settings_holds_the_message(
    function: ModuleType, wait: MockType, mocker: MockerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mocker.patch.object(function.Settings, "from_environment", side_effect=KeyError("planted"))
    monkeypatch.delenv("CANCELLATION_QUEUE_NAME")
    with pytest.raises(RedeliveryError, match="UnexpectedError: An unexpected error: KeyError in ") as caught:
        function.main(message("call-1"), context())
    wait.assert_called_once_with(HOLD_SECONDS)
    assert "planted" not in str(caught.value)


def test_sixteen_first_messages_with_bad_settings_share_one_settler(function: ModuleType, settler: MockType) -> None:
    start = threading.Barrier(16)

    def slowly(_: ServiceBusSettings) -> Any:
        time.sleep(0.05)  # long enough for the others to come
        return settler.return_value

    settler.side_effect = slowly

    def deliver(_: int) -> None:
        start.wait(10)
        function.main(message("call-1"), context())

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(deliver, range(16)))
    assert settler.call_count == 1
    assert settler.return_value.send_copy.call_count == 16
