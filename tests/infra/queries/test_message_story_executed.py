"""Step 7 of an incident: one message's story, with the calls that OpenTelemetry records of the function's own code."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from shared.service_bus_errors import SendRightMissingError
from tests.infra.queries.function import Past, refused
from tests.infra.queries.telling import FUNCTION, tell
from tests.infra.queries.workspace import QUERIES, ROOT, Row, ago
from tests.telemetry.capturing import BAD_TRACE, GOOD_TRACE, Captured, capture, data_of, trace_of, type_of

if TYPE_CHECKING:
    from tests.infra.queries.evening import Evening
    from tests.infra.queries.function import Function
    from tests.infra.queries.workspace import Workspace


def story(workspace: Workspace, message_id: str) -> list[Row]:
    rows = workspace.ask(QUERIES["message-story"], message_id=message_id)
    assert [row["TimeGenerated"] for row in rows] == sorted(row["TimeGenerated"] for row in rows)
    return rows


# Without OpenTelemetry


def test_each_attempt_of_the_message_is_told_in_order_and_nothing_of_the_others(
    workspace: Workspace, evening: Evening
) -> None:
    evening.tell(workspace)
    told = story(workspace, "m-denied")
    deliveries = [row for row in told if row["what"] == "delivery"]
    lines = [line for line in evening.lines if line["message_id"] == "m-denied"]
    assert [line["outcome"] for line in lines] == ["Redeliver", "Cancelled"]
    for row, line in zip(deliveries, lines, strict=True):
        assert (row["name"], row["result"], row["text"]) == (
            line["outcome"],
            line.get("reason", ""),
            line.get("description", ""),
        )
        for field in ("attempt", "duration_ms", "age_seconds", "job_id"):
            assert row[field] == line[field]
    # Their order among the deliveries is by chance: the second may begin as soon as the copy is sent.
    others = [(row["what"], row["name"], row["result"]) for row in told if row["what"] != "delivery"]
    assert others == [("invocation", FUNCTION, "True")] * 2


def test_a_failed_invocation_is_told_with_its_exception(workspace: Workspace, function: Function) -> None:
    given_back = function.handle(answer=refused(503), putting_off=SendRightMissingError())
    tell(workspace, replace(given_back, duration=3.0), ago(minutes=2))
    tell(workspace, replace(function.handle(past=Past(attempt=2)), duration=1.0), ago(minutes=1))
    rows = story(workspace, "m-1")
    assert [(row["what"], row["result"]) for row in rows if row["what"] != "exception"] == [
        ("invocation", "False"),
        ("delivery", "JobRouterUnavailable"),
        ("invocation", "True"),
        ("delivery", ""),
    ]
    (exception,) = (row for row in rows if row["what"] == "exception")
    assert exception["TimeGenerated"] == ago(minutes=2)
    assert FUNCTION in exception["text"]


def test_messages_that_were_sent_in_one_operation_are_told_apart(workspace: Workspace, function: Function) -> None:
    for name in ("m-1", "m-2"):
        delivery = function.handle(name, answer=refused(503), putting_off=OSError())
        tell(workspace, replace(delivery, operation_id="one"), ago(minutes=1))
        call(workspace, "one", delivery.invocation_id, f"POST {name}")
    rows = story(workspace, "m-1")
    assert sorted(row["what"] for row in rows) == ["call", "delivery", "exception", "invocation"]
    assert [row["name"] for row in rows if row["what"] == "call"] == ["POST m-1"]


@pytest.mark.parametrize("message_id", ["", "nobody's"])
def test_a_message_that_nobody_has_seen_has_no_story(workspace: Workspace, function: Function, message_id: str) -> None:
    """The workbook's field is empty at first: that asks for nobody's story, not for those without an id."""
    for delivery in (function.handle(), function.handle(None, answer=refused(404)), function.crash()):
        tell(workspace, delivery, ago(minutes=1))
    assert story(workspace, message_id) == []


def test_whatever_step_6_calls_a_message_finds_its_story(workspace: Workspace, function: Function) -> None:
    for message_id, job_id in (("m-1", "job-1"), (None, "job-2"), (None, None)):
        tell(workspace, function.handle(message_id, job_id, answer=refused(404)), ago(minutes=1))
    named = [row["message_id"] for row in workspace.ask(QUERIES["who-was-hit"])]
    assert len(named) == 3
    for name in named:
        assert sorted(row["what"] for row in story(workspace, name)) == ["delivery", "invocation"]


# With it


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return capture(tmp_path_factory.mktemp("exporter"))


@pytest.fixture
def traced(workspace: Workspace, captured: Captured) -> Workspace:
    """A workspace with what both messages left, a minute ago."""
    last = max(created for _, created in captured.lines)

    def shifted(seconds: float) -> datetime:
        return ago(minutes=1) - timedelta(seconds=last - seconds)

    for text, created in captured.lines:
        line = json.loads(text)
        trace = GOOD_TRACE if line["message_id"] == "m-call-1" else BAD_TRACE
        workspace.add("AppTraces", shifted(created), Message=text, OperationId=trace)
        duration = line["duration_ms"] + 10.0  # the host's own around the function's
        workspace.add(
            "AppRequests",
            shifted(created - duration / 1000),
            Name=FUNCTION,
            Success=True,
            DurationMs=duration,
            OperationId=trace,
            Properties={"InvocationId": line["invocation_id"]},
        )
    for envelope in captured.envelopes:
        time = shifted(datetime.fromisoformat(envelope["time"]).timestamp())
        if type_of(envelope) == "RemoteDependencyData":
            workspace.add("AppDependencies", time, OperationId=trace_of(envelope), **dependency(data_of(envelope)))
        else:
            (metric,) = data_of(envelope)["metrics"]
            properties = data_of(envelope)["properties"]
            workspace.add("AppMetrics", time, Name=metric["name"], Sum=metric["value"], Properties=properties)
    return workspace


def dependency(data: dict[str, Any]) -> dict[str, Any]:
    """The columns that an envelope's data becomes in the workspace."""
    return {
        "Name": data["name"],
        "DependencyType": data["type"],
        "Target": data.get("target", ""),
        "ResultCode": data["resultCode"],
        "Success": data["success"],
        "DurationMs": milliseconds(data["duration"]),
        "Properties": data["properties"],
    }


