"""Spans and counter without an exporter: what is recorded of a delivery, and what happens where it cannot start."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode

from shared import log_line, telemetry
from shared.job_router_error import JobRouterError
from shared.processing import RedeliveryError, process
from tests.unit.edges import BAD, Edges, error, message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan
    from pytest_mock import MockerFixture, MockType

ROOT = Path(__file__).resolve().parents[2]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-00"
ENDPOINT = "https://contoso.communication.azure.com"


class Recorded:
    """A handler of messages with telemetry around it, and what it recorded."""

    def __init__(self, edges: Edges, monkeypatch: pytest.MonkeyPatch) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        provider = TracerProvider(sampler=ALWAYS_ON)  # the host's flag says no
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        counter = MeterProvider([self._reader]).get_meter("m").create_counter("cancel_job.outcomes")
        monkeypatch.setattr(telemetry, "_started", lambda: (provider.get_tracer("t"), counter))
        self._edges = edges
        self._process = telemetry.instrument(process, ENDPOINT)

    def handle(self, body: bytes | None = None, trace_parent: str | None = PARENT) -> None:
        edges = self._edges
        of_message = message(body) if body is not None else message()
        self._process(of_message, "inv-1", trace_parent, edges.router, edges.guard, edges.queue)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}

    @property
    def counted(self) -> dict[tuple[Any, Any], Any]:
        data: Any = self._reader.get_metrics_data()
        points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        return {(point.attributes["outcome"], point.attributes["reason"]): point.value for point in points}


@pytest.fixture
def recorded(edges: Edges, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    before = list(log_line.logger.handlers)
    yield Recorded(edges, monkeypatch)
    log_line.logger.handlers[:] = before


def hexadecimal(span_id: int) -> str:
    return f"{span_id:016x}"


def test_the_delivery_is_a_child_of_the_hosts_span(recorded: Recorded) -> None:
    recorded.handle()
    span = recorded.spans["cancel_job"]
    assert span.kind is SpanKind.INTERNAL
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", hexadecimal(span.parent.span_id)) == (TRACE, SPAN)


def test_without_a_trace_of_the_host_the_delivery_begins_one(recorded: Recorded) -> None:
    recorded.handle(trace_parent=None)
    assert recorded.spans["cancel_job"].parent is None


def test_job_router_is_told_the_span_of_its_call(recorded: Recorded, edges: Edges) -> None:
    recorded.handle()
    span = recorded.spans["POST /routing/jobs/{jobId}:cancel"]
    assert span.kind is SpanKind.CLIENT
    sent = edges.cancel.call_args.kwargs["trace_parent"].split("-")
    assert sent[1:3] == [TRACE, hexadecimal(span.context.span_id)]


def test_reading_the_job_is_a_call_of_its_own(recorded: Recorded, edges: Edges) -> None:
    edges.cancel.side_effect = error(409)
    recorded.handle()
    span = recorded.spans["GET /routing/jobs/{jobId}"]
    assert edges.read.call_args.kwargs["trace_parent"].split("-")[2] == hexadecimal(span.context.span_id)
    assert dict(span.attributes or {})["http.response.status_code"] == 200


@pytest.mark.parametrize("status, told", [(404, 404), (None, 0)])
def test_a_failed_call_says_its_status_and_code(
    recorded: Recorded,
    edges: Edges,
    status: int | None,
    told: int,
) -> None:
    edges.cancel.side_effect = error(status, "ConnectionFailed")
    recorded.handle()
    span = recorded.spans["POST /routing/jobs/{jobId}:cancel"]
    attributes = dict(span.attributes or {})
    assert (attributes["http.response.status_code"], attributes["error.type"]) == (told, "ConnectionFailed")
    assert span.status.status_code is StatusCode.ERROR


def test_no_note_and_no_text_of_an_error_is_on_a_span(recorded: Recorded, edges: Edges) -> None:
    edges.cancel.side_effect = error(422)
    recorded.handle()
    told = json.dumps([[dict(span.attributes or {}), len(span.events)] for span in recorded.spans.values()])
    assert "Jane Roe" not in told
    assert all(not span.events and not span.status.description for span in recorded.spans.values())


def test_a_good_delivery_has_its_outcome_and_no_error(recorded: Recorded) -> None:
    recorded.handle()
    span = recorded.spans["cancel_job"]
    told = dict(span.attributes or {})
    assert (told["cancel_job.outcome"], told["cancel_job.job_id"], told["InvocationId"]) == (
        "Cancelled",
        "job-1",
        "inv-1",
    )
    assert span.status.status_code is StatusCode.UNSET
    assert recorded.counted == {("Cancelled", ""): 1}


def test_deliveries_are_counted_by_outcome_and_reason(recorded: Recorded) -> None:
    for body in (BAD, BAD, None):
        recorded.handle(body)
    assert recorded.spans["cancel_job"].status.status_code is StatusCode.UNSET  # the last of them
    assert recorded.counted == {("DeadLetter", "InvalidCancellation"): 2, ("Cancelled", ""): 1}


def test_a_delivery_that_is_given_back_keeps_its_own_outcome_beside_the_workers(
    recorded: Recorded,
    edges: Edges,
) -> None:
    edges.cancel.side_effect = error(401)
    edges.copy.side_effect = ConnectionError
    with pytest.raises(RedeliveryError):
        recorded.handle()
    span = recorded.spans["cancel_job"]
    assert dict(span.attributes or {})["cancel_job.outcome"] == "Redeliver"
    assert span.status.status_code is StatusCode.ERROR
    assert recorded.counted == {("Redeliver", "JobRouterAccessDenied"): 1, ("Degraded", "ConnectionError"): 1}


def test_a_job_router_error_goes_on_as_it_was(recorded: Recorded, edges: Edges) -> None:
    unknown = JobRouterError(404, "NotFound", "no such job", from_job_router=True)
    edges.cancel.side_effect = edges.read.side_effect = unknown
    recorded.handle()
    assert edges.settle.call_args.args[1] == "JobNotFound"


# Starting


@pytest.fixture
def configure(mocker: MockerFixture, monkeypatch: pytest.MonkeyPatch) -> MockType:
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")  # restored afterwards; setdefault leaves it
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "none")
    return mocker.patch("azure.monitor.opentelemetry.configure_azure_monitor")


def test_the_exporter_is_set_up_without_what_costs_and_is_not_needed(
    configure: MockType,
    edges: Edges,
    mocker: MockerFixture,
) -> None:
    mocker.patch.object(log_line.logger, "addHandler")
    assert telemetry.instrument(process, ENDPOINT) is not process
    options = configure.call_args.kwargs
    assert (options["enable_live_metrics"], options["enable_performance_counters"]) == (False, False)
    assert options["sampling_ratio"] == 1.0
    assert all(not option["enabled"] for option in options["instrumentation_options"].values())


def test_every_library_that_would_be_patched_is_left_alone() -> None:
    from azure.monitor.opentelemetry._constants import _FULLY_SUPPORTED_INSTRUMENTED_LIBRARIES

    assert set(telemetry._PATCHED_BY_DEFAULT) == set(_FULLY_SUPPORTED_INSTRUMENTED_LIBRARIES)


def test_a_provider_that_is_there_already_is_used(configure: MockType, mocker: MockerFixture) -> None:
    mocker.patch("opentelemetry.trace.get_tracer_provider", return_value=TracerProvider())
    mocker.patch.object(log_line.logger, "addHandler")
    telemetry.instrument(process, ENDPOINT)
    configure.assert_not_called()


def test_a_message_is_handled_also_where_telemetry_cannot_start(
    configure: MockType, caplog: pytest.LogCaptureFixture
) -> None:
    configure.side_effect = ValueError("Instrumentation key cannot be none or empty.")
    assert telemetry.instrument(process, ENDPOINT) is process
    ((_, level, text),) = caplog.record_tuples
    line = json.loads(text)
    assert (level, line["outcome"], line["reason"]) == (logging.WARNING, "TelemetryOff", "ValueError")
    assert "APPLICATIONINSIGHTS_CONNECTION_STRING" in line["description"]


def test_while_it_is_off_nothing_of_it_is_imported() -> None:
    script = "import sys, cancel_job_function; print([n for n in sys.modules if 'telemetry' in n or '.monitor' in n])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)  # noqa: S603  # our own script
    assert done.stdout.strip() == "[]", done.stderr
