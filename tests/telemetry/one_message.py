"""Runs the whole stack with OpenTelemetry on, sends one message for each argument, and prints what became of them.

That is: the traceparent of each request that Job Router got, and each line of the function's with its time.

A process of its own: providers are set once in a process's life. An argument is `job-id,trace-parent`.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from azure.servicebus import ServiceBusClient, ServiceBusMessage
from opentelemetry import metrics, trace

from local.stack import Stack


class Lines(logging.Handler):
    """The function's lines, each with its time."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, float]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append((record.getMessage(), record.created))


def main() -> None:
    """Send, wait until nothing is left to do, flush what was recorded."""
    logging.getLogger().setLevel(logging.INFO)  # as the platform's worker does
    lines = Lines()
    logging.getLogger("cancel_job").addHandler(lines)
    with Stack() as stack:
        stack.job_router.add_job("call-1")
        with (
            ServiceBusClient.from_connection_string(stack.broker.connection_string) as client,
            client.get_queue_sender(stack.queue.name) as sender,
        ):
            for argument in sys.argv[1:]:
                job_id, trace_parent = argument.split(",")
                properties: dict[str | bytes, str] = {"Diagnostic-Id": trace_parent}
                sender.send_messages(
                    ServiceBusMessage(
                        json.dumps({"jobId": job_id}),
                        message_id=f"m-{job_id}",
                        application_properties=properties,  # type: ignore[arg-type]  # its dictionary's key type is invariant
                    )
                )

        def drained(_: object) -> bool:
            counts = stack.broker.counts(stack.queue.name)
            return counts.active == counts.locked == counts.scheduled == 0

        assert stack.broker.wait_until(drained, 30)
        requests = [{name.lower(): value for name, value in made.headers.items()} for made in stack.job_router.requests]
    providers: tuple[Any, ...] = (trace.get_tracer_provider(), metrics.get_meter_provider())
    for provider in providers:
        provider.force_flush()
    told = [request.get("traceparent") for request in requests]
    print(json.dumps({"told": told, "lines": lines.found}))  # noqa: T201  # read by the test


if __name__ == "__main__":
    main()