def milliseconds(duration: str) -> float:
    """As the envelope writes it: days.hours:minutes:seconds."""
    days, clock = duration.split(".", 1)
    hours, minutes, seconds = map(float, clock.split(":"))
    return (((float(days) * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000


def call(workspace: Workspace, operation: str, invocation: str, name: str) -> None:
    workspace.add(
        "AppDependencies",
        ago(minutes=1),
        Name=name,
        DependencyType="HTTP",
        OperationId=operation,
        Properties={"InvocationId": invocation},
    )


@pytest.mark.parametrize(
    "message_id, trace, outcome, calls, status",
    [
        ("m-call-1", GOOD_TRACE, "Cancelled", ["POST /routing/jobs/{jobId}:cancel"], "200"),
        (
            *("m-ghost", BAD_TRACE, "DeadLetter"),
            ["POST /routing/jobs/{jobId}:cancel", "GET /routing/jobs/{jobId}"],
            "404",
        ),
    ],
)
def test_the_calls_are_told_between_their_invocation_and_their_delivery(
    traced: Workspace, captured: Captured, message_id: str, trace: str, outcome: str, calls: list[str], status: str
) -> None:
    rows = story(traced, message_id)
    assert [(row["what"], row["name"]) for row in rows] == [
        ("invocation", FUNCTION),
        *(("call", call) for call in calls),
        ("delivery", outcome),
    ]
    sent = {data["name"]: data for data in map(data_of, captured.dependencies(trace)) if data["type"] == "HTTP"}
    for row, call in zip(rows[1:-1], calls, strict=True):
        assert (row["result"], row["text"]) == (status, sent[call]["target"])
        assert row["duration_ms"] == milliseconds(sent[call]["duration"])
    assert {row["OperationId"] for row in rows} == {trace}


def test_the_guides_query_counts_the_outcomes(traced: Workspace) -> None:
    guide = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    (query,) = re.findall(r"```kusto\n(.*?)```", guide, re.DOTALL)
    rows = traced.ask(query)
    assert {(row["Properties_outcome"], row["Properties_reason"]): row["deliveries"] for row in rows} == {
        ("Cancelled", ""): 1.0,
        ("DeadLetter", "JobNotFound"): 1.0,
    }
