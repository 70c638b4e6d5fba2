"""Optional OpenTelemetry: a span for each delivery, one for each call to Job Router, and a counter of outcomes.

Imported only where CANCEL_JOB_OPENTELEMETRY is true. What a span and the counter say of an outcome is read off the log
line, so that they can never tell two stories; the line itself goes its own way, through the host.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from shared.job_router_error import JobRouterError
from shared.log_line import logger, write_worker_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import azure.functions as func
    from opentelemetry.metrics import Counter
    from opentelemetry.trace import Tracer

    from shared.call_guard import CallGuard
    from shared.cancellation import CancellationRequest
    from shared.job_router_error import RequestId
    from shared.processing import JobRouter, Queue

    Process = Callable[[func.ServiceBusMessage, str, str | None, JobRouter, CallGuard, Queue], None]

Answer = TypeVar("Answer")


# The distro would patch each of these; our two spans say what there is to say, and the patching is paid at cold start.
_PATCHED_BY_DEFAULT = (
    "azure_sdk",
    "django",
    "fastapi",
    "flask",
    "httpx",
    "httpx2",
    "psycopg2",
    "requests",
    "urllib",
    "urllib3",
)
_TOLD_OF_A_DELIVERY = ("message_id", "job_id", "attempt", "outcome", "reason", "age_seconds")


def instrument(process: Process, endpoint: str) -> Process:
    """The same process, with spans and a counter; process as it is where OpenTelemetry cannot be started.

    A warning line then says why: telemetry must never keep a message from being handled.

    endpoint: of Job Router, for the name of the dependency.
    """
    try:
        tracer, counter = _started()
    except Exception as error:  # noqa: BLE001  # whatever it is, the messages come first
        text = f"OpenTelemetry stays off: {error} Install requirements-telemetry.txt and set "
        text += "APPLICATIONINSIGHTS_CONNECTION_STRING, or remove CANCEL_JOB_OPENTELEMETRY."
        write_worker_line(logging.WARNING, "TelemetryOff", type(error).__name__, text)
        return process
    logger.addHandler(_LineReader(counter))

    def instrumented(
        message: func.ServiceBusMessage,
        invocation_id: str,
        trace_parent: str | None,
        job_router: JobRouter,
        guard: CallGuard,
        queue: Queue,
    ) -> None:
        traced = _TracedJobRouter(job_router, tracer, invocation_id, endpoint)
        with _delivery_span(tracer, invocation_id, trace_parent):
            process(message, invocation_id, trace_parent, traced, guard, queue)

    return instrumented


def _started() -> tuple[Tracer, Counter]:
    from opentelemetry import metrics, trace

    # Where the platform or a sidecar's agent has set up a provider, its exporter gets our spans; two would send twice.
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        from azure.monitor.opentelemetry import configure_azure_monitor

        os.environ.setdefault("OTEL_LOGS_EXPORTER", "none")  # the host sends our line already
        os.environ.setdefault("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "azure_functions")  # the others ask the network
        configure_azure_monitor(
            enable_live_metrics=False,
            enable_performance_counters=False,
            # By default five traces a second, and none where the host has not sampled its own request.
            sampling_ratio=1.0,
            instrumentation_options={name: {"enabled": False} for name in _PATCHED_BY_DEFAULT},
        )
    counter = metrics.get_meter("cancel_job").create_counter("cancel_job.outcomes", "{delivery}", "Ended deliveries")
    return trace.get_tracer("cancel_job"), counter


@contextmanager
def _delivery_span(tracer: Tracer, invocation_id: str, trace_parent: str | None) -> Iterator[None]:
    """Part of the host's invocation. Not a server's span: the host's own request would then be counted twice."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({"traceparent": trace_parent or ""})
    attributes = {"InvocationId": invocation_id}  # the name that the host gives it
    # The host reports an exception that leaves the function; twice would be one too many.
    with tracer.start_as_current_span("cancel_job", parent, attributes=attributes, record_exception=False):
        yield


@dataclass(frozen=True)
class _TracedJobRouter:
    """A span around each call; Job Router is told that span as its caller."""

    job_router: JobRouter
    tracer: Tracer
    invocation_id: str
    endpoint: str

    def cancel_job(self, request: CancellationRequest, *, trace_parent: str | None = None) -> RequestId:
        """As the job router does."""
        return self._traced(
            "POST", ":cancel", trace_parent, lambda parent: self.job_router.cancel_job(request, trace_parent=parent)
        )

    def get_job_status(self, job_id: str, *, trace_parent: str | None = None, private: tuple[str, ...] = ()) -> str:
        """As the job router does."""
        return self._traced(
            "GET",
            "",
            trace_parent,
            lambda parent: self.job_router.get_job_status(job_id, trace_parent=parent, private=private),
        )

    def _traced(self, method: str, action: str, parent: str | None, call: Callable[[str | None], Answer]) -> Answer:
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # The job's id is on the delivery's span; here it would make an operation of its own of each job.
        path = f"/routing/jobs/{{jobId}}{action}"
        attributes: dict[str, str | int] = {
            "InvocationId": self.invocation_id,
            "http.request.method": method,
            "url.full": f"{self.endpoint}{path}",
        }
        with self.tracer.start_as_current_span(
            f"{method} {path}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            carrier: dict[str, str] = {}
            TraceContextTextMapPropagator().inject(carrier)
            try:
                answer = call(carrier.get("traceparent", parent))
            except JobRouterError as error:
                span.set_attributes({"error.type": error.specific_code, "http.response.status_code": error.status or 0})
                span.set_status(Status(StatusCode.ERROR))
                raise
            span.set_attribute("http.response.status_code", 200)
            return answer


class _LineReader(logging.Handler):
    """Counts each log line by its outcome and reason, and puts them on the span of the delivery that it is about."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self._counter = counter

    def emit(self, record: logging.LogRecord) -> None:
        from opentelemetry.trace import Status, StatusCode, get_current_span

        line: dict[str, Any] = msgspec.json.decode(record.getMessage())
        self._counter.add(1, {"outcome": line["outcome"], "reason": line.get("reason", "")})
        if "invocation_id" in line:  # else it is about the worker, not about this message
            span = get_current_span()
            span.set_attributes({f"cancel_job.{name}": line[name] for name in _TOLD_OF_A_DELIVERY if name in line})
            if line["outcome"] not in ("Cancelled", "AlreadyCancelled"):
                span.set_status(Status(StatusCode.ERROR))
