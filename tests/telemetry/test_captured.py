"""What one message leaves in Application Insights: the exporter sends for real, to a server of ours."""

from __future__ import annotations

import pytest

from tests.telemetry.capturing import BAD_TRACE, GOOD_TRACE, Captured, capture, data_of, trace_of, type_of


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return capture(tmp_path_factory.mktemp("exporter"))


def test_delivery_and_call_are_one_chain_in_the_senders_trace_down_to_job_router(captured: Captured) -> None:
    delivery, call = sorted(captured.dependencies(GOOD_TRACE), key=lambda e: str(data_of(e)["type"]), reverse=True)
    assert (data_of(delivery)["type"], data_of(call)["type"]) == ("InProc", "HTTP")
    assert len(delivery["tags"]["ai.operation.parentId"]) == 16  # the host's own span, in the same trace
    assert call["tags"]["ai.operation.parentId"] == data_of(delivery)["id"]
    assert f"00-{GOOD_TRACE}-{data_of(call)['id']}-01" in captured.told


def test_the_call_is_a_dependency_on_job_router_with_its_status(captured: Captured) -> None:
    (call,) = (data_of(e) for e in captured.dependencies(GOOD_TRACE) if data_of(e)["type"] == "HTTP")
    assert call["name"] == "POST /routing/jobs/{jobId}:cancel"
    assert call["target"].startswith(("127.0.0.1:", "localhost:"))
    assert (call["resultCode"], call["success"]) == ("200", True)


def test_the_delivery_says_what_the_log_line_says(captured: Captured) -> None:
    (delivery,) = (data_of(e) for e in captured.dependencies(GOOD_TRACE) if data_of(e)["type"] == "InProc")
    told = delivery["properties"]
    assert told["cancel_job.outcome"] == "Cancelled"
    assert (told["cancel_job.message_id"], told["cancel_job.job_id"]) == ("m-call-1", "call-1")
    assert float(told["cancel_job.age_seconds"]) >= 0
    assert delivery["success"] is True


def test_each_of_them_names_the_invocation_as_the_host_does(captured: Captured) -> None:
    ids = {data_of(e)["properties"]["InvocationId"] for e in captured.dependencies(GOOD_TRACE)}
    assert len(ids) == 1


def test_a_dead_letter_is_a_failed_delivery_with_its_reason_even_where_the_host_did_not_sample(
    captured: Captured,
) -> None:
    found = [data_of(e) for e in captured.dependencies(BAD_TRACE)]
    (delivery,) = (data for data in found if data["type"] == "InProc")
    calls = [data for data in found if data["type"] == "HTTP"]
    assert (delivery["success"], delivery["properties"]["cancel_job.reason"]) == (False, "JobNotFound")
    assert [(call["success"], call["resultCode"]) for call in calls] == [(False, "404")] * 2  # to cancel, and to read


def test_the_outcomes_are_counted_with_their_reasons(captured: Captured) -> None:
    metrics = [data_of(e) for e in captured.envelopes if type_of(e) == "MetricData"]
    counted = {
        (data["properties"]["outcome"], data["properties"]["reason"]): data["metrics"][0]["value"]
        for data in metrics
        if data["metrics"][0]["name"] == "cancel_job.outcomes"
    }
    assert counted == {("Cancelled", ""): 1, ("DeadLetter", "JobNotFound"): 1}


def test_nothing_else_is_sent(captured: Captured) -> None:
    """No log line: the host sends it. No request: the host counts its own. No call of an SDK's."""
    assert {type_of(e) for e in captured.envelopes} == {"RemoteDependencyData", "MetricData"}
    assert (len(captured.dependencies(GOOD_TRACE)), len(captured.dependencies(BAD_TRACE))) == (2, 3)
    assert {trace_of(e) for e in captured.envelopes if type_of(e) == "RemoteDependencyData"} == {GOOD_TRACE, BAD_TRACE}
