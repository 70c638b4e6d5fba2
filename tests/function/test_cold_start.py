"""What a worker loads before it has cancelled its first job; each module is paid at every cold start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from local.job_router import JobRouter

ROOT = Path(__file__).resolve().parents[2]

_SCRIPT = """
import importlib, json, sys, types
import azure.functions as func
from azure.functions.meta import Datum
function = importlib.import_module("cancel_job_function")
converter = func.get_binding_registry().get("serviceBusTrigger")
metadata = {"MessageId": Datum("m-1", "string"), "LockToken": Datum("t", "string"), "DeliveryCount": Datum("1", "json"),
            "UserProperties": Datum("{}", "json"), "ApplicationProperties": Datum("{}", "json")}
message = converter.decode(Datum('{"jobId": "call-1"}', "string"), trigger_metadata=metadata)
context = types.SimpleNamespace(invocation_id="i", trace_context=types.SimpleNamespace(trace_parent=""))
function.main(message, context)
print(json.dumps(sorted(sys.modules)))
"""


def test_a_good_message_with_an_access_key_loads_neither_servicebus_nor_identity() -> None:
    with JobRouter() as router:
        router.add_job("call-1")
        settings = {
            "JOB_ROUTER_CONNECTION_STRING": router.connection_string,
            "CANCELLATION_QUEUE_NAME": "q",
            "ServiceBusConnection": "Endpoint=sb://localhost;SharedAccessKeyName=k;SharedAccessKey=v",
        }
        arguments = [sys.executable, "-c", _SCRIPT]
        done = subprocess.run(  # noqa: S603  # our own script
            arguments, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, timeout=60
        )

        assert done.returncode == 0, done.stderr
        assert router.job("call-1").status == "cancelled"
    assert '"shared.job_router"' in done.stdout
    assert '"azure.servicebus"' not in done.stdout
    assert '"azure.identity"' not in done.stdout
