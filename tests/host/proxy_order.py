"""`python -m tests.host.proxy_order`: the real runtime library, driven in the order of the platform's proxy.

A process of its own, as the library's reload clears the environment. The order is that of proxy_worker/dispatcher.py in
azure-functions-python-worker: the pool is started, the environment is filled, the function is loaded. There is no gRPC
and no protobuf: simple objects stand in for both. Prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

APP = Path(__file__).resolve().parents[2]
NAME = "cancel_job_function"
SETTINGS = {
    "PYTHON_THREADPOOL_THREAD_COUNT": "16",
    "JOB_ROUTER_CONNECTION_STRING": "endpoint=https://localhost/;accesskey=c2VjcmV0",
    "CANCELLATION_QUEUE_NAME": "q",
    "ServiceBusConnection": "Endpoint=sb://localhost;SharedAccessKeyName=k;SharedAccessKey=v",
}
CALLS = 16
EARLIER = 10  # more than the six threads of the first pool: the others are queued on it
_BOUND = 10.0  # seconds, of each wait


def _imported() -> ModuleType:
    """The library, imported anew, as the proxy does for its second start."""
    for name in [name for name in sys.modules if name.split(".")[0] == "azure_functions_runtime_v1"]:
        del sys.modules[name]
    return importlib.import_module("azure_functions_runtime_v1")


def _request(protos: Any, **content: Any) -> SimpleNamespace:
    return SimpleNamespace(request=SimpleNamespace(**content), properties={"protos": protos, "host": "127.0.0.1"})


def _typed(kind: str, value: str) -> SimpleNamespace:
    """A TypedData of the host's."""
    return SimpleNamespace(WhichOneof=lambda _: kind, **{kind: value})


def _invocation(protos: Any, number: int) -> SimpleNamespace:
    body = SimpleNamespace(name="message", WhichOneof=lambda _: "data", data=_typed("string", '{"jobId": "call-1"}'))
    invocation = SimpleNamespace(
        invocation_id=f"i-{number}",
        function_id="f-1",
        input_data=[body],
        trigger_metadata={"MessageId": _typed("string", f"m-{number}"), "UserProperties": _typed("json", "{}")},
        trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
        retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
    )
    return _request(protos, invocation_request=invocation)


async def main() -> None:
    """Start, reload, load, and call sixteen times at once."""
    protos = MagicMock()
    protos.BindingInfo = SimpleNamespace(inout=2, out=1, undefined=0)
    protos.FunctionLoadResponse = protos.InvocationResponse = SimpleNamespace
    protos.StatusResult = MagicMock(side_effect=SimpleNamespace, Success="success", Failure="failure")

    library: Any = _imported()
    library.start_threadpool_executor()
    await library.worker_init_request(_request(protos, worker_init_request=SimpleNamespace(capabilities={})))

    library = _imported()
    library.start_threadpool_executor()
    environment = {"PATH": os.environ["PATH"], **SETTINGS}
    reload = SimpleNamespace(function_app_directory=str(APP), environment_variables=environment)
    await library.function_environment_reload_request(_request(protos, function_environment_reload_request=reload))

    first_pool = library.get_threadpool_executor()
    release = threading.Event()
    earlier = [first_pool.submit(release.wait, _BOUND) for _ in range(EARLIER)]

    binding = SimpleNamespace(type="serviceBusTrigger", direction=0, data_type=0, properties={})
    metadata = SimpleNamespace(
        name=NAME,
        directory=str(APP / NAME),
        script_file=str(APP / NAME / "__init__.py"),
        entry_point="main",
        bindings={"message": binding},
    )
    load = SimpleNamespace(function_id="f-1", metadata=metadata)
    loaded = await library.function_load_request(_request(protos, function_load_request=load))
    release.set()

    together = threading.Barrier(CALLS)
    function: Any = sys.modules[f"__app__.{NAME}"]
    function.process = lambda *_: together.wait(_BOUND) and None
    calls = [asyncio.ensure_future(library.invocation_request(_invocation(protos, n))) for n in range(CALLS)]
    answers = await asyncio.gather(*calls)
    told = {
        "first_pool": first_pool._max_workers,
        "loaded": loaded.result.status,
        "pool": library.get_threadpool_executor()._max_workers,
        "calls": [answer.result.status for answer in answers],
        "earlier": [future.result(_BOUND) for future in earlier],
    }
    library.stop_threadpool_executor()
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main())
