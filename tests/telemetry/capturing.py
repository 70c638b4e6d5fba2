"""Runs one_message.py with OpenTelemetry on and keeps what the exporter sent to a server of ours."""

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

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
GOOD_TRACE, BAD_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
SPAN = "00f067aa0ba902b7"


class Captured(NamedTuple):
    """The envelopes that arrived, the traceparent of each request that Job Router got, and the function's lines.

    A line is its text and its time, in seconds since 1970.
    """

    envelopes: list[dict[str, Any]]
    told: list[str]
    lines: list[tuple[str, float]]

    def dependencies(self, trace_id: str) -> list[dict[str, Any]]:
        return [e for e in self.envelopes if type_of(e) == "RemoteDependencyData" and trace_of(e) == trace_id]


def type_of(envelope: dict[str, Any]) -> str:
    return str(envelope["data"]["baseType"])


def trace_of(envelope: dict[str, Any]) -> str:
    return str(envelope["tags"].get("ai.operation.id"))


def data_of(envelope: dict[str, Any]) -> dict[str, Any]:
    return dict(envelope["data"]["baseData"])


def capture(folder: Path) -> Captured:
    """One message that is cancelled, in GOOD_TRACE, and one that is dead-lettered, in BAD_TRACE.

    folder: where the exporter keeps what it could not send, and finds what another run could not.
    """
    key = "00000000-0000-0000-0000-000000000000"
    with _ingestion() as (url, tracked):
        settings = {
            "CANCEL_JOB_OPENTELEMETRY": "true",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={key};IngestionEndpoint={url}",
            "TMPDIR": str(folder),
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
    said = json.loads(done.stdout)
    return Captured(tracked, said["told"], [(text, created) for text, created in said["lines"]])


@contextmanager
def _ingestion() -> Iterator[tuple[str, list[dict[str, Any]]]]:
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
