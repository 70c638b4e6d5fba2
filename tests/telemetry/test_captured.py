"""What one message leaves in Application Insights: the exporter sends for real, to a server of ours."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
GOOD_TRACE, BAD_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
SPAN = "00f067aa0ba902b7"


class Captured(NamedTuple):
    """The envelopes that arrived, and the traceparent of each request that Job Router got."""

    envelopes: list[dict[str, Any]]
    told: list[str]

    def dependencies(self, trace_id: str) -> list[dict[str, Any]]:
        return [e for e in self.envelopes if _type(e) == "RemoteDependencyData" and _trace(e) == trace_id]


def _type(envelope: dict[str, Any]) -> str:
    return str(envelope["data"]["baseType"])


def _trace(envelope: dict[str, Any]) -> str:
    return str(envelope["tags"].get("ai.operation.id"))


def _data(envelope: dict[str, Any]) -> dict[str, Any]:
    return dict(envelope["data"]["baseData"])


@contextmanager
def ingestion() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An ingestion endpoint on loopback: its URL, and what was tracked there."""
    tracked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            items = json.loads(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            tracked.extend(items)
            answer = json.dumps({"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", tracked
        server.shutdown()


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    key = "00000000-0000-0000-0000-000000000000"
    with ingestion() as (url, tracked):
        settings = {
            "CANCEL_JOB_OPENTELEMETRY": "true",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={key};IngestionEndpoint={url}",
            # Where the exporter keeps what it could not send, and finds what another run could not.
            "TMPDIR": str(tmp_path_factory.mktemp("exporter")),
            # The exporter's reports to its maker, which would leave this machine.
            "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
            "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
        }
        # The host does not sample the second trace: its flag is 00.
        arguments = [f"call-1,00-{GOOD_TRACE}-{SPAN}-01", f"ghost,00-{BAD_TRACE}-{SPAN}-00"]
        done = subprocess.run(  # noqa: S603  # our own script
            [sys.executable, "-m", "tests.telemetry.one_message", *arguments],
            cwd=ROOT,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert done.returncode == 0, done.stderr
    return Captured(tracked, json.loads(done.stdout))


def test_delivery_and_call_are_one_chain_in_the_senders_trace_down_to_job_router(captured: Captured) -> None:
    delivery, call = sorted(captured.dependencies(GOOD_TRACE), key=lambda e: str(_data(e)["type"]), reverse=True)
    assert (_data(delivery)["type"], _data(call)["type"]) == ("InProc", "HTTP")
    assert len(delivery["tags"]["ai.operation.parentId"]) == 16  # the host's own span, in the same trace
    assert call["tags"]["ai.operation.parentId"] == _data(delivery)["id"]
    assert f"00-{GOOD_TRACE}-{_data(call)['id']}-01" in captured.told


def test_the_call_is_a_dependency_on_job_router_with_its_status(captured: Captured) -> None:
    (call,) = (_data(e) for e in captured.dependencies(GOOD_TRACE) if _data(e)["type"] == "HTTP")
    assert call["name"] == "POST /routing/jobs/{jobId}:cancel"
    assert call["target"].startswith(("127.0.0.1:", "localhost:"))
    assert (call["resultCode"], call["success"]) == ("200", True)


def test_the_delivery_says_what_the_log_line_says(captured: Captured) -> None:
    (delivery,) = (_data(e) for e in captured.dependencies(GOOD_TRACE) if _data(e)["type"] == "InProc")
    told = delivery["properties"]
    assert told["cancel_job.outcome"] == "Cancelled"
    assert (told["cancel_job.message_id"], told["cancel_job.job_id"]) == ("m-call-1", "call-1")
    assert float(told["cancel_job.age_seconds"]) >= 0
    assert delivery["success"] is True


def test_each_of_them_names_the_invocation_as_the_host_does(captured: Captured) -> None:
    ids = {_data(e)["properties"]["InvocationId"] for e in captured.dependencies(GOOD_TRACE)}
    assert len(ids) == 1


def test_a_dead_letter_is_a_failed_delivery_with_its_reason_even_where_the_host_did_not_sample(
    captured: Captured,
) -> None:
    found = [_data(e) for e in captured.dependencies(BAD_TRACE)]
    (delivery,) = (data for data in found if data["type"] == "InProc")
    (call,) = (data for data in found if data["type"] == "HTTP")
    assert (delivery["success"], delivery["properties"]["cancel_job.reason"]) == (False, "JobNotFound")
    assert (call["success"], call["resultCode"]) == (False, "404")


def test_the_outcomes_are_counted_with_their_reasons(captured: Captured) -> None:
    metrics = [_data(e) for e in captured.envelopes if _type(e) == "MetricData"]
    counted = {
        (data["properties"]["outcome"], data["properties"]["reason"]): data["metrics"][0]["value"]
        for data in metrics
        if data["metrics"][0]["name"] == "cancel_job.outcomes"
    }
    assert counted == {("Cancelled", ""): 1, ("DeadLetter", "JobNotFound"): 1}


def test_nothing_else_is_sent(captured: Captured) -> None:
    """No log line: the host sends it. No request: the host counts its own. No call of an SDK's."""
    assert {_type(e) for e in captured.envelopes} == {"RemoteDependencyData", "MetricData"}
    assert len(captured.dependencies(GOOD_TRACE)) == len(captured.dependencies(BAD_TRACE)) == 2
    assert {_trace(e) for e in captured.envelopes if _type(e) == "RemoteDependencyData"} == {GOOD_TRACE, BAD_TRACE}
